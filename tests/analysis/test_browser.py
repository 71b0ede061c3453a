"""The page in a real browser: the figure is drawn, tables sort and filter, nothing runs that is not the page's own."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.report import publish
from tests.analysis import made as the

pytestmark = pytest.mark.browser

_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=10000",
    "--window-size=1280,1600",
]  # fmt: skip


def _run(browser: str, page: Path, folder: Path, *more: str) -> str:
    command = [browser, *_FLAGS, f"--user-data-dir={folder / 'profile'}", *more, page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def _play(browser: str, made: Path, folder: Path, script: str) -> Any:
    """What a script at the end of the page returns; for it the copy is without its policy, which would not let it run."""
    html = (made / "report" / "index.html").read_text(encoding="utf-8")
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    told = f"<script>document.body.dataset.told = JSON.stringify((() => {{ {script} }})());</script>"
    page = folder / "played.html"
    page.write_text(html.replace("</body>", f"{told}</body>"), encoding="utf-8")
    found = re.search(r'data-told="([^"]*)"', _run(browser, page, folder, "--dump-dom"))
    assert found is not None
    return json.loads(found[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_the_page_draws_its_figure_under_its_own_policy(browser: str, made: Path, tmp_path: Path) -> None:
    dom = _run(browser, made / "report" / "index.html", tmp_path, "--dump-dom")
    assert 'class="main-svg"' in dom
    assert "errorbar" in dom
    assert "24 trials</output>" in dom
    assert re.search(
        r"<text[^>]*>95\W% band of the frontier, test</text>", dom
    )  # in the legend, where a click hides it
    assert not re.search(r'aria-label="Share[^"]*"', dom)  # plotly's button that sends the figure away
    picture = tmp_path / "page.png"
    _run(browser, made / "report" / "index.html", tmp_path, f"--screenshot={picture}")
    assert picture.stat().st_size > 50_000


def test_headers_sort_by_number_both_ways_and_keep_the_missing_last(
    browser: str, made: Path, tmp_path: Path, table: pd.DataFrame
) -> None:
    script = """
        const table = document.getElementById("trials");
        const read = (column) => [...table.tBodies[0].rows].map((row) => row.cells[column].textContent.trim());
        const click = (column) => { table.tHead.rows[0].cells[column].querySelector("button").click(); };
        const result = {};
        click(9); result.up = read(0); click(9); result.down = read(0);
        result.sorted = table.tHead.rows[0].cells[9].getAttribute("aria-sort");
        click(4); result.missing = read(4); click(0); result.trials = read(0);
        return result;
    """
    told = _play(browser, made, tmp_path, script)
    by_beta = table.sort_values("option.defense.trades.beta")["trial"].astype(str).tolist()
    assert told["up"] == by_beta
    assert told["down"] == by_beta[::-1]
    assert told["sorted"] == "descending"
    tested = int(table["test_clean_accuracy"].notna().sum())
    assert all(told["missing"][:tested])
    assert not any(told["missing"][tested:])
    assert told["trials"] == [str(n) for n in range(the.TRIALS)]  # 10 after 9, not after 1


def test_words_filter(browser: str, made: Path, tmp_path: Path) -> None:
    script = """
        const box = document.querySelector("input[data-filters]");
        box.value = "Stopped"; box.dispatchEvent(new Event("input", { bubbles: true }));
        const rows = [...document.getElementById("trials").tBodies[0].rows].filter((row) => !row.hidden);
        return [rows.map((row) => row.cells[0].textContent.trim()), document.getElementById("trials-shown").textContent];
    """
    assert _play(browser, made, tmp_path, script) == [[str(n) for n in the.STOPPED], "3 of 24 trials"]


def test_a_picture_is_drawn(tmp_path: Path, browser: str) -> None:
    report = publish(the.sweep(tmp_path / "s", trials=8))
    assert report.notes == []
    picture = report.index.with_name("frontier.png")
    assert picture in report.files
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
