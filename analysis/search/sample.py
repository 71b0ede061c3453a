"""What a search tried as numbers: a row per setting with its options, how good it was, and how near to the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import palette, points, standing, words
from analysis.axes import Axis
from analysis.collect import options
from robustray.measures.metrics import ACCURACIES
from sweeps import chances, frontier

Array = NDArray[np.float64]
FEWEST = 12
"""Settings below which nothing is said of options: a best fifth of them is two."""
MEMBER = "member"
"""The target beside the objectives: P(not dominated)."""
_IMAGES = 1000  # that cheap accuracies are taken to rest on where nothing is judged, for their noise alone


@dataclass(frozen=True, eq=False)
class Option:
    """One searched option that varies.

    Attributes:
        column: of the table. places: of its columns in `Sample.x`: one for a number, one each for more than two names.
        active: [n] which settings have it; not all where it belongs to a branch.
        log: whether it varies over more than a decade, and was scaled by its logarithm.
    """

    column: str
    places: tuple[int, ...]
    active: NDArray[np.bool_]
    log: bool = False

    @property
    def conditional(self) -> bool:
        """Whether it belongs to a branch that not all settings took."""
        return not bool(self.active.all())


@dataclass(frozen=True, eq=False)
class Sample:
    """Settings of a sweep that say something about options.

    Attributes:
        settings: [n] the first trial of each. leading: [n] whether it is on the frontier.
        raw: [n rows] options as they were handed out, a column for each of `options`.
        x: [n, p] the same in [0, 1]; what is not active stands in the middle, so that it tells nothing of the branch.
        y: [n rows] a column for each objective, as `analysis.load` has it, and `MEMBER`.
    """

    settings: NDArray[np.int64]
    leading: NDArray[np.bool_]
    options: tuple[Option, ...]
    raw: pd.DataFrame
    x: Array
    y: pd.DataFrame

    @property
    def enough(self) -> bool:
        """Whether there are settings and options to say something of."""
        return len(self.settings) >= FEWEST and bool(self.options)


def sample(df: pd.DataFrame, objectives: Mapping[str, str]) -> Sample:
    """Settings with a complete trial, without flagged trials and derived points, by the strongest numbers known of them.

    These are the judge's, else a bound, else the cheap attack's, as samplers see them; means over seeds. `MEMBER` is the
    probability that no other setting dominates one, with independent normal errors of images, and of seeds where replicates
    tell their spread: settings near the frontier count as far as they may be on it. It is 0 where constraints are missed.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    rows = df[(df["status"] == "complete") & (df["flags"] == "") & df["derived"].isna()]
    axes = [Axis(name, mode) for name, mode in objectives.items()]
    values = pd.DataFrame(
        [[points.place(row, axis) / axis.scale for axis in axes] for row in points.records(rows)],
        index=rows.index, columns=list(objectives), dtype=float,
    )  # fmt: skip
    rows, values = rows[values.notna().all(axis=1)], values.dropna()
    settings = standing.settings(rows).rename("setting")
    means = values.groupby(settings).mean()
    first = rows.groupby(settings).first()
    leaders = points.leaders(df, objectives)
    leading = rows["trial"].isin(leaders).groupby(settings).any()
    feasible = rows["feasible"].groupby(settings).all().to_numpy(dtype=bool)
    groups = [group.to_numpy() for _, group in values.groupby(settings)]
    judged_on = first["judged_images"].astype(float)
    images = np.asarray(judged_on.fillna(judged_on.median()).fillna(_IMAGES), dtype=float)
    near = _near(means.to_numpy(), groups, images, feasible, axes)
    raw = first[options(df)].reset_index(drop=True)
    found, x = encoded(raw)
    return Sample(
        means.index.to_numpy(np.int64),
        leading.to_numpy(dtype=bool),
        found,
        raw[[each.column for each in found]],
        x,
        means.assign(**{MEMBER: near}).reset_index(drop=True),
    )


def encoded(raw: pd.DataFrame) -> tuple[tuple[Option, ...], Array]:
    """The options that vary, and all of them as numbers in [0, 1], [n, p].

    Args:
        raw: a column for each option. Those of a branch carry it in their names, `option.defense.trades.beta` below
            `option.defense`, and are missing where another one was taken; elsewhere a missing value is a null that was chosen.
    """
    found, columns = list[Option](), list[Array]()
    for name in raw.columns:
        active = _active(raw, name)
        if raw.loc[active, name].map(words.value).nunique() < 2:
            continue
        made, log = _numbers(raw[name], active)
        found.append(Option(name, tuple(range(len(columns), len(columns) + len(made))), active, log))
        columns += made
    return tuple(found), np.stack(columns, axis=1) if columns else np.zeros((len(raw), 0))


def _active(raw: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """[n] which settings took all branches that an option lies in."""
    result = np.ones(len(raw), dtype=np.bool_)
    for choice in raw.columns:
        if name.startswith(f"{choice}."):
            result &= np.array(
                [name.startswith(f"{choice}.{words.value(taken)}.") for taken in raw[choice]], dtype=np.bool_
            )
    return result


def is_number(values: pd.Series[Any]) -> bool:
    """Whether an option takes numbers alone; names, switches, nulls and lists are told apart only."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return numeric and not values.isna().any()


def _numbers(values: pd.Series[Any], active: NDArray[np.bool_]) -> tuple[list[Array], bool]:
    if is_number(values[active]):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        log = palette.logarithmic(float(np.nanmin(numbers)), float(np.nanmax(numbers)))
        numbers = np.log(numbers) if log else numbers
        low, high = np.nanmin(numbers), np.nanmax(numbers)
        scaled = (numbers - low) / (high - low)
        return [np.where(active, scaled, np.nanmedian(scaled))], log
    texts = values.map(words.value)
    names = sorted(set(texts[active]))
    told = names[1:] if len(names) == 2 else names
    return [np.where(active, (texts == name).to_numpy(dtype=float), 0.5) for name in told], False


def _near(
    means: Array, groups: Sequence[Array], images: Array, feasible: NDArray[np.bool_], axes: Sequence[Axis]
) -> Array:
    """P(not dominated) [n] of settings whose objectives are [n, m]."""
    judged = [axis.name in ACCURACIES for axis in axes]
    by_images = np.where(judged, chances.of_images(np.clip(means, 0, 1), images[:, None]), 0.0)
    errors = by_images[:, :, None] * np.eye(len(axes))
    seeds = chances.of_seeds(groups)
    if seeds is not None:
        counts = np.array([len(group) for group in groups])
        errors = errors + seeds / counts[:, None, None]
    result = np.zeros(len(means))
    signs = np.array([axis.sign for axis in axes])
    if feasible.any():
        draws = chances.normal(-signs * means[feasible], errors[feasible])
        result[feasible] = chances.nondominated(draws)
    return result


def order(of: Sample, target: str, objectives: Mapping[str, str]) -> Array:
    """[n] places by one target, 0 the best; equals share one. For `MEMBER`, by its probability and then by domination."""
    if target != MEMBER:
        sign = Axis(target, objectives[target]).sign
        return np.unique(-sign * of.y[target].to_numpy(), return_inverse=True)[1].astype(float)
    layers = frontier.ranks(frontier.minimised(points.records(of.y), objectives))
    keys = np.stack([-of.y[MEMBER].to_numpy(), layers], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(float)
