"""A search space that stands in a script: a mapping or YAML text is read as a file is, with its mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robustray.errors import UserError
from sweeps.space import Sweep

SPACE: dict[str, Any] = {
    "name": "mine",
    "judge": {"data": "digits", "threat": {"norm": "linf", "eps": "8/255"}},
    "trial": {"defense": {"name": "trades", "beta": {"loguniform": [0.1, 10]}}, "schedule": {"epochs": 3}},
    "search": {"trials": 4},
}


def test_a_mapping_its_text_and_a_file_are_one_space(tmp_path: Path) -> None:
    text = yaml.safe_dump(SPACE)
    (tmp_path / "mine.yaml").write_text(text)
    found = [Sweep.of(SPACE), Sweep.of(text), Sweep.from_yaml(tmp_path / "mine.yaml")]
    assert len({each.space_hash for each in found}) == 1
    assert found[0].resolved() == found[1].resolved() == found[2].resolved()


def test_overrides_and_what_python_shares(tmp_path: Path) -> None:
    trial = SPACE["trial"]
    before = yaml.safe_dump(SPACE)
    sweep = Sweep.of({**SPACE, "trial": {**trial, "batch": {"size": 100}}}, overrides=["search.trials=7"])
    assert sweep.trials == 7
    assert yaml.safe_dump(SPACE) == before, "what was given is not changed"


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (
            {**SPACE, "trial": {"defense": {"name": "trades", "betta": 1}}},
            "space: trial.defense.betta: unknown key; did you mean 'beta'?",
        ),
        (
            "name: mine\njudge:\n  data: digits\n  treat: linf\n",
            "space:4: judge.treat: unknown key; did you mean 'threat'?",
        ),
        ({**SPACE, "search": {"trials": np.int64(3)}}, "space: holds what YAML has no word for: np.int64(3)"),
        ("", "space: is empty"),
        ("- a", "space:1: must be a mapping"),
    ],
)
def test_a_mistake_is_one_line(space: Any, told: str) -> None:
    with pytest.raises(UserError) as raised:
        Sweep.of(space)
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)
