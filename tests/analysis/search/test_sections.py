"""What the page says of a search."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.palette import THEMES
from analysis.report import publish
from analysis.search.importance_figure import importance_figure
from analysis.search.sample import MEMBER
from tests.analysis.made import sweep


def _figures(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_options_members_and_cheap_numbers_are_on_the_page(made: Path, table: pd.DataFrame) -> None:
    html = (made / "report" / "index.html").read_text(encoding="utf-8")
    figures = _figures(html)
    for theme, look in THEMES.items():
        assert figures[theme]["importance"]["layout"]["paper_bgcolor"] == look.paper
    rows = html.split('id="made-by"')[1].split("</table>")[0]
    told = [int(number) for number in re.findall(r'<tr data-trial="(\d+)"', rows)]
    assert told
    assert set(told) <= set(table.loc[table["member"], "trial"])
    assert "end of training" in html.split('id="audit"')[1].split("</table>")[0]


def test_a_page_with_few_settings_says_that_they_are_few(tmp_path: Path) -> None:
    html = publish(sweep(tmp_path / "few", trials=4, fix=False), picture=False).index.read_text(encoding="utf-8")
    assert "Not said: 4 settings with numbers are too few; it takes 12." in html
    assert "importance" not in _figures(html)["light"]


@pytest.mark.parametrize(("fit", "measures"), [(0.6, 2), (-0.2, 1)])
def test_a_forest_that_knows_nothing_is_not_drawn(fit: float, measures: int) -> None:
    ends = [f"{measure}{end}" for measure in ("alone", "permuted") for end in ("", "_low", "_high")]
    row = {"target": MEMBER, "option": "option.<b>", "settings": 20, "conditional": False, "fit": fit}
    branch = row | {"option": "option.k", "conditional": True, "fit": np.nan}
    shares = dict.fromkeys(ends, 0.5)
    figure = importance_figure(pd.DataFrame([row | shares, branch | shares]))
    assert len(figure.data) == measures
    assert ("next to nothing" in figure.layout.annotations[0].text) == (fit < 0)
    assert figure.layout.yaxis.ticktext[0] == "&lt;b&gt;"
    assert "of 20 with it" in figure.layout.yaxis.ticktext[1]
