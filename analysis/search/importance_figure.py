"""The figure of importance: two measures of each option, a panel for each objective and one for the frontier."""

from __future__ import annotations

import html

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import axes, palette, style, words
from analysis.palette import Theme, ThemeName
from analysis.search.sample import MEMBER

_MOST = 12  # options; further ones would be a page of their own
_ROW, _ROOM = 30, 76  # pixels per option, and of a panel's title and axis
POOR = 0.1
"""R2: a forest that knows less says nothing of options."""
_MEASURES = {
    "permuted": ("with others (forest)", "circle", -0.16),
    "alone": ("by itself (PED-ANOVA)", "diamond-open", 0.16),
}


def importance_figure(table: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Both measures with their 95 % intervals, options in one order in all panels, the most important of all first.

    Where a forest knows next to nothing its panel says so, and has no marks of it.

    Args:
        table: as `importance` gives it.
        theme: colours, "light" or "dark".
    """
    look = palette.THEMES[theme]
    targets = list(dict.fromkeys(table["target"]))
    shown = ordered(table)[:_MOST]
    panel = _ROW * len(shown) + _ROOM
    height = panel * len(targets) + 68
    figure = make_subplots(
        rows=len(targets), cols=1, subplot_titles=[_titled(*title(table, target)) for target in targets],
        vertical_spacing=_ROOM / (height - 136) if len(targets) > 1 else 0,
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", align="left", font={"size": 13, "color": look.ink})
    for row, target in enumerate(targets, start=1):
        part = table[table["target"] == target].set_index("option").loc[shown]
        for measure in _MEASURES:
            if measure == "permuted" and not fit(table, target) >= POOR:
                continue
            figure.add_trace(_marks(part, measure, look, listed=row == 1), row=row, col=1)
        figure.update_yaxes(
            tickmode="array", tickvals=list(range(len(shown))), ticktext=[_name(part, option) for option in shown],
            range=[len(shown) - 0.5, -0.5], row=row, col=1,
        )  # fmt: skip
    style.laid_out(
        figure, look, height=height, legend={"orientation": "h", "y": 1, "yanchor": "top", "yref": "container", "x": 0},
        margin={"l": 12, "r": 12, "t": 88, "b": 48},
    )  # fmt: skip
    figure.update_xaxes(range=[-4, 104], zeroline=True, zerolinecolor=look.muted)
    figure.update_xaxes(title_text="share of the variance, %", row=len(targets), col=1)
    figure.update_yaxes(tickfont={"color": look.ink}, ticks="")
    return figure


def ordered(table: pd.DataFrame) -> list[str]:
    """Options, the one first that has the largest share of any target by a forest, else alone."""
    largest = table.groupby("option", sort=False)[["permuted", "alone"]].max().fillna(-1.0)
    return largest.sort_values(["permuted", "alone"], ascending=False, kind="stable").index.tolist()


def title(table: pd.DataFrame, target: str) -> tuple[str, str]:
    """Of what a panel or a table is, and how much its forest knows: `clean accuracy`, `forest: R2 0.87`."""
    name = target_name(target)
    known = fit(table, target)
    if words.missing(known):
        return name, ""
    said = f"R\N{SUPERSCRIPT TWO} {known:.2f}".replace("-", "\N{MINUS SIGN}")
    return name, f"forest: {said}" + ("" if known >= POOR else ", which is next to nothing")


def target_name(target: str) -> str:
    """`clean accuracy`, `being on the frontier`."""
    return "being on the frontier" if target == MEMBER else axes.spoken(target)


def fit(table: pd.DataFrame, target: str) -> float:
    """R2 of a target's forest over all settings; nan where every option belongs to a branch."""
    whole = table.loc[(table["target"] == target) & ~table["conditional"].astype(bool), "fit"]
    return float(whole.max()) if len(whole) else float("nan")


def _titled(name: str, remark: str) -> str:
    """Two lines: a phone has no room for one."""
    return f"{name}<br><span style='font-size:11px'>{remark}</span>"


def _name(part: pd.DataFrame, option: str) -> str:
    name = html.escape(words.option_name(option), quote=False)
    row = part.loc[[option]].iloc[0]
    return f"{name}<br><i>of {row['settings']} with it</i>" if row["conditional"] else name


def _marks(part: pd.DataFrame, measure: str, look: Theme, *, listed: bool) -> go.Scatter:
    label, symbol, offset = _MEASURES[measure]
    known = part[part[measure].notna()]
    places = [part.index.tolist().index(option) + offset for option in known.index]
    value, low, high = (100 * known[f"{measure}{end}"] for end in ("", "_low", "_high"))
    colour = look.plain if measure == "permuted" else look.categories[1]
    return go.Scatter(
        x=value, y=places, mode="markers", name=label, legendgroup=measure, showlegend=listed,
        marker={"color": colour, "size": 9, "symbol": symbol, "line": {"width": 1.6, "color": colour}},
        error_x={
            "type": "data", "symmetric": False, "array": (high - value).clip(lower=0),
            "arrayminus": (value - low).clip(lower=0), "color": colour, "thickness": 1.2, "width": 0,
        },
        text=[html.escape(words.option_name(option), quote=False) for option in known.index],
        hovertemplate="%{text}<br>%{x:.1f} %<extra></extra>", meta={"measure": measure},
    )  # fmt: skip
