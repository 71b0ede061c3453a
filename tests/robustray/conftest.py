"""What every test of the package shares."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread in every test, whatever the test before it asked for."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
