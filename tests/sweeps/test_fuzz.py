"""A sample of the fuzzing, the same every time. `python -m tests.fuzz` gives every reader 10,000 damaged files."""

from __future__ import annotations

import pytest

from tests.fuzz.readers import READERS
from tests.fuzz.run import fuzz


@pytest.mark.faults
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_an_error_in_words_or_a_valid_value(name: str) -> None:
    found = fuzz(name, 40, seed=0)
    assert not found.faults, found.faults[0]
