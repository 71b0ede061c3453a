"""Writes a sweep's report: a page, two tables and, where a browser is found, a picture. No file is ever half there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import axes, collect, comparison, device_time, imports, measured, page, sheet, standing, training
from analysis import picture as picture_of
from analysis.figures import frontier_figure
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.measures.metrics import ACCURACIES
from sweeps import record
from sweeps.standing import SELECTION, TEST

FOLDER = "report"
SIZE = 1100, 760  # of the picture, in pixels of a page
_MEMBER_COLUMNS = [
    f"{split}_{name}"
    for split in ("judged", "test")
    for name in (
        *(f"{accuracy}{end}" for accuracy in ACCURACIES for end in ("", "_low", "_high")),
        "images",
    )
]


@dataclass(frozen=True)
class Report:
    """What was written, and what could not be."""

    index: Path
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # one line each


def write(folder: Path | str) -> Path:
    """Writes the report of a sweep and returns its page: `publish` for callers that need no notes.

    Raises:
        UserError: there is no readable record in the folder.
    """
    return publish(folder).index


def publish(folder: Path | str, *, picture: bool = True) -> Report:
    """Writes `report/index.html`, `frontier.csv`, `trials.csv` and `frontier.png` into a sweep's folder.

    And `imported.csv`, where the search learnt from other sweeps.

    May be called at any moment of a sweep, also while it runs. A picture that cannot be drawn is a note, not an error,
    and an older one is removed: no picture shows another state than the page beside it.

    Args:
        folder: the sweep's folder.
        picture: whether to draw `frontier.png`; it takes a browser a few seconds.

    Raises:
        UserError: there is no readable record in the folder.
    """
    folder, notes = Path(folder), list[str]()
    found = _read(folder, notes)
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    index, image = target / "index.html", target / "frontier.png"
    contents: dict[Path, str | bytes] = {target / name: text for name, text in _texts(found, folder).items()}
    if picture:
        try:
            contents[image] = _picture(found.df, found.snapshot, found.about, folder)
        except Exception as error:  # a browser can fail in any way, and the report is whole without a picture
            notes.append(f"{image.name} was not drawn: {picture_of.why_not(error)}")
    if image not in contents:
        image.unlink(missing_ok=True)
    for path, content in contents.items():
        write_whole(path, content)
    return Report(index, list(contents), notes)


def live(folder: Path) -> dict[str, str]:
    """The texts of a report by file name, with a page that renews itself from where it is served. Writes nothing.

    Raises:
        UserError: there is no readable record in the folder.
    """
    return _texts(_read(folder, []), folder, live=True)


@dataclass(frozen=True)
class _Found:
    """What a report is made from."""

    snapshot: record.Snapshot
    about: sheet.Sheet
    df: pd.DataFrame
    comparisons: Mapping[str, comparison.Comparison]
    trained: Mapping[int, Mapping[str, Any]]


def _read(folder: Path, notes: list[str]) -> _Found:
    snapshot, about = record.read(folder), sheet.read(folder)
    df = collect.table(snapshot)
    comparisons = _comparisons(folder, snapshot, df, notes)
    return _Found(snapshot, about, df, comparisons, _trained(folder, snapshot, notes))


def _texts(found: _Found, folder: Path, *, live: bool = False) -> dict[str, str]:
    """The files of a report that are text, by name."""
    df, snapshot, comparisons = found.df, found.snapshot, found.comparisons
    spent = device_time.of_sweep(folder, snapshot)
    frontier = members(df, snapshot.objectives, comparisons, measured.columns(snapshot))
    texts = {
        "trials.csv": df.to_csv(index=False),
        "frontier.csv": frontier.to_csv(index=False),
        "index.html": page.render(df, snapshot, found.about, folder, comparisons, spent, found.trained, live=live),
    }
    if not (learnt := imports.frame(snapshot)).empty:
        texts["imported.csv"] = learnt.to_csv(index=False)
    return texts


def members(
    df: pd.DataFrame,
    objectives: dict[str, str],
    comparisons: Mapping[str, comparison.Comparison],
    explained: Iterable[str] = (),
) -> pd.DataFrame:
    """The frontier's members with their options, or what they were made from, and numbers, as `frontier.csv` has them.

    What other members do to them comes last.

    `dominated_on_test`, and the probabilities of being non-dominated `judged_nondominated` and `test_nondominated`.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric; those that are not accuracies are columns too.
        comparisons: what verdicts say, by split, where there are any.
        explained: columns of measures of members.
    """
    unjudged = [name for name in objectives if name in df.columns and name not in ACCURACIES]
    columns = [
        "trial",
        "derived",
        "parents",
        *collect.options(df),
        *_MEMBER_COLUMNS,
        *unjudged,
        "judge_version",
        "gap_clean",
        "gap_robust",
        *explained,
    ]
    marked = df[columns].assign(dominated_on_test=standing.dominated_on_test(df, objectives))
    for split, prefix in ((SELECTION, "judged"), (TEST, "test")):
        chances: Any = comparisons[split].trials.set_index("trial")["nondominated"] if split in comparisons else {}
        marked[f"{prefix}_nondominated"] = marked["trial"].map(chances).astype(float)
    along = axes.along(objectives)
    order = [along.column("judged_"), "trial"]
    return marked[df["member"]].sort_values(order, ascending=[along.sign < 0, True])


def _comparisons(
    folder: Path, snapshot: record.Snapshot, df: pd.DataFrame, notes: list[str]
) -> dict[str, comparison.Comparison]:
    """By split. Verdicts that are not there or not alike are a note: the rest of a report does without them."""
    result = {}
    for split in (SELECTION, TEST):
        try:
            found = comparison.of_sweep(folder, snapshot, df, split)
        except UserError as error:
            notes.append(f"no paired statistics on {split}: {error}")
            continue
        if found is not None:
            result[split] = found
    return result


def _trained(folder: Path, snapshot: record.Snapshot, notes: list[str]) -> dict[int, dict[str, Any]]:
    """Epochs of trials. A damaged file is a note: the rest of a report does without curves."""
    try:
        return training.training(folder, snapshot)
    except UserError as error:
        notes.append(f"no training curves: {error}")
        return {}


def _picture(df: pd.DataFrame, snapshot: record.Snapshot, about: sheet.Sheet, folder: Path) -> bytes:
    """The light figure as a PNG, without the band, which nobody can hide there; raises as `picture.png`."""
    figure = frontier_figure(
        df,
        title=page.figure_title(about, folder, snapshot.objectives),
        objectives=snapshot.objectives,
        threat=about.threat,
    )
    return picture_of.png(figure, *SIZE)
