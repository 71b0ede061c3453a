"""Figures of the papers' small arguments, from the tables that `python -m robustray toy` writes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from robustray.errors import UserError
from robustray.files import from_json

ABOUT = "toy.json"
TOYS = ("score", "splines", "separation", "landscape")
Tables = Mapping[str, pd.DataFrame]
DIVERGENCES = {"kl": "KL", "js_sqrt": "√JS", "lse": "squared l2", "l2": "l2", "lp": "l1", "linf": "l∞"}
OBJECTIVES = {"standard": "standard", "madry": "adversarial training", "score": "SCORE", "trades": "TRADES"}
METHODS = {"natural": "natural", "gr": "GR", "llr": "LLR", "at": "AT", "rst": "RST", "trades": "TRADES"}
_COARSE = 0.03  # of [0, 1]: grey levels so far apart are seen as bars
_ALIKE = 1.5 / 255  # of [0, 1]: differences of two levels are rounded to whole numbers of 255 twice
_OFF = 0.15  # of a level: pixels are whole numbers of 255, so that sixteenths are not quite alike
_DASHES = ("solid", "dash", "dot", "dashdot")  # lines are told apart in grey print too


@dataclass(frozen=True)
class Drawn:
    """A folder with its tables, and the files that were drawn into it."""

    folder: Path
    files: list[Path]
    notes: list[str]


def publish(name: str, folder: Path) -> Drawn:
    """Computes a toy where its folder is not whole yet, and draws each of its figures as HTML, PNG, SVG and PDF.

    Raises:
        UserError: its tables could not be computed or read.
    """
    if not (folder / ABOUT).is_file():
        command = [sys.executable, "-m", "robustray", "toy", name, "--out", str(folder)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603  a program of ours
        if (code := done.returncode) != 0:
            raise UserError(f"{' '.join(command[1:])} ended with exit code {code}; its last line says why")
    tables = read(name, folder)
    try:
        figures = {figure_name: draw(tables) for figure_name, draw in FIGURES[name].items()}
    except KeyError:
        raise UserError(f"{folder}: its tables are of another version; remove {ABOUT} and try again") from None
    files, notes = list[Path](), list[str]()
    for figure_name, figure in figures.items():
        written = paper.written(figure, folder / figure_name)
        files += written.files
        notes += written.notes
    return Drawn(folder, files, list(dict.fromkeys(notes)))


def read(name: str, folder: Path) -> Tables:
    """The tables of a folder.

    Raises:
        UserError: they are of another toy, or damaged.
    """
    try:
        about = from_json((folder / ABOUT).read_text(encoding="utf-8"))
        there = about["toy"]
        tables = {table: pd.read_csv(folder / f"{table}.csv") for table in about["tables"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: its tables are damaged; remove {ABOUT} and give the same command again") from None
    if there != name:
        raise UserError(f"{folder} holds the tables of {there}, not of {name}: choose another --out")
    return tables


def posterior(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """P(y = 0 | x), true and learnt: a panel for each objective and divergence (Pang et al. 2022, Figure 2)."""
    look, df = palette.THEMES[theme], tables["posterior"]
    lines = {"truth": {"color": look.muted, "dash": "dash"}, "learnt": {"color": look.plain, "dash": "solid"}}
    return _posteriors(
        df, [each for each in DIVERGENCES if each in set(df["divergence"])], look, height=118,
        curves=lambda here: [(f"P(y = 0 | x), {name}", here, name, line) for name, line in lines.items()],
    )  # fmt: skip


def snapshots(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """P(y = 0 | x) as it is learnt by KL and squared l2, a panel for each objective (Pang et al. 2022, Figure 1)."""
    look, df = palette.THEMES[theme], tables["snapshots"]
    steps = sorted(df["iteration"].unique())

    def curves(here: pd.DataFrame) -> Iterator[Posterior]:
        for number, step in enumerate(steps):
            line = {"color": look.categories[number], "dash": _DASHES[number % len(_DASHES)]}
            yield f"{step} iterations", here[here["iteration"] == step], "learnt", line
        yield "truth", here[here["iteration"] == steps[-1]], "truth", {"color": look.muted, "dash": "longdash"}

    rows = [each for each in ("kl", "lse") if each in set(df["divergence"])]
    return _posteriors(df, rows, look, height=170, curves=curves)


Posterior = tuple[str, pd.DataFrame, str, Mapping[str, object]]
"""A curve: its name, rows with its places `x`, the column that it shows, and its line."""


def _posteriors(
    df: pd.DataFrame,
    divergences: Sequence[str],
    look: palette.Theme,
    *,
    height: int,
    curves: Callable[[pd.DataFrame], Iterable[Posterior]],
) -> go.Figure:
    """A panel of curves over x for each divergence, a row of `height` pixels, and objective."""
    titles = [*OBJECTIVES.values(), *[""] * (len(OBJECTIVES) * (len(divergences) - 1))]
    figure = make_subplots(
        rows=len(divergences), cols=len(OBJECTIVES), shared_xaxes=True, shared_yaxes=True, subplot_titles=titles,
        horizontal_spacing=0.02, vertical_spacing=0.12 / len(divergences),
    )  # fmt: skip
    for row, divergence in enumerate(divergences, 1):
        for column, objective in enumerate(OBJECTIVES, 1):
            here = df[(df["divergence"] == divergence) & (df["objective"] == objective) & df["x"].between(-8, 8)]
            for name, part, key, line in curves(here):
                trace = _curve(part["x"], part[key], name, {**line, "width": 1.6}, row == column == 1)
                figure.add_trace(trace, row=row, col=column)
        figure.update_yaxes(title_text=DIVERGENCES[divergence], row=row, col=1)
    figure.update_xaxes(tickvals=[-5, 0, 5])
    figure.update_yaxes(range=[0.3, 1.02], tickvals=[0.5, 1])
    for column in range(1, len(OBJECTIVES) + 1):
        figure.update_xaxes(title_text="x", row=len(divergences), col=column)
    return paper.styled(figure, look, width=760, height=130 + height * len(divergences))


def traces(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """SCORE's risk over iterations of each objective, a panel for each divergence (Pang et al. 2022)."""
    look, df = palette.THEMES[theme], tables["trace"]
    names = [each for each in DIVERGENCES if each in set(df["divergence"])]
    wide = 3
    figure = make_subplots(
        rows=-(-len(names) // wide), cols=min(wide, len(names)), subplot_titles=[DIVERGENCES[name] for name in names],
        horizontal_spacing=0.09, vertical_spacing=0.16,
    )  # fmt: skip
    for at, divergence in enumerate(names):
        row, column = at // wide + 1, at % wide + 1
        for number, (objective, title) in enumerate(OBJECTIVES.items()):
            here = df[(df["divergence"] == divergence) & (df["objective"] == objective) & (df["iteration"] > 0)]
            line = {"color": look.categories[number], "dash": _DASHES[number], "width": 1.8}
            trace = _curve(here["iteration"], here["score"], title, line, at == 0)
            figure.add_trace(trace, row=row, col=column)
        figure.update_yaxes(type="log", title_text="SCORE's risk" if column == 1 else None, row=row, col=column)
        figure.update_xaxes(title_text="iteration" if at + wide >= len(names) else None, row=row, col=column)
    figure.update_yaxes(exponentformat="power", dtick=1)
    return paper.styled(figure, look, width=760, height=250 * -(-len(names) // wide) + 60)


def staircase(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """Fits of the staircase to few points and to many: natural, by adversarial training, by TRADES."""
    look, df, points = palette.THEMES[theme], tables["curves"], tables["points"]
    sizes = sorted(df["points"].unique())
    figure = make_subplots(
        rows=1, cols=len(sizes), shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=[f"{size:,} points" for size in sizes],
    )  # fmt: skip
    shown = (("natural", 0.0), ("at", 1.0), ("trades", 6.0))
    for column, size in enumerate(sizes, 1):
        if column == 1:
            marks = {"size": 6, "color": look.muted, "symbol": "circle-open"}
            figure.add_trace(
                go.Scatter(x=points["x"], y=points["y"], mode="markers", name="points", marker=marks), row=1, col=1
            )
        for number, (method, strength) in enumerate(shown):
            here = df[(df["points"] == size) & (df["method"] == method) & (df["strength"] == strength)]
            line = {"color": look.categories[number], "dash": _DASHES[number], "width": 1.8}
            trace = _curve(here["x"], here["f"], _named(method, strength), line, column == 1)
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text="x", row=1, col=column)
    figure.update_yaxes(title_text="f(x)", row=1, col=1)
    return paper.styled(figure, look, width=760, height=380)


def spline_errors(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """Test error of every fit, as points are and at their worst moves, with the spread over seeds."""
    look, df = palette.THEMES[theme], tables["errors"]
    sizes = sorted(df["points"].unique())
    figure = make_subplots(
        rows=1, cols=len(sizes), shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=[f"{size:,} points" for size in sizes],
    )  # fmt: skip
    for column, size in enumerate(sizes, 1):
        here = df[df["points"] == size]
        means = here.groupby(["method", "strength"], sort=False)[["test", "worst_test"]].agg(["mean", "std"])
        names = [_named(str(method), float(strength)) for method, strength in means.index]
        for number, (key, title) in enumerate((("test", "as they are"), ("worst_test", "worst within eps"))):
            marks = {"size": 8, "color": look.categories[number], "symbol": ("circle", "diamond")[number]}
            spread = {"type": "data", "array": means[(key, "std")].fillna(0).tolist(), "thickness": 1, "width": 3}
            trace = go.Scatter(
                x=means[(key, "mean")].tolist(), y=names, mode="markers", name=title, marker=marks, error_x=spread,
                showlegend=column == 1, legendgroup=title,
            )  # fmt: skip
            figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text="mean squared error on test", row=1, col=column)
    figure.update_xaxes(type="log", matches="x", tickvals=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1])
    figure.update_yaxes(autorange="reversed")
    return paper.styled(figure, look, width=760, height=400)


def distances(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """Distances to the nearest training image of another class, and under random labels (Yang et al. 2020, Appendix D)."""
    look, df = palette.THEMES[theme], tables["distances"]
    splits = list(dict.fromkeys(df["split"]))
    figure = make_subplots(
        rows=1, cols=len(splits), shared_yaxes=True, subplot_titles=[f"{split} to train" for split in splits],
        horizontal_spacing=0.04,
    )  # fmt: skip
    bins = _bins(df[["distance", "random_labels"]].to_numpy(dtype=float))
    for column, split in enumerate(splits, 1):
        here = df[df["split"] == split]
        for number, (key, title) in enumerate((("distance", "classes"), ("random_labels", "random labels"))):
            trace = go.Histogram(
                x=here[key], xbins=bins, histnorm="percent", name=title, opacity=0.75, legendgroup=title,
                marker={"color": look.categories[number], "pattern": {"shape": ("", "/")[number]}}, showlegend=column == 1,
            )  # fmt: skip
            figure.add_trace(trace, row=1, col=column)
        least = float(here["distance"].min())
        line = {"color": look.ink, "dash": "dot", "width": 1}
        figure.add_vline(x=least, line=line, annotation_text=f"least {least:.2f}", row=1, col=column)
        figure.update_xaxes(title_text="linf distance, pixels of [0, 1]", range=[0, 1], row=1, col=column)
    figure.update_yaxes(title_text="images, %", row=1, col=1)
    figure.update_layout(barmode="overlay")
    return paper.styled(figure, look, width=760, height=360)


def _bins(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """One bar for each level where distances are those of few grey levels, else for each twentieth: bars between levels of
    another width would show gaps that the data has not.
    """
    each = np.unique(values[np.isfinite(values)])
    levels = np.array([part.mean() for part in np.split(each, np.flatnonzero(np.diff(each) > _ALIKE) + 1)])
    gaps = np.diff(levels)
    if len(gaps) and gaps.min() >= _COARSE:
        step = levels[-1] / round(levels[-1] / gaps[gaps < 1.5 * gaps.min()].mean())
        if np.abs(levels / step - np.round(levels / step)).max() < _OFF:
            return {"start": -step / 2, "end": 1 + step / 2, "size": float(step)}
    return {"start": 0, "end": 1, "size": 0.05}


def neighbours(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """Accuracy of the nearest neighbour that is certain within a radius."""
    look, df = palette.THEMES[theme], tables["certain"]
    figure = go.Figure()
    for number, (split, here) in enumerate(df.groupby("split", sort=False)):
        line = {"color": look.categories[number], "dash": _DASHES[number], "width": 2}
        figure.add_trace(_curve(here["radius"], 100 * here["share"], str(split), line, True))
    figure.update_xaxes(title_text="linf radius, pixels of [0, 1]")
    figure.update_yaxes(title_text="certain accuracy of the nearest neighbour, %", range=[0, 101])
    return paper.styled(figure, look, width=480, height=360)


def lines(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """Loss along random directions of weight space: the mean, and from the least to the most of the directions."""
    look, df = palette.THEMES[theme], tables["lines"]
    kinds = list(dict.fromkeys(df["of"]))
    figure = make_subplots(
        rows=1, cols=len(kinds), subplot_titles=[f"{kind} loss" for kind in kinds], horizontal_spacing=0.1
    )
    for column, kind in enumerate(kinds, 1):
        for number, (training, here) in enumerate(df[df["of"] == kind].groupby("training", sort=False)):
            along = here.groupby("s")["loss"].agg(["mean", "min", "max"]).reset_index()
            colour = look.categories[number]
            back = along.iloc[::-1]
            figure.add_trace(
                go.Scatter(
                    x=[*along["s"], *back["s"]], y=[*along["max"], *back["min"]], fill="toself", fillcolor=colour,
                    opacity=0.15, line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False,
                ),
                row=1, col=column,
            )  # fmt: skip
            line = {"color": colour, "dash": _DASHES[number], "width": 2}
            figure.add_trace(_curve(along["s"], along["mean"], str(training), line, column == 1), row=1, col=column)
        figure.update_xaxes(title_text="distance, in halves of a layer's length", row=1, col=column)
    figure.update_yaxes(title_text="cross-entropy", row=1, col=1)
    return paper.styled(figure, look, width=760, height=360)


def planes(tables: Tables, *, theme: ThemeName = "light") -> go.Figure:
    """How far the robust loss rises above its value at the weights, in a plane of two random directions, on one scale."""
    look, df = palette.THEMES[theme], tables["plane"]
    names = list(dict.fromkeys(df["training"]))
    figure = make_subplots(rows=1, cols=len(names), subplot_titles=names, shared_yaxes=True, horizontal_spacing=0.05)
    grids = [df[df["training"] == name].pivot_table(index="t", columns="s", values="loss") for name in names]
    rises = [grid - grid.loc[0.0, 0.0] for grid in grids]
    least, most = (
        extreme(float(pick(rise.to_numpy())) for rise in rises) for extreme, pick in ((min, np.min), (max, np.max))
    )
    scale = [[at / (len(look.scale) - 1), colour] for at, colour in enumerate(look.scale)]
    bar = {
        "title": {"text": "rise of the robust loss", "side": "right", "font": {"size": 12}}, "tickformat": ".1f",
        "tickfont": {"size": 11, "color": look.muted}, "thickness": 10, "outlinewidth": 0,
    }  # fmt: skip
    for column, rise in enumerate(rises, 1):
        contour = go.Contour(
            x=rise.columns.tolist(), y=rise.index.tolist(), z=rise.to_numpy(), zmin=least, zmax=most, colorscale=scale,
            contours={"start": least, "end": most, "size": (most - least) / 12, "showlabels": False},
            showscale=column == len(names), colorbar=bar,
        )  # fmt: skip
        figure.add_trace(contour, row=1, col=column)
        figure.update_xaxes(title_text="s, in halves of a layer's length", row=1, col=column)
    figure.update_yaxes(title_text="t, in halves of a layer's length", row=1, col=1)
    return paper.styled(figure, look, width=760, height=390).update_layout(margin={"t": 32})


FIGURES: Mapping[str, Mapping[str, Callable[[Tables], go.Figure]]] = {
    "score": {"posterior": posterior, "snapshots": snapshots, "traces": traces},
    "splines": {"staircase": staircase, "errors": spline_errors},
    "separation": {"distances": distances, "neighbours": neighbours},
    "landscape": {"lines": lines, "plane": planes},
}
"""Pure functions of a toy's tables, by the names of the files they are drawn into."""


def _curve(x: pd.Series[float], y: pd.Series[float], name: str, line: Mapping[str, object], legend: bool) -> go.Scatter:
    return go.Scatter(
        x=x.tolist(), y=y.tolist(), mode="lines", name=name, line=dict(line), showlegend=legend, legendgroup=name
    )


def _named(method: str, strength: float) -> str:
    """`TRADES 6`."""
    return METHODS[method] if method in ("natural", "at") else f"{METHODS[method]} {strength:g}"
