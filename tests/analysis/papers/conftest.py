"""What tests of the papers' tables and figures share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.papers import swept


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of which everything is measured. Not to be written to."""
    return swept.whole(tmp_path_factory.mktemp("results"))
