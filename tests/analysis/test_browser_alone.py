"""Pages with figures and little else, in a real browser: what axe-core says of them, both themes, and print."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import alone
from analysis.figures import frontier_figure
from analysis.frontiers import compared, figure, written
from tests.analysis.conftest import axe
from tests.analysis.devtools import tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

_PAPER = "[...new Set([...document.querySelectorAll('.main-svg:first-of-type')].map((one) => one.style.background))]"
_WHITE, _DARK = "rgb(255, 255, 255)", "rgb(20, 24, 31)"


def test_axe_finds_nothing_and_the_theme_is_the_readers(
    browser: str, made: Path, mixed: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    (tmp_path / "one.html").write_text(alone.page("One & <b>", frontier_figure(table)), encoding="utf-8")
    both = compared.compare([made, mixed], split="validation", resamples=40)
    notes = ["They differ.", "<script>alert(1)</script>"]
    index, _ = written.publish(both, figure.beneath(["cifar10:linf"]), tmp_path / "both", formats=(), notes=notes)
    with tab(browser) as shown:
        for address, themed in ((tmp_path / "one.html", False), (index, True)):
            shown.size(1600)
            shown.open(address.as_uri())
            for width in (1600, 400):
                for dark in (False, True):
                    shown.size(width, dark=dark)
                    shown.until(f"JSON.stringify({_PAPER}) === '[\"{_DARK if dark and themed else _WHITE}\"]'")
                    assert axe(shown) == [], (address.name, width, dark)
                    assert shown.says("document.documentElement.scrollWidth") <= width
            shown.size(1280, dark=True, media="print")
            assert shown.says("getComputedStyle(document.body).backgroundColor") == _WHITE
            shown.says(f"window.addEventListener('beforeprint', () => {{ window.told = {_PAPER}; }})")
            shown.call("Page.printToPDF")
            assert shown.says("window.told") == [_WHITE]
        assert shown.errors == []
