"""The figure of a campaign: `python -m tests.faults.figure campaign.csv docs/findings/campaign.png`.

A row for each kind of fault, a point for each moment at which it was done, by how much of the record was written by then.
"""

from __future__ import annotations

import csv
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from analysis.palette import THEMES
from analysis.picture import png
from analysis.style import laid_out
from tests.faults.kinds import KINDS

_LOOK = THEMES["light"]
_SWEEPS = ("random", "grid", "tpe", "race")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up")
_MOMENT = re.compile(r"at (\d+)%")
_WELL = "as expected"


def read(paths: Sequence[Path]) -> list[dict[str, str]]:
    """The rows of one campaign or of several, but for those that this machine did not allow."""
    rows = []
    for path in paths:
        with path.open(newline="") as file:
            rows += [row for row in csv.DictReader(file) if row["came_out"] != "skipped"]
    return rows


def figure(rows: Sequence[dict[str, str]]) -> go.Figure:
    """Moments by kind and sweep; at the right, how many rounds came out as they had to."""
    done = defaultdict[str, list[bool]](list)
    for row in rows:
        done[row["kind"]].append(row["came_out"] == _WELL)
    names = [kind.name for kind in KINDS if kind.name in done][::-1]
    made = go.Figure()
    for place, (sweep, shade, symbol) in enumerate(zip(_SWEEPS, _LOOK.categories, _SYMBOLS, strict=False)):
        points = [
            (int(moment), names.index(row["kind"]) + 0.12 * (1.5 - place), row["came_out"] == _WELL)
            for row in rows
            if row["sweep"] == sweep
            for moment in _MOMENT.findall(row["did"])
        ]
        marks = {
            "color": shade,
            "size": [6 if well else 12 for *_, well in points],
            "symbol": [symbol if well else "x" for *_, well in points],
            "opacity": 0.9,
        }
        x, y = [point[0] for point in points], [point[1] for point in points]
        made.add_scatter(x=x, y=y, mode="markers", name=sweep, marker=marks)
    for place, name in enumerate(names):
        well = all(done[name])
        told = f"{sum(done[name])} of {len(done[name])}"
        made.add_annotation(x=107, y=place, text=told if well else f"<b>{told}</b>", showarrow=False)
    good, everything = sum(map(sum, done.values())), sum(map(len, done.values()))
    made.update_xaxes(
        title="share of the record that was written when it happened, %",
        range=[-3, 113],
        tickvals=[0, 25, 50, 75, 100],
    )
    made.update_yaxes(tickvals=list(range(len(names))), ticktext=names, range=[-0.6, len(names) - 0.4])
    below = "crosses did not; rows without marks are faults inside a trial, which have no moment of the record"
    text = f"{good} of {everything} rounds came out as they had to<br><span style='font-size:11px'>{below}</span>"
    laid_out(
        made,
        _LOOK,
        title={"text": text, "x": 0.01, "font": {"size": 14}},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "title": {"text": "sweep:"}},
        width=820,
        height=150 + 22 * len(names),
        margin={"l": 150, "r": 20, "t": 95, "b": 50},
    )
    return made


def main(words: Sequence[str] | None = None) -> None:
    """The command line: tables first, the figure last."""
    *tables, out = map(Path, sys.argv[1:] if words is None else words)
    made = figure(read(tables))
    out.write_bytes(png(made, scale=1.5))


if __name__ == "__main__":
    main()
