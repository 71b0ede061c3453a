"""One trial looked at, in a real browser: by the mouse, by the keyboard, by a limit; and what axe-core says of the page."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from tests.analysis import made as the
from tests.analysis.conftest import axe
from tests.analysis.devtools import Tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_PRESSED = "[...document.querySelectorAll('.pick[aria-pressed=true]')].map((one) => one.closest('table')?.id)"
_FIGURES = "[...document.querySelectorAll('.js-plotly-plot')]"
_RINGS = f"(page.finish(), Object.fromEntries({_FIGURES}.map((one) => [one.id, one.layout.shapes.length])))"


def _middle(shown: Tab, selector: str) -> tuple[float, float]:
    """Scrolls to an element, and where in the window its middle is then."""
    script = (
        f"(() => {{ const one = document.querySelector({json.dumps(selector)}); one.scrollIntoView({{block: 'center'}});"
        "const at = one.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2]; })()"
    )
    x, y = shown.says(script)
    return x, y


def test_a_click_on_a_row_shows_the_trial_everywhere(shown: Tab, table: pd.DataFrame) -> None:
    member = int(table.loc[table["member"], "trial"].iloc[1])
    shown.click(*_middle(shown, f"#members tr[data-trial='{member}'] td:nth-child(2)"))
    shown.until(f"page.selected === {member}")
    assert {"members", "trials", "attacks", "weaker"} <= set(shown.says(_PRESSED))
    rings = shown.says(_RINGS)
    assert rings["frontier"] == 2  # where it was chosen, and on test
    assert rings["progress"] >= 1
    assert rings["options"] >= 2
    assert shown.says("document.getElementById('selected-name').textContent") == f"Trial {member}"
    command = shown.says("document.getElementById('selected-command').textContent")
    assert command == f"python -m robustray train trials/{member:04d}/trial.yaml --folder again"
    assert shown.says("location.hash") == f"#trial-{member}"
    shown.press("Escape", 27)
    shown.until("page.selected === null")
    assert set(shown.says(_RINGS).values()) == {0}
    assert shown.says("document.getElementById('selected').hidden")


def test_a_click_on_a_mark_selects_its_trial(shown: Tab, table: pd.DataFrame) -> None:
    member = int(table.loc[table["member"], "trial"].iloc[-1])
    _middle(shown, "#frontier")
    x, y = shown.says(
        f"(() => {{ const gd = document.getElementById('frontier'); const at = gd.getBoundingClientRect();"
        f"const trace = gd.data.find((one) => one.meta?.kind === 'test' && one.customdata.includes({member}));"
        f"const row = trace.customdata.indexOf({member}); const {{ xaxis, yaxis }} = gd._fullLayout;"
        "return [at.x + xaxis._offset + xaxis.d2p(trace.x[row]), at.y + yaxis._offset + yaxis.d2p(trace.y[row])]; })()"
    )
    shown.move(x - 3, y)
    shown.move(x, y)
    shown.until("document.getElementById('frontier')._hoverdata?.length")  # a click before that is nobody's
    shown.click(x, y)
    shown.until(f"page.selected === {member}")
    shown.click(*_middle(shown, "#selected-close"))
    shown.until("page.selected === null")


def test_the_keyboard_goes_from_row_to_row_and_from_member_to_member(shown: Tab, table: pd.DataFrame) -> None:
    shown.says("document.querySelector('#trials .pick').focus()")
    shown.press("ArrowDown", 40)
    shown.press("ArrowDown", 40)
    assert shown.says("document.activeElement.dataset.trial") == "2"
    assert shown.says("document.querySelectorAll('#trials .pick[tabindex=\"0\"]').length") == 1
    shown.says("document.activeElement.click()")  # as Enter does on a button
    assert shown.says("page.selected") == 2
    members = shown.says("page.read('facts').members")
    clean = table.set_index("trial")["judged_clean_accuracy"]
    assert [clean[trial] for trial in members] == sorted(clean[members])
    shown.says("document.querySelector('[data-step=\"1\"]').click()")
    shown.says("document.querySelector('[data-step=\"1\"]').click()")
    assert shown.says("page.selected") == members[1]
    shown.press("Escape", 27)
    shown.until("page.selected === null")


def test_a_limit_names_the_best_member_that_keeps_to_it(shown: Tab, table: pd.DataFrame) -> None:
    members = table[table["member"]]
    least = 88.5
    keeps = members[100 * members["judged_clean_accuracy"] >= least]
    best = keeps.sort_values("judged_robust_accuracy")["trial"].tolist()[-1]
    shown.says(
        f"(() => {{ const one = document.getElementById('limit'); one.value = {least};"
        "one.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    shown.until(f"page.selected === {best}")
    said = shown.says("document.getElementById('limit-said').textContent")
    assert said.startswith(f"{least} %: trial {best}, ")
    shown.says("delete document.getElementById('limit').dataset.moved; page.select(null)")


def test_the_slider_over_cost_shows_what_was_known_then(shown: Tab) -> None:
    half = (
        "(() => { const one = document.getElementById('share'); one.value = 50;"
        "one.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    shown.says(half)
    ended = len(the.STOPPED + the.DIVERGED + the.FAILED + the.OUT_OF_MEMORY)
    shown.says("page.finish()")  # the figure is below what is in view
    shown.until("document.getElementById('share-said').textContent.includes('trials had ended')")
    shown.until("document.getElementById('progress').data[1].x.length < 22")
    known = shown.says("document.getElementById('progress').data[1].x.length")
    assert ended < known < the.TRIALS - len(the.RUNNING)
    ranges = "(({ xaxis2: x, yaxis2: y }) => [x.range, y.range])(document.getElementById('progress')._fullLayout)"
    at_half = shown.says(ranges)
    shown.says(half.replace("50", "100"))
    shown.says("page.finish()")
    shown.until(f"document.getElementById('progress').data[1].x.length > {known}")
    assert shown.says(ranges) == at_half
    outside = (
        f"(([x, y], drawn) => drawn.x.filter((at, i) => at < x[0] || at > x[1] || drawn.y[i] < y[0] || drawn.y[i] > y[1])"
        f".length)({ranges}, document.getElementById('progress').data[4])"
    )
    caption = shown.says("document.getElementById('progress').closest('section').querySelector('.caption').textContent")
    assert shown.says(outside) == 1
    assert " 1 trial lies outside its axes" in caption


def test_nothing_is_wider_than_the_window(shown: Tab) -> None:
    for width in (1600, 400):
        for dark in (False, True):
            shown.size(width, dark=dark)
            shown.until(f"innerWidth === {width}")
            assert shown.says("document.documentElement.scrollWidth") <= width
    shown.size(1280, 900)


_TIGHT = """[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)
  .map((one) => one.querySelector('table').id || one.closest('section').querySelector('h2').textContent)"""
_GOES_ON = """(() => {
  const place = document.getElementById("trials").closest(".scroll");
  const [first] = place.querySelectorAll("tbody td");
  const left = () => first.getBoundingClientRect().left - place.getBoundingClientRect().left;
  const before = left();
  place.scrollLeft = place.scrollWidth;
  const moved = place.scrollLeft;
  const after = left();
  place.scrollLeft = 0;
  const { backgroundImage, backgroundAttachment } = getComputedStyle(place);
  return { before, after, moved, shades: (backgroundImage.match(/gradient/g) ?? []).length, held: backgroundAttachment };
})()"""


def test_tables_fit_a_desk_and_show_elsewhere_that_they_go_on(shown: Tab) -> None:
    """At 1400 pixels those of members and of judging fit, whole rows in sight; where one does not, its first column stays and
    a shadow lies at the edge, for its scrollbar may be far below."""
    shown.size(1400, 900)
    shown.until("innerWidth === 1400")
    assert shown.says("document.getElementById('members').closest('.scroll').clientWidth") > 1060
    assert set(shown.says(_TIGHT)) <= {"trials"}
    lines = "[...document.querySelectorAll('.pair tbody tr')].map((one) => one.getBoundingClientRect().height)"
    assert max(shown.says(lines)) < 110
    shown.size(700, 900)
    shown.until("innerWidth === 700")
    edge = shown.says(_GOES_ON)
    assert edge["moved"] > 100
    assert edge["before"] == edge["after"] == 0
    assert edge["shades"] == 4
    assert edge["held"] == "local, local, scroll, scroll"
    shown.size(1280, 900)


_LINES = """(() => {
  const made = document.createElement("div");
  made.className = "examples";
  made.innerHTML = "<h3>6</h3>" + '<figure><img width="208" height="64"></figure>'.repeat(5);
  document.querySelector("main > section").append(made);
  const found = [...made.querySelectorAll("figure")].map((one) => [one.offsetLeft, one.offsetTop]);
  made.remove();
  return found;
})()"""


def test_pictures_of_a_member_fit_a_line_at_a_desk_and_else_begin_below_each_other(shown: Tab) -> None:
    for width, first_line in ((1400, 5), (1000, 3)):
        shown.size(width, 900)
        shown.until(f"innerWidth === {width}")
        found = shown.says(_LINES)
        tops = [top for _, top in found]
        assert tops.count(tops[0]) == first_line
        assert [left for left, _ in found[first_line:]] == [left for left, _ in found[: 5 - first_line]]
    shown.size(1280, 900)


_TOLD = """window.addEventListener("beforeprint", () => {
  const svgs = [...document.querySelectorAll(".js-plotly-plot")].map((one) => one.querySelector(".main-svg"));
  const inks = [...document.querySelectorAll("#frontier text, #options text, #progress text")].map((one) => one.style.fill);
  window.told = { papers: [...new Set(svgs.map((one) => one.style.background))], inks: [...new Set(inks)] };
}, { once: true })"""


def test_what_is_printed_has_white_paper_and_dark_ink(shown: Tab) -> None:
    shown.size(1280, 900, dark=True)
    shown.until("page.theme() === 'dark'")
    shown.says("page.finish()")
    shown.until("document.querySelector('#importance .main-svg').style.background === 'rgb(20, 24, 31)'")
    shown.says(f"page.select(page.read('facts').members[0]); {_TOLD}")
    shown.call("Page.printToPDF", printBackground=True)
    told = shown.says("window.told")
    assert told["papers"] == ["rgb(255, 255, 255)"]
    for ink in filter(None, told["inks"]):
        assert max(map(int, re.findall(r"[0-9]+", ink)[:3])) <= 130, ink
    shown.size(1280, 900, dark=True, media="print")
    assert shown.says("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert axe(shown, only="color-contrast") == []
    shown.size(1280, 900)
    shown.press("Escape", 27)


def test_axe_finds_nothing(shown: Tab) -> None:
    """The rules of WCAG 2.1 A and AA, and axe's own, on a phone and at a desk, in both themes, figures included."""
    shown.says("page.select(page.read('facts').members[0])")
    for width in (400, 1600):
        for dark in (False, True):
            shown.size(width, 900, dark=dark)
            shown.until(f"innerWidth === {width}")
            assert axe(shown) == [], (width, dark)
    shown.size(1280, 900)
    shown.press("Escape", 27)
