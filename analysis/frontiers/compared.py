"""Sweeps held against each other: how much each attains, for what, and what their images or seeds say of differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import pandas as pd

from analysis import curves, paired, words
from analysis.frontiers import differing, fronts, indicators
from analysis.frontiers.fronts import Front
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES
from sweeps.standing import SELECTION, TEST

HOURS = "cost_device_hours"
INDICATORS = ("hypervolume", "epsilon")
_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Compared:
    """What there is to say of several sweeps.

    Attributes:
        fronts: of each sweep. split: that they are on.
        sweeps: a row for each: `sweep`, `search` (whose repetition it is), `points`, `hypervolume`, `epsilon` (what it lacks,
            in both accuracies at once, to be as good as the best of all), `device_hours` of all it did, and
            `hypervolume_at` what its training had reached, by the cheap attack, when it had taken as many device-hours of
            training as the sweep that took the least (`budget`).
        pairs: two rows for each pair of searches `a` and `b`, one for each `indicator`: the mean `difference` a - b, its 95 %
            interval `low`, `high` where images were resampled, `p` adjusted by Holm's method for all rows, the `test` it is
            from; `a_lacks` and `b_lacks`, the additive epsilon of one's best points to all of the other's.
        conditions: as `differing.table` gives it. notes: sentences to read first.
        points: a row for each member: `sweep`, `search`, `trial` and both accuracies.
        curves: what each sweep had reached: `sweep`, `search`, HOURS and `hypervolume`, by the cheap attack.
    """

    fronts: Sequence[Front]
    split: str
    sweeps: pd.DataFrame
    pairs: pd.DataFrame
    conditions: pd.DataFrame
    notes: list[str]
    points: pd.DataFrame
    curves: pd.DataFrame
    budget: float


def compare(folders: Sequence[Path], *, split: str = TEST, resamples: int = _RESAMPLES, seed: int = 0) -> Compared:
    """Compares the frontiers of sweeps in clean and robust accuracy. Writes nothing.

    Sweeps of one space with other seeds of their search are repetitions of one search. Where two searches have enough of
    them, differences are tested by permuting seeds, which holds all that chance does to a search; else by the bootstrap of
    images, which takes the members as given and says nothing of another run of the same search.

    Args:
        folders: two sweeps or more. split: `test`, or `validation` for the selection set. resamples, seed: of the bootstrap.

    Raises:
        UserError: one is no sweep, is named twice, or has no frontier that is judged on the split.
    """
    if len(folders) < 2:
        raise UserError(f"{folders[0] if folders else 'compare'}: name two sweeps or more")
    found = fronts.read(folders, split)
    conditions = differing.table(found)
    reached, budget, at = _curves(found)
    reference = indicators.best_of([front.points for front in found])
    points = pd.concat(
        [
            pd.DataFrame(front.points, columns=list(ACCURACIES)).assign(
                sweep=front.name, search=front.search, trial=front.trials
            )
            for front in found
        ],
        ignore_index=True,
    )
    sweeps = pd.DataFrame(
        {
            "sweep": [front.name for front in found],
            "search": [front.search for front in found],
            "points": [len(front.points) for front in found],
            "hypervolume": [indicators.hypervolume(front.points) for front in found],
            "epsilon": [indicators.epsilon(front.points, reference) for front in found],
            "device_hours": [front.hours for front in found],
            "hypervolume_at": at,
        }
    )
    pairs = _pairs(found, reference, resamples, seed)
    notes = [*differing.notes(conditions), *_of_tests(found, pairs), *_of_split(split)]
    names = ["sweep", "search", "trial", *ACCURACIES]
    return Compared(found, split, sweeps, pairs, conditions, notes, points[names], reached, budget)


def _pairs(found: Sequence[Front], reference: indicators.Floats, resamples: int, seed: int) -> pd.DataFrame:
    searches = fronts.groups(found)
    of: dict[str, indicators.Indicator] = {
        "hypervolume": indicators.hypervolume,
        "epsilon": partial(indicators.epsilon, reference=reference),
    }
    lists: list[Front] = []  # one for each list of images
    drawn: dict[tuple[str, str], indicators.Resampled] = {}
    for front in found:
        at = next((n for n, other in enumerate(lists) if differing.same_images(front, other)), len(lists))
        lists += [front] if at == len(lists) else []
        for name, indicator in of.items():
            drawn[front.name, name] = indicators.resampled(
                front.verdicts, indicator, resamples=resamples, seed=seed + at
            )
    rows = []
    tested = _rows(searches)
    for (one, a), (other, b) in combinations(searches.items(), 2):
        own_a, own_b = fronts.independent(a), fronts.independent(b)
        by_seeds = tested * indicators.smallest_p(len(own_a), len(own_b)) <= indicators.ALPHA
        best_a, best_b = (indicators.best_of([front.points for front in side]) for side in (a, b))
        lacks = {"a_lacks": indicators.epsilon(best_a, best_b), "b_lacks": indicators.epsilon(best_b, best_a)}
        shared = all(differing.same_images(x, y) for x in a for y in b)
        for name in INDICATORS:
            sides = (own_a, own_b) if by_seeds else (a, b)
            left, right = ([drawn[front.name, name] for front in side] for side in sides)
            if by_seeds:
                test = indicators.by_seeds([x.value for x in left], [x.value for x in right], seed=seed)
            else:
                images = min(len(front.images) for front in (*a, *b))
                test = indicators.by_images(left, right, images=images, shared=shared)
            ends = {"difference": test.value, "low": test.low, "high": test.high, "p": test.p, "test": test.how}
            rows.append({"a": one, "b": other, "indicator": name} | ends | lacks)
    columns = ["a", "b", "indicator", "difference", "low", "high", "p", "test", "a_lacks", "b_lacks"]
    result = pd.DataFrame(rows, columns=columns)
    if len(result):
        result["p"] = paired.holm(result["p"].to_numpy(dtype=float))
    return result


def _rows(searches: Mapping[str, Sequence[Front]]) -> int:
    """How many differences are tested."""
    return len(INDICATORS) * math.comb(len(searches), 2)


def _curves(found: Sequence[Front]) -> tuple[pd.DataFrame, float, list[float]]:
    """What was reached for what training took; that of other objectives is another volume and is left out."""
    parts = [pd.DataFrame(columns=["sweep", "search", HOURS, "hypervolume"])]
    for front in found:
        if not fronts.other_objectives(front):
            curve = curves.hypervolume_curve(front.folder)[[HOURS, "hypervolume"]]
            parts.append(curve.assign(sweep=front.name, search=front.search))
    every = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    spent = every.groupby("sweep")[HOURS].max()
    budget = float(spent.min()) if len(spent) else float("nan")
    at = []
    for front in found:
        inside = every[(every["sweep"] == front.name) & (every[HOURS] <= budget * (1 + 1e-9))]
        unknown = fronts.other_objectives(front)
        at.append(float("nan") if unknown else float(inside["hypervolume"].iloc[-1]) if len(inside) else 0.0)
    return every, budget, at


def _of_tests(found: Sequence[Front], pairs: pd.DataFrame) -> list[str]:
    searches = fronts.groups(found)
    if len(searches) == 1:
        return [
            f"all {len(found)} sweeps are repetitions of one search ({found[0].search}): nothing is tested; "
            "`attainment` says what such repetitions attain"
        ]
    notes = [
        f"{', '.join(again)} repeat another sweep's search.seed: they are no more seeds to test by"
        for side in searches.values()
        if (again := [front.name for front in side if front not in fronts.independent(side)])
    ]
    if pairs["test"].str.startswith("bootstrap").any():
        few = {name: len(fronts.independent(side)) for name, side in searches.items()}
        listed = ", ".join(f"{name} {words.count(n, 'seed')}" for name, n in few.items())
        notes.append(
            f"differences are tested by images where searches have too few repetitions ({listed}): another seed of the search "
            f"or of training may turn them; seeds can be tested with {indicators.enough(_rows(searches))} sweeps of each "
            "space, each with another search.seed"
        )
    return notes


def _of_split(split: str) -> list[str]:
    return (
        [f"numbers are of the {words.SELECTION_SET}, which flatters what was chosen by it"]
        if split == SELECTION
        else []
    )
