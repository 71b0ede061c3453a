"""The figure of measures over the epochs of a training."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import alone, palette, picture, style
from analysis.palette import Theme, ThemeName
from robustray.errors import UserError
from robustray.files import from_json, write_whole

ABOUT, ROWS = "curve.json", "epochs.csv"
_WIDTH, _PANEL = 860, 300  # pixels
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")


@dataclass(frozen=True)
class Curve:
    """A measure of one training on one split: `rows` have epoch, value, low, high and what else it says."""

    about: dict[str, Any]
    rows: pd.DataFrame

    @property
    def panel(self) -> str:
        """What curves that are drawn over each other have in common."""
        settings = {key: value for key, value in self.about["settings"].items() if key != "name"}
        return json.dumps([self.about["measure"], settings, self.about["threat"]], sort_keys=True)

    @property
    def name(self) -> str:
        """Of which training, on which images."""
        return f"{self.about['name']}, {self.about['split']}"


@dataclass(frozen=True)
class Drawn:
    """What was written."""

    page: Path
    notes: list[str]  # why there is no picture


def publish(folders: Sequence[Path], *, formats: Sequence[str] = ("png",)) -> Drawn:
    """Writes `curve.html` and pictures of these formats into the first folder. One that is not drawn is a note.

    Args:
        folders: of curves, or folders that hold such: those of several trainings and splits meet in one figure.

    Raises:
        UserError: there is no curve in one of them.
    """
    curves = [curve for folder in folders for curve in read(folder)]
    figure = curve_figure(curves)
    page = folders[0] / "curve.html"
    write_whole(page, alone.page("Measures over the epochs of a training", figure))
    size = _WIDTH, int(figure.layout.height)
    return Drawn(page, picture.beside(figure, page.with_suffix(""), size, formats))


def read(folder: Path) -> list[Curve]:
    """The curve that a folder holds, or those in the folders inside it, by name.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    homes = [folder] if (folder / ABOUT).is_file() else sorted(path.parent for path in folder.glob(f"*/{ABOUT}"))
    if not homes:
        raise UserError(f"{folder}: no curve here; python -m robustray measure TRIAL --epochs all writes some")
    return [_curve(home) for home in homes]


def _curve(home: Path) -> Curve:
    try:
        about = from_json((home / ABOUT).read_text(encoding="utf-8"))
        rows = pd.read_csv(home / ROWS)
        curve = Curve(about, rows.sort_values("epoch"))
        whole = bool(curve.panel and curve.name and about["unit"]) and {"value", "low", "high"} <= set(rows.columns)
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise UserError(f"{home}: {ABOUT} or {ROWS} is damaged; the same measure --epochs writes both anew")
    return curve


def curve_figure(curves: Sequence[Curve], *, theme: ThemeName = "light") -> go.Figure:
    """Values over the epoch, a panel for each measure, a colour for each training and split, 95 % intervals as bands.

    Args:
        curves: at least one.
        theme: colours, "light" or "dark".
    """
    look = palette.THEMES[theme]
    panels, names = (list(dict.fromkeys(getattr(each, key) for each in curves)) for key in ("panel", "name"))
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.24 / len(panels))
    seen = set[str]()
    for draw in (_band, _line):  # no band over another's line
        for curve in curves:
            row = panels.index(curve.panel) + 1
            trace = draw(curve, names.index(curve.name), look)
            if draw is _line:
                trace.showlegend = curve.name not in seen
                seen.add(curve.name)
            figure.add_trace(trace, row=row, col=1)
            figure.update_yaxes(title_text=html.escape(_axis(curve, curves), quote=False), row=row, col=1)
    figure.update_xaxes(title_text="epoch", row=len(panels), col=1)
    _styled(figure, look, len(panels))
    return figure


def _axis(curve: Curve, curves: Sequence[Curve]) -> str:
    """`calibration (attack pgd), %`: with the options, and the threat, by which it differs from others of its name."""
    what = str(curve.about["measure"]).replace("_", " ")
    mine = _options(curve)
    others = [_options(other) for other in curves if other.about["measure"] == curve.about["measure"]]
    apart = [f"{key} {value}" for key, value in mine.items() if any(other.get(key) != value for other in others)]
    named = f"{what} ({', '.join(apart)})" if apart else what
    return f"{named}, %" if curve.about["unit"] == "fraction" else named


def _options(curve: Curve) -> dict[str, str]:
    """Options and threat, a part by its name."""
    given = {**curve.about["settings"], "threat": "{norm} {eps:g}".format(**curve.about["threat"])}
    named = {key: value.get("name", value) if isinstance(value, dict) else value for key, value in given.items()}
    return {key: "none" if value is None else str(value) for key, value in named.items()}


def _times(curve: Curve) -> int:
    return 100 if curve.about["unit"] == "fraction" else 1


def _band(curve: Curve, number: int, look: Theme) -> go.Scatter:
    """The intervals, where there are any: out along their upper ends, back along the lower ones."""
    there, colour = curve.rows.dropna(subset=["low", "high"]), look.categories[number % len(look.categories)]
    back = there.iloc[::-1]
    return go.Scatter(
        x=[*there["epoch"], *back["epoch"]], y=[*(_times(curve) * there["high"]), *(_times(curve) * back["low"])],
        mode="lines", fill="toself", fillcolor=colour, opacity=0.14, line={"width": 0}, hoverinfo="skip",
        showlegend=False, legendgroup=curve.name,
    )  # fmt: skip


def _line(curve: Curve, number: int, look: Theme) -> go.Scatter:
    """A mark for each epoch, and the way between them."""
    colour = look.categories[number % len(look.categories)]
    line = {"color": colour, "width": 2, "dash": _DASHES[number % len(_DASHES)]}
    marks = {"size": 6, "symbol": _SYMBOLS[number % len(_SYMBOLS)], "color": colour}
    return go.Scatter(
        x=curve.rows["epoch"].tolist(), y=(_times(curve) * curve.rows["value"]).tolist(), mode="lines+markers",
        name=html.escape(curve.name), line=line, marker=marks, legendgroup=curve.name,
        hovertemplate="epoch %{x}<br>%{y:.4g}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _styled(figure: go.Figure, look: Theme, panels: int) -> None:
    style.laid_out(
        figure, look, width=_WIDTH, height=_PANEL * panels + 60,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}, margin={"l": 62, "r": 16, "t": 48, "b": 56},
    )  # fmt: skip
