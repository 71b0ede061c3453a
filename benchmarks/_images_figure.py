"""The figure of `search_images.py`: what both searches reached over time, and their members on test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

_NAMES = {"ours": "ours", "plain": "OptunaSearch"}


def figure(path: Path, rows: pd.DataFrame, minutes: float, volume: Callable[[pd.DataFrame, str], float]) -> None:
    """Left: hypervolume on validation of all that had ended, a step line for every search. Right: members on test.

    Args:
        path: of the PNG. minutes: that a search had. volume: the score of some rows on a split.
    """
    from _bench import machine
    from _look import LOOK as look
    from _look import SYMBOLS, save, titled
    from plotly.subplots import make_subplots

    titles = ("on validation, PGD, as searches saw it", "members on test, AutoAttack")
    drawn = make_subplots(1, 2, subplot_titles=titles, horizontal_spacing=0.1)
    for place, name in enumerate(_NAMES):
        colour = look.categories[place]
        for seed, part in rows[rows.search == name].groupby("seed"):
            ordered = part.sort_values("seconds")
            at = [0.0, *(ordered.seconds / 60), minutes]
            reached = [volume(ordered.head(count), "validation") for count in range(len(ordered) + 1)]
            drawn.add_scatter(
                x=at, y=[*reached, reached[-1]], mode="lines", line={"color": colour, "shape": "hv", "width": 1.5},
                name=_NAMES[name], legendgroup=name, showlegend=False, row=1, col=1,
            )  # fmt: skip
            front = part[part.member].sort_values("test_clean")
            drawn.add_scatter(
                x=100 * front.test_clean, y=100 * front.test_autoattack, mode="markers", legendgroup=name,
                name=f"{_NAMES[name]}, seed {seed}",
                marker={"color": colour, "size": 9, "symbol": SYMBOLS[int(str(seed)) % len(SYMBOLS)]}, row=1, col=2,
            )  # fmt: skip
    drawn.update_xaxes(title="minutes of one processor core", row=1, col=1)
    drawn.update_yaxes(title="hypervolume above (10 %, 0 %)", rangemode="tozero", row=1, col=1)
    drawn.update_xaxes(title="clean accuracy, %", row=1, col=2)
    drawn.update_yaxes(title="robust accuracy, %", rangemode="tozero", row=1, col=2)
    drawn.update_annotations(font={"size": 12})
    title = titled("Two searches at equal device time", machine())
    save(drawn, path, 900, 400, title=title, margin={"l": 60, "r": 20, "t": 100, "b": 50})
