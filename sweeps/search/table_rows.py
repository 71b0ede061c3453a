"""Rows of a file made a table: everything that can be wrong with them is found here, and told in a line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustray.errors import UserError, nearest
from robustray.options.yaml import show
from sweeps.search.table_arrays import ACCURACIES, COMPLETE, OPTIONAL, REQUIRED, WHOLE, Arrays, Setting
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter

Where = tuple[int, int, int]
"""Setting, seed, epoch."""


def assembled(path: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], sweep: Sweep) -> Arrays:
    """A table of rows; raises UserError as `Table.read` says."""
    if not rows:
        raise UserError(f"{path}: has no rows")
    _columns(path, rows, sweep)
    by_place = _by_place(path, rows)
    settings = _settings(path, by_place, sweep)
    seeds = sorted({seed for _, seed, _ in by_place})
    names = [name for name in ACCURACIES if any(name in row for row in rows)]
    measured = {where: row for where, (_, row) in by_place.items() if any(name in row for name in names)}
    epochs = sorted({epoch for _, _, epoch in measured})
    if not epochs:
        raise UserError(f"{path}: no row has an accuracy")
    axes = [{value: place for place, value in enumerate(axis)} for axis in (settings, seeds, epochs)]
    seconds = np.full([len(axis) for axis in axes], np.nan)
    accuracies = {name: seconds.copy() for name in names}
    for where, row in measured.items():
        place = tuple(axis[value] for axis, value in zip(axes, where, strict=True))
        seconds[place] = row["seconds"]
        for name in names:
            accuracies[name][place] = row.get(name, math.nan)
    outcomes = _outcomes(path, by_place, settings)
    broke = {
        (axes[0][where[0]], axes[1][where[1]]): (where[2], float(row["seconds"]))
        for where, (_, row) in by_place.items()
        if where not in measured
    }
    of = tuple(tuple(outcomes.get((setting, seed)) for seed in seeds) for setting in settings)
    return Arrays(path, tuple(settings.values()), tuple(seeds), tuple(epochs), seconds, accuracies, of, broke, about)


def _columns(path: Path, rows: Sequence[Mapping[str, Any]], sweep: Sweep) -> None:
    """Columns that are missing, and those that nobody knows."""
    there = {name for row in rows for name in row}
    options = [parameter.name for parameter in sweep.space]
    for name in REQUIRED:
        if name not in there:
            raise UserError(f"{path}: has no column {name}")
    if not there & set(ACCURACIES):
        raise UserError(f"{path}: has no column of accuracies, such as {ACCURACIES[0]}")
    known = [*REQUIRED, *OPTIONAL, *ACCURACIES, *options]
    for name in sorted(there - set(known)):
        raise UserError(f"{path}: column {name}: is no option of the space {sweep.name}; {nearest(name, known)}")


def _by_place(path: Path, rows: Sequence[Mapping[str, Any]]) -> dict[Where, tuple[int, Mapping[str, Any]]]:
    """Rows and their numbers in the file by (setting, seed, epoch), every value checked."""
    found: dict[Where, tuple[int, Mapping[str, Any]]] = {}
    for number, row in enumerate(rows, 1):
        wrong = _wrong(row)
        if wrong:
            raise UserError(f"{path}: row {number}: {wrong}")
        where = row["setting"], row["seed"], row["epoch"]
        if where in found:
            what = f"setting {where[0]}, seed {where[1]}, epoch {where[2]}"
            raise UserError(f"{path}: row {number}: {what} stands in row {found[where][0]} already")
        found[where] = number, row
    return dict(sorted(found.items()))


def _wrong(row: Mapping[str, Any]) -> str:
    """What is wrong with the values of a row; nothing where nothing is."""
    for name in REQUIRED:
        if name not in row:
            return f"has no {name}"
    for name in WHOLE:
        least = 1 if name.startswith("epoch") else 0
        if type(row[name]) is not int or row[name] < least:
            fraction = " as a fraction; cast the column to int64" if isinstance(row[name], float) else ""
            return f"{name} must be a whole number from {least}, not {show(row[name])}{fraction}"
    if row["epoch"] > row["epochs"]:
        return f"epoch {row['epoch']} is beyond epochs, {row['epochs']}"
    if not _number(row["seconds"]) or row["seconds"] < 0:
        return f"seconds must be a number from 0, not {show(row['seconds'])}"
    if not isinstance(row["outcome"], str) or not row["outcome"]:
        return f"outcome must be a word, not {show(row['outcome'])}"
    for name in ACCURACIES:
        if name in row and not (_number(row[name]) and 0 <= row[name] <= 1):
            return f"{name} must be a fraction from 0 to 1, not {show(row[name])}"
    return ""


def _number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _settings(path: Path, rows: Mapping[Where, tuple[int, Mapping[str, Any]]], sweep: Sweep) -> dict[int, Setting]:
    """Settings by their numbers; all rows of one agree, no two are the same, and the space has them."""
    options = [parameter.name for parameter in sweep.space]
    found: dict[int, Setting] = {}
    same: dict[frozenset[tuple[str, object]], int] = {}
    for (setting, _, _), (number, row) in rows.items():
        params = {name: row[name] for name in options if name in row}
        if setting in found:
            own = found[setting]
            if params != own.params or row["epochs"] != own.epochs:
                said = {**params, "epochs": row["epochs"]}
                first = {**own.params, "epochs": own.epochs}
                name = next(name for name in (*options, "epochs") if said.get(name) != first.get(name))
                values = f"{show(said.get(name))}, elsewhere {show(first.get(name))}"
                raise UserError(f"{path}: row {number}: {name} of setting {setting} is {values}")
            continue
        try:
            params = _asked(sweep, params)
        except UserError as error:
            raise UserError(f"{path}: row {number}: setting {setting}: {error}") from None
        key = frozenset(params.items())
        if key in same:
            raise UserError(f"{path}: row {number}: setting {setting} has the options of setting {same[key]}")
        same[key] = setting
        found[setting] = Setting(setting, params, row["epochs"])
    return found


def _asked(sweep: Sweep, params: Mapping[str, Any]) -> dict[str, object]:
    """The options as the space would ask for them; raises UserError where one is missing, too many, or outside."""

    def value(parameter: Parameter) -> object:
        if parameter.name not in params:
            raise UserError(f"{parameter.name}: is empty, but the options above make it active")
        return params[parameter.name]

    found = sweep.ask(value)
    for name in params:
        if name not in found:
            raise UserError(
                f"{name}: is {show(params[name])}, but the options above leave it inactive; it must be empty"
            )
    return found


def _outcomes(
    path: Path, rows: Mapping[Where, tuple[int, Mapping[str, Any]]], settings: Mapping[int, Setting]
) -> dict[tuple[int, int], str]:
    """Outcomes by (setting, seed): rows of a training agree, take longer and longer, and those of a whole one go to its end."""
    outcomes: dict[tuple[int, int], str] = {}
    last: dict[tuple[int, int], tuple[int, Mapping[str, Any]]] = {}
    for (setting, seed, epoch), (number, row) in rows.items():
        own = setting, seed
        what = f"{path}: row {number}: setting {setting}, seed {seed}"
        if outcomes.setdefault(own, row["outcome"]) != row["outcome"]:
            raise UserError(f"{what} is {row['outcome']}, elsewhere {outcomes[own]}")
        if own in last:
            before = last[own][1]
            if row["seconds"] < before["seconds"]:
                raise UserError(f"{what} takes fewer seconds until epoch {epoch} than until epoch {before['epoch']}")
            if not any(name in before for name in ACCURACIES):
                raise UserError(f"{what} goes on after epoch {before['epoch']}, which has no accuracies")
        last[own] = number, row
    for (setting, seed), (number, row) in last.items():
        whole = row["epoch"] == settings[setting].epochs and any(name in row for name in ACCURACIES)
        if outcomes[setting, seed] == COMPLETE and not whole:
            what = f"setting {setting}, seed {seed} is complete, but epoch {settings[setting].epochs} was not measured"
            raise UserError(f"{path}: row {number}: {what}")
        if outcomes[setting, seed] != COMPLETE and whole:
            said = outcomes[setting, seed]
            what = f"setting {setting}, seed {seed} is {said}, but its last epoch, {row['epoch']}, was measured"
            raise UserError(f"{path}: row {number}: {what}")
    return outcomes
