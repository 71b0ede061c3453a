"""docs/measures.md: its table has every registered measure, each has a section, and what it shows is true."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pytest
import typer
import yaml

import robustray.__main__
from robustray import testing
from robustray.measures.base import Measure
from robustray.measures.taking import take
from robustray.options.choose import several
from robustray.registry import parts
from robustray.testing import measures as contracts
from sweeps.space import Sweep, reference

PAGE = reference.MEASURES.read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = {"name": "x", "judge": {"data": "digits", "threat": {"eps": 0.1}}}


def blocks(language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(PAGE) if kind == language]


def test_the_table_of_measures_is_current() -> None:
    assert reference.measures_page() == PAGE, "make reference"


@pytest.mark.parametrize("name", parts("measure"))
def test_every_measure_has_a_section(name: str) -> None:
    sections = PAGE.partition("## One by one")[2]
    titles = [line for line in sections.splitlines() if line.startswith("#")]
    assert any(f"`{name}`" in title for title in titles), f"docs/measures.md: no title names `{name}`"


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_space_is_valid(text: str) -> None:
    Sweep.model_validate({**BASE, **yaml.safe_load(text)})


def test_a_command_asks_for_measures_that_there_are() -> None:
    lines = re.findall(r"^ *(python -m robustray measure .*)$", PAGE.replace("\\\n", " "), re.MULTILINE)
    assert len(lines) >= 20
    group: Any = typer.main.get_command(robustray.__main__.app)
    for line in lines:
        words = shlex.split(line, comments=True)[4:]
        with group.commands["measure"].make_context("test", words) as context:
            asked = several("measure", context.params["measures"], "--measures") if context.params["measures"] else ()
            assert asked or context.params.get("save_predictions"), line
            home = str(context.params["model"]).startswith("results/")
            assert not home or "test" not in str(context.params["split"]), f"a sweep reads test itself: {line}"


def test_the_measure_of_ones_own_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = blocks("python")
    from robustray import registry

    monkeypatch.setitem(registry._PARTS, "measure", dict(parts("measure")))
    made: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, "docs/measures.md", "exec", dont_inherit=True), made)
    here = contracts.ground()
    measure = made["Confidence"](name="confidence")
    assert isinstance(measure, Measure)
    found = take(measure, here)
    assert found.low is not None
    assert found.high is not None
    assert 0.1 <= found.low <= found.value <= found.high <= 1
    assert np.all(found.columns["confidence"] >= 0.1)
    assert [told for told in testing.check(made["Confidence"]) if not told.passed] == []
