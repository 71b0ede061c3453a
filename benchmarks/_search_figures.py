"""The figures of a benchmark of searches: median regret at shares of the budget, from the rows of its CSV."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from _look import LOOK, SYMBOLS, save, titled

_CASE = re.compile(r"(?P<table>\S+(?: \([^)]*\))?) (?P<search>.+)")
_MEDIAN = re.compile(r"median regret at (?P<share>[\d.]+) of the budget")


def figures(rows: pd.DataFrame, folder: Path, name: str, first: list[str], least: int) -> None:
    """A figure for each table: a line for each search, the middle half of its sweeps as a bar where the rows have it.

    Args:
        name: how the files' names begin. first: searches that come first, and are drawn thicker. least: sweeps that a search
            needs to be shown.
    """
    found = rows["case"].str.extract(_CASE).join(rows["measure"].str.extract(_MEDIAN)).join(rows)
    found = found[found["share"].notna() & (found["sweeps"] >= least)]
    looks = [*first, *sorted(set(found["search"]) - set(first))]
    for table, part in found.groupby("table", sort=False):
        file = str(table).replace(" (", "-").rstrip(")")
        _figure(folder / f"{name}-{file}.png", str(table), part, looks, first)


def _figure(path: Path, table: str, part: pd.DataFrame, looks: list[str], first: list[str]) -> None:
    """Args: looks: all searches, by whose order each looks the same in every figure."""
    drawn, barred = go.Figure(), {"lower_quartile", "upper_quartile"} <= set(part.columns)
    ends = part[part["share"].astype(float) == 1].set_index("search")["value"]
    order = sorted(ends.index, key=lambda search: (search not in first, float(ends[search])))
    for beside, search in enumerate(order):
        place = looks.index(search)
        curve = part[part["search"] == search].sort_values("share")
        share, lacking, bars = 100 * curve["share"].astype(float), 100 * curve["value"], {}
        if barred:
            share += 0.5 * (beside - (len(order) - 1) / 2)  # bars side by side
            up, down = 100 * curve["upper_quartile"] - lacking, lacking - 100 * curve["lower_quartile"]
            bars = {"array": up, "arrayminus": down, "symmetric": False, "thickness": 0.8, "width": 0}
        colour = LOOK.categories[place % len(LOOK.categories)]
        drawn.add_scatter(
            x=share, y=lacking, error_y=bars, name=f"{search} ({curve['sweeps'].iloc[0]:.0f})", mode="lines+markers",
            marker={"size": 7, "symbol": SYMBOLS[place % len(SYMBOLS)], "color": colour},
            line={"color": colour, "width": 3 if search in first else 1.3,
                  "dash": "solid" if place < len(LOOK.categories) else "dot"},
        )  # fmt: skip
    drawn.update_xaxes(title="share of the budget that is spent, %", tickvals=[25, 33, 50, 75, 100])
    drawn.update_yaxes(title="hypervolume lacking, % of the best", rangemode="tozero")
    machine = str(part["machine"].iloc[0])
    below = f"medians over sweeps, their number in brackets; {machine}"
    title = titled(f"Searches over {table}", below)
    save(drawn, path, 760, 430, title=title, margin={"l": 60, "r": 20, "t": 65, "b": 50})
