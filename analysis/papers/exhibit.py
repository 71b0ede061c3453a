"""What an exhibit is: one table and one figure of a paper, from rows that are read from sweeps and measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
import plotly.graph_objects as go

from analysis import paper
from analysis.palette import ThemeName
from analysis.papers.latex import Sheet, latex
from analysis.papers.sources import Note
from robustray.files import write_whole


class Drawing(Protocol):
    """A figure of rows; a pure function of them."""

    def __call__(self, rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
        """At the size of a page."""


@dataclass(frozen=True)
class Exhibit:
    """One table and figure of a paper.

    Attributes:
        shows: what is seen, in a line. paper: whose, and which of its tables and figures.
        command: what makes what it reads. folders: what FOLDER is.
        read: rows of plain values from folders, a CSV keeps all of them; raises UserError where something is missing.
        figure, table: of such rows, also of those that a CSV held.
    """

    name: str
    shows: str
    paper: str
    command: str
    read: Callable[[Sequence[Path], Note], pd.DataFrame]
    figure: Drawing
    table: Callable[[pd.DataFrame], Sheet]
    folders: str = "sweeps"


@dataclass
class Published:
    """Files that were written, and what a reader should know."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def publish(exhibit: Exhibit, folders: Sequence[Path], out: Path) -> Published:
    """Writes NAME.csv, NAME.tex, NAME.html and, where a browser can be had, NAME.png, .svg and .pdf into a folder.

    Raises:
        UserError: what it needs is not there; the message names the command that makes it.
    """
    done = Published()
    rows = exhibit.read(folders, done.notes.append)
    tables = {"csv": rows.to_csv(index=False), "tex": latex(exhibit.table(rows), exhibit.name)}
    figure = exhibit.figure(rows)
    out.mkdir(parents=True, exist_ok=True)
    for kind, content in tables.items():
        write_whole(out / f"{exhibit.name}.{kind}", content)
        done.files.append(out / f"{exhibit.name}.{kind}")
    drawn = paper.written(figure, out / exhibit.name)
    done.files += drawn.files
    done.notes += drawn.notes
    return done
