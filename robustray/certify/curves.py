"""Certified accuracy over radii, from counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.certify import bounds, claims
from robustray.certify.counting import Noise
from robustray.certify.radii import Floats, lipschitz_radius, noise_constant, smoothing_radius

STEPS = 50
"""Radii per sigma at which curves have a value."""
FORMS = "smoothing", "lipschitz"
CLAIMS = "image", "all"
"""Each claim at its own confidence, or all of a radius at once."""


class Counted:
    """What was counted of some images.

    Args:
        columns: of `counting.STORE`, [N] each. noise: what was counted. classes: K. level: 1 - confidence.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], noise: Noise, classes: int, level: float) -> None:
        self.columns, self.noise, self.classes, self.level = columns, noise, classes, level
        self.shares = lru_cache(maxsize=None)(self._bounded)  # [N] bounds at a level: each alpha asks for the same ones

    def _bounded(self, level: float) -> bounds.Shares:
        top, second = self.columns["votes"].astype(np.int64), self.columns["second"].astype(np.int64)
        return bounds.shares(top, second, self.noise.samples, self.classes, level)

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """[N] whether the picked class is the label."""
        return np.asarray(self.columns["top"] == self.columns["label"])

    def radii(self, level: float, alpha: float, form: str = "smoothing") -> Floats:
        """[N] within which the class stands, each with probability 1 - level; l2 in pixels of [0, 1]."""
        top, second = self.shares(level)
        sigma = self.noise.sigma
        if form == "lipschitz":
            return lipschitz_radius(top, second, alpha, noise_constant(sigma))
        return smoothing_radius(top, second, alpha, sigma)

    def curve(self, alpha: float, form: str, claimed: str, at: Floats) -> Floats:
        """[R] the fraction of images whose picked class is right and claimed to stand, at each radius.

        Args:
            form: of `FORMS`. claimed: of `CLAIMS`.
        """
        radii = partial(self.radii, alpha=alpha, form=form)
        if claimed == "all":
            made = claims.all_at_once(radii, self.level, at)
        else:
            own = radii(self.level)
            made = np.array([claims.by_image(own, float(radius)) for radius in at])
        found: Floats = (made & self.right).mean(1, dtype=np.float64)
        return found

    def at(self, alphas: Sequence[float]) -> Floats:
        """Radii [R] from 0 to the first at which nothing is claimed."""
        step = self.noise.sigma / STEPS
        largest = max(float(self.radii(self.level, alpha).max(initial=0.0)) for alpha in alphas)
        return np.arange(int(largest / step) + 2, dtype=np.float64) * step


def table(counted: Counted, alphas: Sequence[float]) -> list[dict[str, Any]]:
    """All curves, a row per radius: alpha, form, claims, radius, certified_accuracy."""
    at = counted.at(alphas)
    return [
        {
            "alpha": alpha,
            "form": form,
            "claims": claimed,
            "radius": float(radius),
            "certified_accuracy": float(accuracy),
        }
        for alpha in alphas
        for form in FORMS
        for claimed in CLAIMS
        for radius, accuracy in zip(at, counted.curve(alpha, form, claimed, at), strict=True)
    ]


def images(counted: Counted, alphas: Sequence[float]) -> Iterator[dict[str, Any]]:
    """A row per image: its counts, bounds of both probabilities, and its radius at each alpha."""
    top, second = counted.shares(counted.level)
    radii = {f"radius_{alpha:g}": counted.radii(counted.level, alpha) for alpha in alphas}
    for at in range(len(top)):
        counts = {name: int(column[at]) for name, column in counted.columns.items()}
        own = {name: float(values[at]) for name, values in radii.items()}
        yield counts | {"top_at_least": float(top[at]), "second_at_most": float(second[at])} | own
