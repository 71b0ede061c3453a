"""The frontiers of sweeps as points and verdicts, and which sweeps are repetitions of one search."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import collect, comparison, device_time, judgements, points, sheet, standing
from analysis.axes import USUAL
from robustray.errors import UserError
from sweeps import record
from sweeps.standing import SELECTION, TEST

Floats = NDArray[np.float64]
PREFIX = {TEST: "test_", SELECTION: "judged_"}
_OF_A_RUN = ("name", "description", "budget", "resources")  # of a space: what does not change what is searched


@dataclass(frozen=True, eq=False)
class Front:
    """One sweep's frontier on one split: its members, or before they are fixed those that would be.

    Attributes:
        name: of the sweep, told apart from the others'. folder: its own. search: whose repetition it is, the name of the
            first sweep of that space.
        trials: [k] the first trial of each setting. points: [k, 2] clean and robust accuracy, means over seeds, fractions.
        verdicts: [k, 2, N] of the same, per image. images: [N] which these are.
        parts: of a judgement, what its verdicts depend on. hours: device-hours of all of the sweep.
    """

    name: str
    folder: Path
    search: str
    trials: tuple[int, ...]
    points: Floats
    verdicts: Floats
    images: NDArray[Any]
    parts: Mapping[str, Any]
    hours: float
    df: pd.DataFrame
    snapshot: record.Snapshot
    about: sheet.Sheet


def read(folders: Sequence[Path], split: str = TEST) -> list[Front]:
    """The frontiers of sweeps, in the plane of clean and robust accuracy, whatever else was an objective.

    Raises:
        UserError: fewer than two sweeps, one of them is none or named twice, or has no frontier that is judged on the split.
    """
    unique = {folder.resolve(): folder for folder in folders}
    if len(unique) < len(folders):
        twice = next(folder for folder in folders if list(map(Path.resolve, folders)).count(folder.resolve()) > 1)
        raise UserError(f"{twice}: is named twice; a sweep is compared with others")
    snapshots = {folder: record.read(folder) for folder in folders}
    abouts = {folder: sheet.read(folder) for folder in folders}
    names = _names(folders, abouts)
    searches: dict[str, str] = {}
    found = []
    for folder in folders:
        key = json.dumps(_search(abouts[folder].space, folder), sort_keys=True, default=str)
        search = searches.setdefault(key, names[folder])
        found.append(_front(folder, snapshots[folder], names[folder], search, abouts[folder], split))
    return found


def groups(fronts: Sequence[Front]) -> dict[str, list[Front]]:
    """Repetitions of each search, in the order they were named."""
    result: dict[str, list[Front]] = {}
    for front in fronts:
        result.setdefault(front.search, []).append(front)
    return result


def independent(side: Sequence[Front]) -> list[Front]:
    """The repetitions of one search that differ in its seed: of those that do not, the first."""
    return list({json.dumps(_seed(front)): front for front in reversed(side)}.values())[::-1]


def _seed(front: Front) -> Any:
    return (front.about.space.get("search") or {}).get("seed", 0)


def _front(folder: Path, snapshot: record.Snapshot, name: str, search: str, about: sheet.Sheet, split: str) -> Front:
    df = collect.table(snapshot)
    models = comparison.read(folder, snapshot, split)
    leading = points.leaders(df, snapshot.objectives)
    rows = df[df["trial"].isin(leading)]
    if rows.empty and snapshot.members:
        raise UserError(
            f"{folder}: no trial is on its frontier: those that completed are flagged, or miss a constraint"
        )
    read_ones = [] if models is None else [n for n in rows["trial"] if n in models.trials]
    if models is None or not read_ones or len(read_ones) < len(rows):
        ahead = "; the sweep's own command goes on, or try --split validation" if split == TEST else ""
        raise UserError(f"{folder}: its frontier is not judged to the end on {split}{ahead}")
    setting = dict(zip(rows["trial"], standing.settings(rows), strict=True))
    firsts = list(dict.fromkeys(setting[n] for n in read_ones))
    at = [[models.trials.index(n) for n in read_ones if setting[n] == first] for first in firsts]
    verdicts = np.stack([models.verdicts[each].mean(axis=0) for each in at])
    judged = judgements.read(folder / snapshot.judged[int(read_ones[0]), split].folder)
    spent = device_time.of_sweep(folder, snapshot)
    hours = (spent.training + spent.deriving + spent.judging) / 3600
    numbers = tuple(int(first) for first in firsts)
    images = judged.verdicts.image
    return Front(
        name, folder, search, numbers, verdicts.mean(axis=2), verdicts, images, judged.parts, hours, df, snapshot, about
    )


def _search(space: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A space without its seed and what belongs to one run: what repetitions have in common."""
    if not space:
        return {"folder": str(folder)}  # nobody knows what it searched
    left = {key: value for key, value in space.items() if key not in _OF_A_RUN}
    search = left.get("search")
    return left | {"search": {key: value for key, value in (search or {}).items() if key != "seed"}}


def _names(folders: Sequence[Path], abouts: Mapping[Path, sheet.Sheet]) -> dict[Path, str]:
    own = {folder: abouts[folder].name(folder) for folder in folders}
    alike = {name for name in own.values() if list(own.values()).count(name) > 1}
    return {folder: str(folder) if name in alike else name for folder, name in own.items()}


def other_objectives(front: Front) -> bool:
    """Whether a sweep searched for something else than this plane shows."""
    return set(front.snapshot.objectives) != set(USUAL)
