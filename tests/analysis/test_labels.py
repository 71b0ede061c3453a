"""Numbers of marks are written where they can be read."""

from __future__ import annotations

import pandas as pd

from analysis import labels
from analysis.figures import frontier_figure

_VIEW = ([0.0, 90.0], [0.0, 50.0])  # ten pixels are one


def test_a_number_keeps_clear_of_lines_marks_other_numbers_and_the_edge() -> None:
    def side(
        *lines: tuple[labels.Place, labels.Place], at: labels.Place = (40, 20), more: tuple[float, float] = (0, 0)
    ) -> str:
        return labels.sides({7: at}, lines=lines, marks=[at, more], view=_VIEW)[7]

    assert side() == "top right"
    upright, across = ((41.2, 0), (41.2, 50)), ((38, 21.2), (90, 21.2))
    assert side(upright) == "top left"
    assert side(across, ((38.8, 0), (38.8, 50))) == "bottom right"
    assert side(upright, across) == "bottom left"
    assert side(((40, 20), (50, 30))) == "top left"  # aslant
    assert side(((42.2, 0), (42.2, 50))) == "top right"  # past it
    assert side(more=(41.2, 21.2)) == "top left"
    assert side(at=(89.8, 20)) == "top left"
    assert side(at=(89.8, 49.8)) == "bottom left"
    # Two of one place: no number lies on the other.
    found = labels.sides({1: (40, 20), 2: (40, 20)}, lines=[], marks=[(40, 20)] * 2, view=_VIEW)
    assert len(set(found.values())) == 2


def test_the_figure_takes_the_freer_side(table: pd.DataFrame) -> None:
    """Each member is numbered; one whose usual side is crossed has another."""
    written: dict[int, str] = {}
    for trace in frontier_figure(table).data:
        if trace.mode == "markers+text":
            assert "0 0 2px #ffffff" in trace.textfont.shadow  # where no side is free
            written |= dict(zip(map(int, trace.text), trace.textposition, strict=True))
    assert set(written) == set(table["trial"][table["member"]])
    assert set(written.values()) > {"top right"}
