"""A page of a sweep in headless Chromium: what it takes to load, to answer a click, and to renew while it is watched."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from analysis.live.watch import beside
from tests.analysis.devtools import Tab, tab

CLICKS = 12
REST = 6.0  # seconds after a renewal in which what is left of it is done
DRAWN = "document.querySelectorAll('.js-plotly-plot').length === document.querySelectorAll('figure > [id]').length"
_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
_SENT = "performance.getEntriesByType('resource').reduce((all, { encodedBodySize }) => all + encodedBodySize, 0)"
_WATCH = """(() => {
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask" });
  document.addEventListener("renewed", () => { window.renewals = (window.renewals ?? 0) + 1; });
})()"""


def _busy(shown: Tab) -> float:
    """Seconds of processor time of the page's main thread so far."""
    told: list[dict[str, Any]] = shown.call("Performance.getMetrics")["metrics"]
    return next(float(each["value"]) for each in told if each["name"] == "TaskDuration")


def read(browser: str, page: Path) -> dict[str, float]:
    """Seconds of processor time of the main thread: until it is loaded and all is drawn, of a click on a row, and the worst."""
    with tab(browser) as shown:
        shown.call("Performance.enable", timeDomain="threadTicks")
        shown.size(1280)
        before = _busy(shown)
        shown.open(page.absolute().as_uri())
        loaded = _busy(shown) - before
        shown.until(DRAWN, 240)
        drawn = _busy(shown) - before
        rows = shown.says(
            "[...document.querySelectorAll('#trials tr[data-trial]')].map((one) => Number(one.dataset.trial))"
        )
        clicks = []
        for trial in rows[:: max(1, len(rows) // CLICKS)][:CLICKS]:
            before = _busy(shown)
            shown.says(f"document.querySelector(`#trials tr[data-trial='{trial}']`).click(); {_FRAME}")
            clicks.append(_busy(shown) - before)
        assert shown.errors == [], shown.errors
    return {"load": loaded, "drawn": drawn, "click": median(clicks), "worst click": max(clicks)}


def watched(browser: str, folder: Path, add: Callable[[], None], times: int = 3) -> dict[str, float]:
    """What some renewals took at worst, as the reader has them: `NAME, UNIT` and the value.

    `shown after` is from a change of the record to the page that has it; `longest task` the longest time for which a click
    finds nobody; `blocked` by how much all tasks of the renewal together exceed 50 ms each, as Lighthouse counts it; `busy` the
    processor time of the page's main thread; `sent` what the server sent for it. Tasks are as long as the clock says: on a busy
    machine they are longer than what they do.

    Args:
        add: makes one more trial end.
    """
    worst: dict[str, float] = {}
    with beside(folder) as address, tab(browser) as shown:
        shown.call("Performance.enable", timeDomain="threadTicks")
        shown.size(1280)
        shown.open(address)
        shown.until(f"document.getElementById('figures') && {DRAWN}", 900)
        shown.says(_WATCH)
        for _ in range(times):
            shown.says("window.tasks.length = 0; window.renewals = 0; performance.clearResourceTimings()")
            began, before = time.monotonic(), _busy(shown)
            add()
            shown.until("window.renewals > 0", 900)
            after = time.monotonic() - began
            time.sleep(REST)  # the other figures are drawn when there is time
            found = {
                "shown after, s": after,
                "longest task, ms": shown.says("Math.max(0, ...window.tasks)"),
                "blocked, ms": shown.says("window.tasks.reduce((all, one) => all + Math.max(0, one - 50), 0)"),
                "busy, ms": 1000 * (_busy(shown) - before),
                "sent, kB": shown.says(f"{_SENT} / 1000"),
            }
            worst = {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
        assert shown.errors == [], shown.errors
    return worst
