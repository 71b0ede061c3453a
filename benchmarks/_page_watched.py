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
_DRAWN = "document.querySelectorAll('.js-plotly-plot').length === document.querySelectorAll('figure > [id]').length"
_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"
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
        shown.until(_DRAWN, 240)
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
    """Seconds, as the reader has them, each the worst of some renewals.

    `shown after` is from a change of the record to the page that has it; `blocked` is the longest time for which a click finds
    nobody; `busy` the processor time of the page's main thread.

    Args:
        add: makes one more trial end.
    """
    worst = {"shown after": 0.0, "blocked": 0.0, "busy": 0.0}
    with beside(folder) as address, tab(browser) as shown:
        shown.call("Performance.enable", timeDomain="threadTicks")
        shown.size(1280)
        shown.open(address)
        shown.until(f"document.getElementById('figures') && {_DRAWN}", 240)
        shown.says(_WATCH)
        for _ in range(times):
            shown.says("window.tasks.length = 0; window.renewals = 0")
            began, before = time.monotonic(), _busy(shown)
            add()
            shown.until("window.renewals > 0", 240)
            after = time.monotonic() - began
            time.sleep(3)  # the other figures are drawn when there is time
            blocked = shown.says("Math.max(0, ...window.tasks)") / 1000
            found = {"shown after": after, "blocked": blocked, "busy": _busy(shown) - before}
            worst = {name: max(value, found[name]) for name, value in worst.items()}
        assert shown.errors == [], shown.errors
    return worst
