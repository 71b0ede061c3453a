"""One made sweep with its report for all tests that only read it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import pytest

from analysis.collect import load
from analysis.report import publish
from tests.analysis.devtools import Tab, tab
from tests.analysis.made import sweep

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of 24 trials, judged, members fixed and tested, with its report. Not to be written to."""
    folder = sweep(tmp_path_factory.mktemp("results") / "trades_beta")
    publish(folder, picture=False)
    return folder


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a sweep in which trial 4 is flagged, and trials 3 and 10 have two replicates each. Not to be written to."""
    folder = sweep(tmp_path_factory.mktemp("results") / "mixed", flagged=(4,), replicated=(3, 10))
    publish(folder, picture=False)
    return folder


@pytest.fixture(scope="session")
def table(made: Path) -> pd.DataFrame:
    """The made sweep as a table. Not to be written to."""
    return load(made)


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium on this machine."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing("no Chromium on this machine")
    return found


@pytest.fixture(scope="module")
def shown(browser: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """The page of the sweep of 24 trials with their trainings, 1280 pixels wide, all figures drawn; a browser per file.

    Each test leaves it with that width, in the light theme, with no trial looked at.
    """
    folder = sweep(tmp_path_factory.mktemp("results") / "trades_beta", trained=True)
    index = publish(folder, picture=False).index
    with tab(browser) as found:
        found.size(1280, 900)
        found.open(index.absolute().as_uri())
        found.says("page.finish()")  # each would be drawn when it comes near the view
        drawn = (
            "document.querySelectorAll('.js-plotly-plot').length === document.querySelectorAll('figure > [id]').length"
        )
        assert found.says(drawn)
        yield found
        assert found.errors == []


def axe(shown: Tab, *, only: str = "") -> list[Any]:
    """What axe-core finds on the page that is shown: the rule, how often, the first place.

    Args:
        only: the one rule that is looked at; all of them where empty.
    """
    engine = importlib.util.find_spec("axe_core_python")
    if engine is None or engine.origin is None:
        missing("axe-core is not installed")
    if not shown.says("'axe' in window"):
        shown.says(Path(engine.origin).with_name("axe.min.js").read_text(encoding="utf-8") + "; true")
    asked = {"resultTypes": ["violations"]} | ({"runOnly": [only]} if only else {})
    found: list[Any] = shown.says(
        f"axe.run(document, {json.dumps(asked)}).then(({{ violations }}) =>"
        "violations.map(({ id, nodes }) => [id, nodes.length, nodes[0].html.slice(0, 160)]))"
    )
    return found


def missing(what: str) -> NoReturn:
    """Something is not here that a test needs: it is skipped, and fails where `CI_MUST_SEE` says that it may not be."""
    if os.environ.get("CI_MUST_SEE"):
        pytest.fail(what)
    pytest.skip(what)
