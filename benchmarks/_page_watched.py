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
REST = 10.0  # seconds after a renewal in which what is left of it is done
_FIGURES = "document.querySelectorAll('figure > [id]').length"
_ALL = f"page.finish(), document.querySelectorAll('.js-plotly-plot').length === {_FIGURES}"
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


def _blocked(tasks: list[float]) -> float:
    return sum(max(0.0, each - 50) for each in tasks)


def read(browser: str, page: Path) -> dict[str, float]:
    """Seconds of processor time of the main thread: until it is loaded and all is drawn, of a click on a row, and the worst."""
    with tab(browser) as shown:
        shown.call("Performance.enable", timeDomain="threadTicks")
        shown.size(1280)
        before = _busy(shown)
        shown.open(page.absolute().as_uri())
        loaded = _busy(shown) - before
        shown.until(_ALL, 240)
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


def watched(browser: str, folder: Path, add: Callable[[], None], times: int = 2) -> dict[str, float]:
    """What some renewals took at worst, as the reader has them: `NAME, UNIT` and the value.

    `shown after` is from a change of the record to the page that has it; `longest task` the longest time for which a click
    finds nobody, `blocked` by how much all tasks of the renewal together exceed 50 ms each, as Lighthouse counts it. Both are
    in processor time of the page's main thread, which other programs do not lengthen, and `by the clock`, which they do; `busy`
    is all of that processor time, `sent` what the server sent.

    Args:
        add: makes one more trial end.
    """
    worst: dict[str, float] = {}
    with beside(folder) as address, tab(browser) as shown:
        shown.call("Performance.enable", timeDomain="threadTicks")
        shown.size(1280)
        shown.open(address)
        shown.until("document.querySelector('#frontier.js-plotly-plot') !== null", 900)
        time.sleep(REST)
        shown.says(_WATCH)
        for _ in range(times):
            shown.says("window.tasks.length = 0; window.renewals = 0; performance.clearResourceTimings()")
            shown.trace()
            began, before = time.monotonic(), _busy(shown)
            add()
            shown.until("window.renewals > 0", 900)
            after = time.monotonic() - began
            time.sleep(REST)  # the other figures are drawn when there is time
            tasks, by_clock = shown.tasks(), shown.says("window.tasks")
            found = {
                "shown after, s": after,
                "longest task, ms": max(tasks),
                "blocked, ms": _blocked(tasks),
                "longest task by the clock, ms": max([0.0, *by_clock]),
                "blocked by the clock, ms": _blocked(by_clock),
                "busy, ms": 1000 * (_busy(shown) - before),
                "sent, kB": shown.says(f"{_SENT} / 1000"),
            }
            worst = {name: max(value, worst.get(name, 0.0)) for name, value in found.items()}
        assert shown.errors == [], shown.errors
    return worst
