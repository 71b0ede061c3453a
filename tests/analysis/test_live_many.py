"""A page of 1,000 trials, watched while more of them end: it is changed in place, and what the reader did stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp")

from analysis.live.watch import beside
from sweeps.record import Record
from tests.analysis.devtools import Tab, tab
from tests.analysis.many import OBJECTIVES, ended, written

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

TRIALS, EVERY = 1000, 100  # ten are judged in full, which is what a page takes longest for
_PATIENCE = 900.0
_READER = """(() => {
  window.renewals = 0;
  document.addEventListener("renewed", () => { window.renewals += 1; });
  const moved = (id, value) => {
    const one = document.getElementById(id);
    one.value = value;
    one.dispatchEvent(new Event("input", { bubbles: true }));
  };
  moved("share", 40);
  const box = document.querySelector("input[data-filters]");
  box.value = "501";
  box.dispatchEvent(new Event("input", { bubbles: true }));
  document.querySelector("#trials thead th:nth-child(4) button").click();
  const row = document.querySelector('#trials tr[data-trial="501"]');
  row.querySelector(".pick").click();
  for (const one of document.querySelectorAll("main details")) one.open = true;
  row.scrollIntoView({ block: "center" });
  row.querySelector(".pick").focus({ preventScroll: true });
  window.kept = [...document.querySelectorAll("main > *, figure > [id], #frontier .main-svg, #trials tr, input, main details")];
  window.scrolled = row.getBoundingClientRect().top;
})()"""
_STATE = """(() => {
  const row = document.querySelector('#trials tr[data-trial="501"]');
  const { xaxis, yaxis } = document.getElementById("frontier")._fullLayout;
  return {
    zoom: [xaxis.range, yaxis.range].flat(),
    hidden: document.getElementById("frontier")._fullData.filter((one) => one.visible === "legendonly").map(({ name }) => name),
    selected: [page.selected, row.className, document.getElementById("selected").hidden, location.hash],
    focus: document.activeElement === row.querySelector(".pick"),
    share: document.getElementById("share").value,
    filter: document.querySelector("input[data-filters]").value,
    shown: [...document.querySelectorAll("#trials tbody tr")].some(({ hidden }) => hidden),
    sorted: document.querySelector("#trials thead th:nth-child(4)").ariaSort,
    stops: document.querySelectorAll('#trials .pick[tabindex="0"]').length,
    closed: document.querySelectorAll("main details:not([open])").length,
    moved: Math.abs(row.getBoundingClientRect().top - window.scrolled) < 2,
    lost: window.kept.filter((one) => !one.isConnected).map(({ outerHTML }) => outerHTML.slice(0, 80)),
  };
})()"""
# All that a page says, by piece, without what the page itself writes; of the table without the order that the reader gave it.
_SAYS = """(of) => {
  const copy = of.cloneNode(true);
  for (const one of copy.querySelectorAll("output, [aria-live], #live-state, figure > div[id] > *")) one.replaceChildren();
  const rows = [...copy.querySelectorAll("#trials tbody tr")].sort((a, b) => a.dataset.trial - b.dataset.trial);
  copy.querySelector("#trials tbody").replaceChildren(...rows);
  return [...copy.querySelectorAll("[data-piece]")].map((one) => [one.dataset.piece, one.textContent.replace(/\\s+/g, " ")]);
}"""
_FRESH = f"""fetch("/").then((answer) => answer.text()).then((html) => {{
  const fresh = new DOMParser().parseFromString(html, "text/html");
  const [mine, theirs] = [document.body, fresh.body].map({_SAYS});
  const sorted = (value) => Array.isArray(value) ? value.map(sorted) : value === null || typeof value !== "object" ? value :
    Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
  const text = (value) => JSON.stringify(sorted(value));
  const same = (id) => text(JSON.parse(fresh.getElementById(id).textContent)) === text(page.read(id));
  return {{
    order: mine.map(([name]) => name).join() === theirs.map(([name]) => name).join(),
    others: mine.filter(([, says], at) => theirs[at]?.[1] !== says).map(([name]) => name),
    data: ["figures", "facts"].map(same),
  }};
}})"""
_POINT = """(trial) => {
  const gd = document.getElementById("frontier");
  gd.scrollIntoView({ block: "center" });
  const at = gd.getBoundingClientRect();
  const { xaxis, yaxis } = gd._fullLayout;
  for (const { customdata, x, y } of gd.data) {
    const row = customdata?.indexOf(trial) ?? -1;
    if (row >= 0) return [at.x + xaxis._offset + xaxis.d2p(x[row]), at.y + yaxis._offset + yaxis.d2p(y[row])];
  }
  return null;
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("results") / "many", TRIALS, EVERY)


@pytest.fixture(scope="module")
def watched(browser: str, folder: Path) -> Iterator[Tab]:
    """The served page, its frontier drawn."""
    with beside(folder) as address, tab(browser) as shown:
        shown.size(1280, 900)
        shown.open(address)
        shown.until("document.querySelector('#frontier.js-plotly-plot') !== null", _PATIENCE)
        yield shown
        assert shown.errors == []


def test_it_is_changed_in_place_and_what_the_reader_did_stays(watched: Tab, folder: Path) -> None:
    """First by what is new since the state that is shown, then, as where that is not known any more, by all of the newest."""
    _zoomed(watched)
    _hides_what_the_legend_names(watched)
    watched.says("for (const one of document.querySelectorAll('figure > [id]')) one.scrollIntoView(); page.finish()")
    watched.says(_READER)
    before = watched.says(_STATE)
    assert before["selected"] == [501, "selected", False, "#trial-501"]
    assert before["focus"]
    assert before["shown"]
    assert before["sorted"] == "ascending"
    assert before["hidden"]
    with Record(folder, OBJECTIVES) as record:
        for number in (TRIALS, TRIALS + 1):
            renewed = watched.says("window.renewals")
            ended(record, np.random.default_rng(number), EVERY)
            there = f"document.querySelector('#trials tr[data-trial=\"{number}\"]')"
            watched.until(f"window.renewals > {renewed} && {there} && ({_STATE}).moved", _PATIENCE)
            assert watched.says(_STATE) == before
            assert watched.says(f"{there}.hidden")  # by what he typed
            watched.says(
                "((asks) => { window.fetch = (address) => asks(address.replace(/since=.*/, 'since=0')); })(window.fetch)"
            )
    told: dict[str, Any] = {}
    ends = time.monotonic() + _PATIENCE  # the page may be one state behind for a moment
    while told != (same := {"order": True, "others": [], "data": [True, True]}) and time.monotonic() < ends:
        told = watched.says(_FRESH)
    assert told == same
    # The figure was out of view: where the reader comes back to it, it is the same one as he left it, with what is new.
    watched.says(f"({_POINT})(501)")
    has = f"document.getElementById('frontier').data.some(({{ customdata }}) => customdata?.includes({TRIALS + 1}))"
    watched.until(has, _PATIENCE)
    assert {name: watched.says(_STATE)[name] for name in ("zoom", "hidden", "lost")} == {
        name: before[name] for name in ("zoom", "hidden", "lost")
    }
    watched.says("void Plotly.relayout('frontier', { 'xaxis.autorange': true, 'yaxis.autorange': true })")
    x, y = watched.says(f"({_POINT})({TRIALS + 1})")
    watched.move(x - 3, y)
    watched.move(x, y)
    watched.until("document.querySelector('#frontier .hoverlayer .hovertext')?.textContent.includes('defense.beta = ')")


def _hides_what_the_legend_names(watched: Tab) -> None:
    """Clicks the first name of the legend."""
    first = "document.querySelector('#frontier .legendtoggle')"
    watched.says(f"{first}.scrollIntoView({{ block: 'center' }})")
    watched.click(
        *watched.says(
            f"(({{ x, y, width, height }}) => [x + width / 2, y + height / 2])({first}.getBoundingClientRect())"
        )
    )
    watched.until("document.getElementById('frontier')._fullData.some(({ visible }) => visible === 'legendonly')")


def _zoomed(watched: Tab) -> None:
    """Draws a box in the figure with the mouse, as only then the zoom is the reader's; again where the page moved meanwhile."""
    range_ = "JSON.stringify(document.getElementById('frontier')._fullLayout.xaxis.range)"
    before = watched.says(f"page.finish(); {range_}")
    ends = time.monotonic() + _PATIENCE
    while watched.says(range_) == before and time.monotonic() < ends:
        watched.says("document.getElementById('frontier').scrollIntoView({ block: 'center' })")
        left, top, width, height = watched.says(
            "(({ x, y, width, height }) => [x, y, width, height])"
            "(document.querySelector('#frontier .nsewdrag').getBoundingClientRect())"
        )
        for kind, share in (
            ("mouseMoved", 0.2),
            ("mousePressed", 0.2),
            ("mouseMoved", 0.5),
            ("mouseMoved", 0.8),
            ("mouseReleased", 0.8),
        ):
            x, y = left + share * width, top + share * height
            held = 0 if kind == "mouseMoved" and share == 0.2 else 1
            watched.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)
            watched.says("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        time.sleep(1)
    assert watched.says(range_) != before
