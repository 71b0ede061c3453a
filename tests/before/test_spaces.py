"""Search spaces of before the refactoring read the same: what is searched, and the trials they describe.

`spaces` holds every space that was shipped, word for word, and `spaces.json` what each was read as.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeps import Sweep
from tests.before.compared import described, missed

HERE = Path(__file__).parent
READ: dict[str, Any] = json.loads((HERE / "spaces.json").read_text())


@pytest.mark.parametrize("name", sorted(READ))
def test_reads_the_same(name: str) -> None:
    sweep, before = Sweep.from_yaml(HERE / "spaces" / f"{name}.yaml"), READ[name]
    assert [[each.name, str(each.distribution)] for each in sweep.space] == before["searched"]
    examples, first = list(sweep.examples()), before["examples"][0]["changed"]
    assert len(examples) == len(before["examples"])
    for found, then in zip(examples, before["examples"], strict=True):
        whole = {path: value for path, value in (first | then["changed"]).items() if path not in then.get("gone", [])}
        assert missed(described(found), whole) == {}


def test_every_space_has_been_read() -> None:
    assert sorted(READ) == sorted(path.stem for path in (HERE / "spaces").glob("*.yaml"))
