"""Every command of docs/from_the_papers.md is one of the command line's, and what it asks for can be built."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

import analysis.__main__
import robustray.__main__
import run_sweep
import sweeps.__main__
from analysis.papers.registry import EXHIBITS
from robustray.options.choose import choose, several
from sweeps.deriving import parents
from sweeps.dry_run import first_trials
from sweeps.space import Sweep

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "from_the_papers.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| original")
]
COMMANDS = [row[2].strip("` |") for row in ROWS if row[2].startswith("`")]
REMEDIES = list(dict.fromkeys(exhibit.command for exhibit in EXHIBITS.values()))
"""What an exhibit says where something is missing."""
SHIPPED = {path.stem: path for path in (ROOT / "search_spaces").rglob("*.yaml")}


def parsed(app: typer.Typer, words: list[str]) -> dict[str, object]:
    """What the command line makes of these words, without doing it."""
    command: Any = typer.main.get_command(app)
    while isinstance(command, TyperGroup):
        command, words = command.commands[words[0]], words[1:]
    with command.make_context("test", words) as context:
        given: dict[str, object] = context.params
        return given


def sweep_app() -> typer.Typer:
    app = typer.Typer()
    app.command()(run_sweep.sweep)
    return app


def test_every_row_has_a_command_or_says_why_not() -> None:
    assert len(ROWS) >= 120
    for row in ROWS:
        assert len(row) == 3, row
        assert re.match(r"`python .*` ?\|?$|not yet: |out of scope: ", row[2]), row[2]


def test_every_exhibit_has_a_row() -> None:
    named = [shlex.split(command)[4] for command in COMMANDS if command.startswith("python -m analysis paper ")]
    assert sorted(named) == sorted(EXHIBITS)


@pytest.mark.parametrize("command", [*COMMANDS, *REMEDIES])
def test_a_command_can_be_done(command: str) -> None:
    words = shlex.split(command)
    if words[1] == "run_sweep.py":
        asked = parsed(sweep_app(), words[2:])
        settings = list(asked["settings"] or [])  # type: ignore[call-overload]
        trials = [f"search.trials={asked['trials']}"] if asked["trials"] else []
        sweep = Sweep.from_yaml(ROOT / str(asked["space"]), overrides=settings + trials)
        assert first_trials(sweep, 3)
        return
    assert words[1] == "-m"
    if words[2] == "sweeps":
        asked = parsed(sweeps.__main__.app, words[3:])
        assert Path(str(asked["folder"])).name in SHIPPED
        makers = [choose("derive", text, "derive") for text in asked["requests"]]  # type: ignore[attr-defined]
        parents.check(makers)  # type: ignore[arg-type]
        return
    if words[2] == "analysis":
        asked = parsed(analysis.__main__.app, words[3:])
        if words[3] == "paper":
            assert asked["name"] in EXHIBITS
            assert all(folder.name in SHIPPED for folder in asked["folders"])  # type: ignore[attr-defined]
            return
        assert words[3] == "toy" or next(part for part in Path(str(asked["table"])).parts if part in SHIPPED)
        return
    assert words[2] == "robustray"
    asked = parsed(robustray.__main__.app, words[3:])
    model = str(asked["model"])
    assert model.startswith("zoo:") or Path(model).parts[1] in SHIPPED
    if "measures" in asked:
        assert several("measure", str(asked["measures"]), "--measures")
        assert all(split.strip() in ("train", "validation") for split in str(asked["split"] or "train").split(","))
