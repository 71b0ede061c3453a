"""The page's figures in a real browser: at every width and in both themes."""

from __future__ import annotations

import pytest

from tests.analysis.devtools import Tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_PLOT = """(() => {
  const place = document.getElementById("frontier");
  const { w, h } = place._fullLayout._size;
  return [w / place.clientWidth, h / place.clientHeight];
})()"""
_OVER = """(() => {
  const box = (one) => one.getBoundingClientRect();
  const plot = box(document.querySelector("#frontier .nsewdrag"));
  const over = [...document.querySelectorAll("#frontier .legend .bg, #frontier .legend2 .bg, #frontier .colorbar .cbfill")]
    .map(box).filter((one) => one.width && one.right > plot.left + 1 && one.left < plot.right - 1
      && one.bottom > plot.top + 1 && one.top < plot.bottom - 1);
  return over.length;
})()"""
_INK = (
    "JSON.stringify([...new Set([...document.querySelectorAll('#frontier .cbaxis text')]"
    ".map((one) => getComputedStyle(one).fill))])"
)
_INKS = {False: '["rgb(28, 36, 48)"]', True: '["rgb(230, 233, 238)"]'}


def _settled(shown: Tab, width: int, dark: bool) -> None:
    shown.size(width, dark=dark)
    shown.until(f"innerWidth === {width} && matchMedia('(prefers-color-scheme: dark)').matches === {str(dark).lower()}")
    shown.until(
        "document.getElementById('frontier').clientWidth === document.getElementById('frontier')._fullLayout.width"
    )


def test_the_frontier_keeps_its_room_whatever_the_window_becomes(shown: Tab) -> None:
    """On a phone, at a desk, from one to the other and back, in a new theme: the plot has its share of the figure."""
    for width, dark in (
        (1280, False),
        (400, False),
        (1600, False),
        (1600, True),
        (400, True),
        (400, False),
        (1280, False),
    ):
        _settled(shown, width, dark)
        across, down = shown.until(f"(([w, h]) => w > 0.7 && h > 0.4 && [w, h])({_PLOT})", 10)
        assert across > 0.8 or width == 400
        assert down > 0.65 or width == 400
        assert shown.says(_OVER) == 0, (width, dark)
        shown.until(f"{_INK} === '{_INKS[dark]}'", 10)
