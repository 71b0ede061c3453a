"""What weaker attacks would have said of each member: the number that a short attack gives beside the judge's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import paired, points, words
from analysis.comparison import Comparison, Paired
from analysis.pareto import wilson
from analysis.tables import Cell, Head, Table
from robustray.files import from_json
from robustray.verdicts import CLEAN
from sweeps.record import Snapshot, measured

_MEASURE = "robust_accuracy"  # which says of every image whether it stood


@dataclass(frozen=True)
class Taken:
    """One attack that `measures` of the sweep ran on members, image by image.

    Attributes:
        name: in words: `pgd, 20 steps`. stands: by trial and image, whether the image stood.
    """

    name: str
    stands: Mapping[int, Mapping[int, bool]]


def taken(folder: Path, snapshot: Snapshot, split: str) -> list[Taken]:
    """Attacks of members that the measure `robust_accuracy` holds on a split. What cannot be read is left out.

    Args:
        folder: the sweep's. snapshot: its record. split: `validation` or `test`.
    """
    found: dict[str, tuple[str, dict[int, Mapping[int, bool]]]] = {}
    for each in measured.found(snapshot):
        if each.split != split:
            continue
        try:
            about = from_json((folder / each.folder / "result.json").read_text(encoding="utf-8"))
            if about["measure"] != _MEASURE:
                continue
            images = pd.read_csv(folder / each.folder / "images.csv", usecols=["image", "robust"])
            attack = about["settings"]["attack"]
            name = ", ".join([str(attack["name"]), *([f"{attack['steps']} steps"] if "steps" in attack else [])])
            stood = dict(zip(images["image"].astype(int).tolist(), (images["robust"] > 0).tolist(), strict=True))
        except (OSError, ValueError, KeyError, TypeError):  # a record that was copied alone, or a torn file
            continue
        found.setdefault(each.name, (name, {}))[1][each.trial] = stood
    return [Taken(name, stands) for name, stands in found.values()]


def said(of: Sequence[Taken], *, one_list: bool = False) -> str:
    """On which images each of them stands, and what the intervals hold."""
    cheap = (
        "on the same images" if one_list else "on other validation images, so its difference holds their drawing too"
    )
    first = (
        f"All on the {words.SELECTION_SET}; the {words.CHEAP} {cheap}. The first attack\u2019s interval is Wilson\u2019s, of "
        "the share that only later ones broke"
    )
    if not of:
        return f"{first}. A PGD of your own beside them takes measures: [robust_accuracy] in the space."
    names = "; ".join(dict.fromkeys(each.name for each in of))
    return f"{first}; {names}: on the images that both looked at, with the paired bootstrap\u2019s interval."


def table(
    comparison: Comparison,
    df: pd.DataFrame,
    objectives: Mapping[str, str],
    of: Sequence[Taken] = (),
    *,
    one_list: bool = False,
) -> Table:
    """A row for each trial on the frontier: robust accuracy by the cheap attack, by the judge's first attack alone, by all.

    The first attack is on the same images as the judge's number, so the difference is what the later ones found: the share k/N
    of images that only they broke, with its 95 % Wilson interval. The cheap attack was run on validation images, so it is
    held against the judge's number on the selection set, also where test is read: test images may be harder, which says
    nothing of an attack. Where validation is no single list, its difference holds the drawing of images as well. Attacks that
    `measures` ran stand behind, on the images that the judge looked at too: what they leave, and the paired difference to the
    judge on these with the 95 % interval of the paired bootstrap.

    Args:
        comparison: of the selection set.
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        of: as `taken` gives it, of the same split.
        one_list: whether the cheap attack ran on the judge's own images, as `Sheet.one_list` has it.
    """
    on_it = points.leaders(df, objectives)
    leading = [number for number in comparison.broken if number in on_it]
    first = next((name for number in leading for name in comparison.broken[number] if name != CLEAN), None)
    if first is None:
        return Table([])
    heads = [
        Head("trial", numeric=True),
        Head(words.CHEAP, "same images, %" if one_list else "other validation images, %", numeric=True),
        Head(f"{first} alone", "same images, %", numeric=True),
        Head("all attacks", "%", numeric=True),
        Head(f"{words.CHEAP} too high by", "points", numeric=True),
        Head(f"{first} too high by", "points, 95 % interval", numeric=True),
    ]
    for each in of:
        heads += [
            Head(each.name, "shared images, %", numeric=True),
            Head(f"{each.name} too high by", "points, 95 % interval", numeric=True),
        ]
    images = dict(zip(comparison.trials["trial"], comparison.trials["images"], strict=True))
    cheap = dict(zip(df["trial"], df["robust_accuracy"], strict=True))
    rows = []
    for number in leading:
        broken, n = comparison.broken[number], images[number]
        later = sum(broken.values()) - broken.get(CLEAN, 0) - broken.get(first, 0)
        judged = (n - sum(broken.values())) / n
        rows.append(
            [
                Cell(str(number), mark="trial"),
                _share(cheap[number]),
                _share(judged + later / n),
                _share(judged, mark="strong"),
                _difference(cheap[number] - judged),
                _difference(later / n, wilson(later, n)),
                *(cell for each in of for cell in _beside(each, number, comparison.verdicts)),
            ]
        )
    return Table(heads, rows)


def _beside(each: Taken, number: int, judge: Paired | None) -> list[Cell]:
    """What an attack leaves, and by how much that is more than the judge leaves of the same images."""
    stands = each.stands.get(number, {})
    if judge is None or judge.images is None or number not in judge.trials:
        return [Cell("", sort="")] * 2
    shared = np.isin(judge.images, list(stands))
    if not shared.any():
        return [Cell("", sort="")] * 2
    ours: NDArray[np.float64] = np.array([float(stands[int(image)]) for image in judge.images[shared]])
    theirs = judge.verdicts[judge.trials.index(number), 1, shared]
    means = paired.resample(ours - theirs)
    told = _share(ours.mean())
    return [
        Cell(told.text, remark=f"of {len(ours):,}", sort=told.sort),
        _difference((ours - theirs).mean(), paired.interval(means)),
    ]


def _share(fraction: Any, mark: str = "") -> Cell:
    return Cell(words.number(fraction), sort="" if words.missing(fraction) else float(fraction), mark=mark)


def _difference(fraction: Any, ends: tuple[float, float] | None = None) -> Cell:
    around = words.interval_of_points(*ends) if ends else ""
    return Cell(words.points(fraction), remark=around, sort="" if words.missing(fraction) else float(fraction))
