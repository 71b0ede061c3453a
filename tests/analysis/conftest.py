"""One made sweep with its report for all tests that only read it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from analysis.collect import load
from analysis.report import publish
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
        pytest.skip("no Chromium on this machine")
    return found
