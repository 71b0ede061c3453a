"""A forest of regression trees that says what it does not know: its error, what each option is worth, how sure a change is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TREES = 200
_LEAF = 2
_PERMUTED_ROWS = 2000  # rows that permutations make of a sample, about; every tree predicts all of them
_PERMUTATIONS = range(2, 31)
_SEED = 0


@dataclass(frozen=True, eq=False)
class Forest:
    """Trees on bootstrap samples of rows (Breiman, Machine Learning 2001), one target.

    Attributes:
        trees: B. times: [B, n] how often each has each row. x: [n, p]. y: [n].
    """

    trees: Sequence[Any]
    times: Array
    x: Array
    y: Array

    @classmethod
    def fit(cls, x: Array, y: Array) -> Forest:
        """Fits one, always the same for the same rows.

        Args:
            x: [n, p] options in [0, 1]. y: [n].
        """
        from sklearn.tree import DecisionTreeRegressor

        n = len(x)
        rows = np.ascontiguousarray(x, dtype=np.float32)
        times = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), TREES).astype(float)
        trees = [
            DecisionTreeRegressor(min_samples_leaf=_LEAF, random_state=number)
            .fit(rows, y, sample_weight=some, check_input=False)
            .tree_
            for number, some in enumerate(times)
        ]
        return cls(trees, times, x, y)

    def predicted(self, x: Array) -> Array:
        """What each tree says: [B, k] for rows [k, p]."""
        rows = np.ascontiguousarray(x, dtype=np.float32)
        return np.stack([tree.predict(rows)[:, 0] for tree in self.trees])

    def unseen(self, said: Array) -> Array:
        """Means [..., n] over the trees that did not have a row, of what they say [B, ..., n] of it, or of a change of it."""
        return self._unseen_of(said, np.arange(len(self.y)))

    def _unseen_of(self, said: Array, at: NDArray[np.intp]) -> Array:
        """The same of some rows alone: said [B, ..., k] of the rows `at`."""
        out = (self.times[:, at] == 0).astype(float)
        return np.asarray(np.einsum("b...n,bn->...n", said, out) / np.maximum(out.sum(axis=0), 1))

    @cached_property
    def errors(self) -> Array:
        """[n] squared errors on rows by trees that did not have them: a cross-validation without further fits."""
        return np.asarray((self.y - self.unseen(self.predicted(self.x))) ** 2)

    def permuted(self, places: Sequence[int], rows: NDArray[np.bool_]) -> Array:
        """[k] by how much the squared error of k rows grows when an option's values are exchanged among them.

        The mean over permutations, of trees that did not have a row (Breiman 2001).

        Args:
            places: columns of x that are the option's. rows: [n] which k rows have it.
        """
        at, columns = np.flatnonzero(rows), np.array(places)
        generator = np.random.default_rng(_SEED)
        count = int(np.clip(_PERMUTED_ROWS // len(at), _PERMUTATIONS.start, _PERMUTATIONS.stop - 1))
        made = np.repeat(self.x[None], count, axis=0)  # [P, n, p]
        for each in made:
            each[np.ix_(at, columns)] = self.x[np.ix_(generator.permutation(at), columns)]
        said = self.predicted(made.reshape(-1, self.x.shape[1])).reshape(len(self.trees), count, -1)
        errors = (self.y - self.unseen(said)) ** 2
        return np.asarray(errors.mean(axis=0) - self.errors)[at]

    def together(self, first: Sequence[int], second: Sequence[int], rows: NDArray[np.bool_]) -> Array:
        """[k] by how much the squared error of k rows would grow without what the forest holds of two options together.

        See `interactions.interactions`, where it is explained: 2 r h + h^2 of each row, r its error, by trees that did not
        have it.

        Args:
            first, second: columns of x that are an option's each. rows: [n] which k rows have both.
        """
        at, generator = np.flatnonzero(rows), np.random.default_rng(_SEED)
        half = int(np.clip(_PERMUTED_ROWS // (2 * len(at)), _PERMUTATIONS.start, _PERMUTATIONS.stop // 2))
        made = np.repeat(self.x[at][None, None], 2 * half, axis=0).repeat(3, axis=1)  # [P, 3, k, p]
        for each in made:
            other = self.x[generator.permutation(at)]
            for exchanged, places in zip(each, (first, second, (*first, *second)), strict=True):
                exchanged[:, list(places)] = other[:, list(places)]
        said = self.predicted(made.reshape(-1, self.x.shape[1])).reshape(len(self.trees), *made.shape[:3])
        as_is = self.predicted(self.x[at])
        h = self._unseen_of(as_is[:, None] - said[:, :, 0] - said[:, :, 1] + said[:, :, 2], at)  # [P, k]
        one, other_half = h[:half].mean(axis=0), h[half:].mean(axis=0)
        residual = self.y[at] - self._unseen_of(as_is, at)
        return np.asarray(residual * (one + other_half) + one * other_half)

    def change(self, before: Array, after: Array) -> tuple[Array, Array]:
        """What the forest expects of changes, [k], and the standard errors of that, [k].

        By the infinitesimal jackknife (Wager, Hastie and Efron, JMLR 2014), free of the noise of having finitely many trees:
        sum_i Cov_b(N_bi, t_b)^2 - n / B Var_b(t_b), N_bi how often tree b has row i, t_b what it says. It holds the drawing of
        the rows; what the forest cannot express it does not hold.

        Args:
            before, after: [k, p].
        """
        said = self.predicted(after) - self.predicted(before)  # [B, k]
        centred = said - said.mean(axis=0)
        trees, rows = self.times.shape
        covariance = (self.times - self.times.mean(axis=0)).T @ centred / trees  # [n, k]
        variance = (covariance**2).sum(axis=0) - rows / trees * (centred**2).mean(axis=0)
        return np.asarray(said.mean(axis=0)), np.sqrt(np.maximum(variance, 0.0))


def share_explained(errors: Array, y: Array) -> float:
    """R2 = 1 - mean squared error / variance; nan where y [n] is constant."""
    return float(1 - errors.mean() / y.var()) if y.var() > 0 else float("nan")
