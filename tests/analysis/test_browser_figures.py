"""The page's figures in a real browser: at every width and in both themes."""

from __future__ import annotations

import pytest

from analysis.palette import THEMES
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


def _ink(dark: bool) -> str:
    """What ticks of a colour bar are written in, as a browser says it."""
    colour = THEMES["dark" if dark else "light"].muted
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f'["rgb({red}, {green}, {blue})"]'


def _settled(shown: Tab, width: int, dark: bool) -> None:
    shown.size(width, dark=dark)
    shown.until(f"innerWidth === {width} && matchMedia('(prefers-color-scheme: dark)').matches === {str(dark).lower()}")
    shown.says("document.getElementById('frontier').scrollIntoView()")  # it is drawn anew where it is seen
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
        shown.until(f"{_INK} === '{_ink(dark)}'", 10)


_CARRIED = """(id) => {
  const place = document.getElementById(id);
  const { _fullLayout: full, data } = place;
  return data.flatMap((trace) => {
    const many = (trace.type === "heatmap" ? trace.y : trace.x) ?? [];
    const axis = (name) => full[name.replace(/^([xy])/, "$1axis")];
    const [x, y] = [axis(trace.xaxis ?? "x"), axis(trace.yaxis ?? "y")];
    return Array.from(many).flatMap((_, at) => {
      const trial = trace.customdata?.[at] ?? trace.meta?.trial;
      if (!Number.isInteger(trial)) return [];
      const map = trace.type === "heatmap"; // its rows have numbers for names
      const [across, down] = [x.d2p(map ? 10 : trace.x[at]), y.d2p(map ? at : trace.y[at])];
      if (!(across > 4 && across < x._length - 4 && down > 4 && down < y._length - 4)) return [];
      return [{ trial, x: x._offset + across, y: y._offset + down }];
    });
  });
}"""
_APART = f"""(id) => {{
  const found = ({_CARRIED})(id);
  const gap = (one) => Math.min(...found.filter(({{ trial }}) => trial !== one.trial)
    .map(({{ x, y }}) => Math.hypot(x - one.x, y - one.y)));
  return found.map((one) => ({{ ...one, gap: gap(one) }})).sort((a, b) => b.gap - a.gap)[0];
}}"""
_FIGURES = "[...document.querySelectorAll('.js-plotly-plot')].map(({ id }) => id)"
_MARKED = f"""(trial) => (page.finish(), {_FIGURES}).filter((id) => {{
  const place = document.getElementById(id);
  const bold = place.data.some((trace) => trace.meta?.trial === trial && trace.line?.width > 2);
  return bold || place.layout.shapes.some(({{ line }}) => line.width === 2.5);
}})"""


def test_a_click_in_any_figure_selects_the_trial_in_all_of_them(shown: Tab) -> None:
    """Points, lines, rows of a map: whatever a trial is drawn as, a click looks at that trial, and all figures mark it."""
    figures = shown.says(_FIGURES)
    carrying = [name for name in figures if shown.says(f"({_CARRIED})('{name}').length")]
    assert set(figures) - set(carrying) == {"importance"}
    for name in carrying:
        shown.says(f"document.getElementById('{name}').scrollIntoView({{ block: 'center' }})")
        found = shown.says(f"({_APART})('{name}')")
        left, top = shown.says(f"(({{ x, y }}) => [x, y])(document.getElementById('{name}').getBoundingClientRect())")
        shown.move(left + found["x"] - 2, top + found["y"])
        shown.move(left + found["x"], top + found["y"])
        shown.until(f"document.getElementById('{name}')._hoverdata?.length", 10)
        shown.click(left + found["x"], top + found["y"])
        shown.until(f"page.selected === {found['trial']}", 10)
        shown.says("page.finish()")  # what is out of view would wait until it is seen
        has = [
            one
            for one in carrying
            if shown.says(f"({_CARRIED})('{one}').some(({{ trial }}) => trial === {found['trial']})")
        ]
        assert set(shown.says(f"({_MARKED})({found['trial']})")) == set(has), name
        theirs = f'[data-trial="{found["trial"]}"]'
        rows = f"[...document.querySelectorAll('tr{theirs}, details.card{theirs}')]"
        assert shown.says(f"{rows}.length > 0 && {rows}.every((one) => one.classList.contains('selected'))")
        shown.says("page.select(null)")
        assert shown.says(f"({_MARKED})({found['trial']})") == []


def test_a_card_that_is_opened_is_looked_at(shown: Tab) -> None:
    shown.says("document.querySelectorAll('details.card > summary')[1].click()")
    assert shown.says("page.selected") == shown.says(
        "Number(document.querySelectorAll('details.card')[1].dataset.trial)"
    )
    shown.says("document.querySelectorAll('details.card > summary')[1].click(); page.select(null)")
