"""What made each member: where it differs from the nearest setting that is no member, and what going back would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import axes, words
from analysis.axes import Axis
from analysis.search.forest import Forest, share_explained
from analysis.search.importance_figure import POOR
from analysis.search.sample import Option, Sample
from analysis.tables import Cell, Head, Table
from robustray.measures.metrics import METRICS

Array = NDArray[np.float64]
_MOST = 4  # options of a member
_SAME = 0.02  # of an option's range: nearer is the same
COLUMNS = ["trial", "neighbour", "option", "value", "reverted"]


def made_by(of: Sample, forests: Mapping[str, Forest], objectives: Mapping[str, str]) -> pd.DataFrame:
    """A row for each member and each option in which it differs from its nearest neighbour that is no member.

    Columns `trial`, `neighbour` (first trials of settings), `option`, its `value` and what it is `reverted` to, the
    neighbour's; for each objective the change that the forest expects of going back, `<name>`, and the standard error of
    that, `<name>_se` (`Forest.change`), nan where that forest knows next to nothing (`POOR`). A choice goes back with all
    options of its branch. The four options of the largest changes, by their standard errors, the largest first; members in
    order of their numbers. Distance is Gower's: the mean over options that one of the two has, of differences as shares of
    the range, 1 where only one has it.

    Args:
        of: the settings. forests: by target, fitted to them. objectives: the sweep's, by metric.
    """
    rows: list[dict[str, Any]] = []
    known = {name: forests[name] for name in objectives if _knows(forests[name])}
    others = np.flatnonzero(~of.leading).tolist() if known else []
    for member in np.flatnonzero(of.leading).tolist() if others else ():
        differences = np.stack([_differences(of, option, member)[others] for option in of.options], axis=1)
        nearest = int(np.nanmean(differences, axis=1).argmin())
        apart = dict(zip(of.options, differences[nearest], strict=True))
        rows += _reverted(of, known, member, others[nearest], apart)
    return pd.DataFrame(rows, columns=[*COLUMNS, *(f"{name}{end}" for name in objectives for end in ("", "_se"))])


def _knows(forest: Forest) -> bool:
    return share_explained(forest.errors, forest.y) >= POOR


def _differences(of: Sample, option: Option, member: int) -> Array:
    """[n] of each setting from a member by one option, in [0, 1]; nan where neither has it."""
    places = list(option.places)
    apart = np.abs(of.x[:, places] - of.x[member, places]).max(axis=1)
    apart[option.active != option.active[member]] = 1.0
    if not option.active[member]:
        apart[~option.active] = np.nan
    return np.asarray(apart)


def _reverted(
    of: Sample,
    forests: Mapping[str, Forest],
    member: int,
    neighbour: int,
    apart: Mapping[Option, float],
) -> list[dict[str, Any]]:
    changed = [option for option, distance in apart.items() if distance > _SAME]
    owned = {option: _branch(option, changed) for option in changed}
    going = [option for option in changed if not any(option in branch for branch in owned.values())]
    if not going:
        return []
    before = np.repeat(of.x[[member]], len(going), axis=0)
    after = before.copy()
    for row, option in zip(after, going, strict=True):
        for each in (option, *owned[option]):
            row[list(each.places)] = of.x[neighbour, list(each.places)]
    found = {name: forest.change(before, after) for name, forest in forests.items()}
    rows: list[dict[str, Any]] = []
    for at, option in enumerate(going):
        told = of.raw[option.column].tolist()
        values = [words.value(told[which]) or "none" for which in (member, neighbour)]
        row = dict(zip(COLUMNS, [of.settings[member], of.settings[neighbour], option.column, *values], strict=True))
        for name, (change, error) in found.items():
            row |= {name: change[at], f"{name}_se": error[at]}
        rows.append(row)
    floor = {name: 1e-3 * float(np.ptp(of.y[name])) or 1.0 for name in forests}  # an error of zero is no certainty
    return sorted(rows, key=lambda row: -max(abs(row[n]) / (row[f"{n}_se"] + floor[n]) for n in forests))[:_MOST]


def _branch(choice: Option, changed: Sequence[Option]) -> list[Option]:
    """The options of the branches that a choice takes: they have its name before theirs, and not all settings have them."""
    return [other for other in changed if other.conditional and other.column.startswith(f"{choice.column}.")]


def table(found: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """The same for a page or a terminal: a row for each option, a member's first one with its number."""
    heads = [
        Head("trial", numeric=True),
        Head("beside", "no member", numeric=True),
        Head("option"),
        Head("value"),
        Head("back to"),
    ]
    heads += [Head(METRICS[name].short, _unit(name), numeric=True) for name in objectives]
    rows, last = list[list[Cell]](), None
    for row in found.to_dict("records"):
        new, last = row["trial"] != last, row["trial"]
        cells = [Cell(str(row["trial"]) if new else "", mark="trial"), Cell(str(row["neighbour"]) if new else "")]
        cells += [
            Cell(text, mark="option") for text in (words.option_name(row["option"]), row["value"], row["reverted"])
        ]
        rows.append([*cells, *(_change(row, Axis(name, mode)) for name, mode in objectives.items())])
    return Table(heads, rows)


def _unit(name: str) -> str:
    return "points, \N{PLUS-MINUS SIGN} 2 standard errors" if Axis(name, "max").scale == 100 else axes.unit(name)


def _change(row: Mapping[Any, Any], axis: Axis) -> Cell:
    change, error = row[axis.name], row[f"{axis.name}_se"]
    if words.missing(change):
        return Cell("\N{EM DASH}", remark="the forest knows too little", sort="")
    if axis.scale == 100:
        around = (
            f"{200 * error:.1f}" if 200 * error >= 0.05 else "<0.1"
        )  # an error that rounds to nothing is no certainty
        return Cell(words.points(change), remark=f"\N{PLUS-MINUS SIGN}{around}")
    return Cell(f"{change:+.3g}".replace("-", "\N{MINUS SIGN}"), remark=f"\N{PLUS-MINUS SIGN}{2 * error:.2g}")
