"""What all figures of benchmarks have in common: one look, a title with the machine beneath it, rows of a dated CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import picture
from analysis.palette import THEMES
from analysis.style import SIZE, laid_out
from robustray.errors import UserError
from robustray.plain import line

LOOK = THEMES["light"]
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Told apart in grey as well; for the categories of the palette, in their order."""


def titled(title: str, below: str = "") -> dict[str, Any]:
    """A title at the left, and a smaller line below it."""
    text = f"{title}<br><span style='font-size:{SIZE - 1}px;color:{LOOK.muted}'>{below}</span>" if below else title
    return {"text": text, "x": 0.01, "xanchor": "left", "font": {"size": SIZE + 2}}


def save(figure: go.Figure, path: Path, width: int, height: int, **more: Any) -> None:
    """Gives the figure the look and writes it; says in a line where no browser draws it. Args: more: of its layout."""
    laid_out(figure, LOOK, **more)
    path.parent.mkdir(parents=True, exist_ok=True)
    for note in picture.beside(figure, path.with_suffix(""), (width, height), [path.suffix[1:]], scale=1.5):
        print(note)


def rows_of(*tables: Path) -> pd.DataFrame:
    """The rows of CSVs that benchmarks have written, one after another.

    Raises:
        UserError: one is missing, or no such table.
    """
    found = []
    for path in tables:
        try:
            found.append(pd.read_csv(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no table of a benchmark ({line(error)})") from None
        if missing := {"case", "measure", "value", "machine"} - set(found[-1].columns):
            raise UserError(f"{path}: no table of a benchmark: it has no column {', '.join(sorted(missing))}")
    return pd.concat(found, ignore_index=True)
