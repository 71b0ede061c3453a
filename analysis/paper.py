"""Figures for a paper: one style, and each as HTML, PNG, SVG and PDF."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import plotly.graph_objects as go

from analysis import alone, picture, style
from analysis.palette import Theme
from robustray.files import write_whole

FORMATS: tuple[picture.Format, ...] = ("png", "svg", "pdf")


@dataclass
class Written:
    """Files that were written, and why others were not."""

    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def styled(figure: go.Figure, look: Theme, *, width: int, height: int) -> go.Figure:
    """Axes, fonts and legend as all figures of this package have them; sizes in pixels, 96 to an inch."""
    figure.update_annotations(font={"size": style.SIZE, "color": look.ink})
    return style.laid_out(
        figure, look, width=width, height=height, margin={"l": 62, "r": 16, "t": 64, "b": 56},
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
    )  # fmt: skip


def written(figure: go.Figure, stem: Path) -> Written:
    """Writes STEM.html, and STEM.png, .svg and .pdf where a browser can be had; a picture that cannot be drawn is a note."""
    done = Written()
    page = stem.with_suffix(".html")
    write_whole(page, alone.page(stem.name.replace("_", " "), figure))
    done.files.append(page)
    size = int(figure.layout.width), int(figure.layout.height)
    done.notes += picture.beside(figure, stem, size, FORMATS)
    done.files += [path for kind in FORMATS if (path := stem.with_suffix(f".{kind}")).exists()]
    return done
