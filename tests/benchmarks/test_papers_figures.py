"""The figures of the gallery: what makes each of them can be built."""

from __future__ import annotations

import papers_figures as figures
import pytest

from analysis.papers.registry import EXHIBITS
from robustray.options.choose import several


def test_every_exhibit_is_drawn() -> None:
    assert list(figures.DRAWN) == list(EXHIBITS)
    assert set(figures.DRAWN.values()) == set(figures.SOURCES)


@pytest.mark.parametrize("name", figures.SOURCES)
def test_what_a_figure_is_made_of_can_be_built(name: str) -> None:
    assert figures.space(name).name == name
    for taken in figures.SOURCES[name].taken:
        assert several("measure", taken.measures, "--measures")
