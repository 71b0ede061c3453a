"""The commands of `python -m analysis` that decide: which model, and whether it is good enough."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.elsewhere import Swept

_WIDE = 200


class GatedSplit(StrEnum):
    """Images that a gate reads."""

    test = "test"
    validation = "validation"


class Rule(StrEnum):
    """Rules that pick one model of those that meet the condition."""

    balanced = "balanced"
    robust = "robust"
    clean = "clean"
    knee = "knee"
    reference = "reference"
    cheapest = "cheapest"


def add(app: typer.Typer) -> None:
    """Adds them."""
    for command in (choose, gate, trial):
        app.command()(command)


def choose(
    folder: Swept,
    where: Annotated[
        str, typer.Option(help='what it must meet: "test_clean_accuracy >= 0.9 and option.model.width <= 8"')
    ] = "",
    by: Annotated[
        Rule | None,
        typer.Option(
            help="which of those; default: robust with --where or --budget, else balanced", show_default=False
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="device-hours that its training took at most", show_default=False, min=0)
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="where one would like to be: clean_accuracy=0.95,robust_accuracy=0.5", show_default=False),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the model out into this folder", show_default=False)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Say which model of a sweep to take, why, and how far others are from it; export it on request."""
    from rich.console import Console

    from analysis.deciding import told
    from analysis.deciding.choosing import Wanted
    from analysis.deciding.choosing import choose as chosen
    from sweeps import record

    wanted = Wanted(where.strip(), None if by is None else by.value, budget, _reference(reference))
    found = chosen(folder, wanted)
    if as_json:
        alternatives = json.loads(found.table.to_json(orient="records"))
        said: dict[str, Any] = {"trial": found.trial, "folder": str(found.folder), "rule": found.rule, "why": found.why}
        typer.echo(json.dumps(said | {"notes": found.notes, "tested_on": found.split, "alternatives": alternatives}))
    else:
        # Where nobody watches there is no width to keep to.
        shown = told.choice(found, record.read(folder).objectives)
        Console(width=None if sys.stdout.isatty() else _WIDE).print(shown)
        for note in found.notes:
            typer.echo(f"note: {note}", err=True)
    if csv is not None:
        found.table.to_csv(csv, index=False)
        typer.echo(csv, err=as_json)
    if export is not None:
        _export(found.folder, export)
    elif not as_json:
        typer.echo(f"export it: python -m robustray export {found.folder}")


def gate(
    folder: Annotated[Path, typer.Argument(help="a sweep's folder, results/NAME, or one model's judgement")],
    min_clean: Annotated[
        float | None, typer.Option(help="clean accuracy that it must have, a fraction", show_default=False)
    ] = None,
    min_robust: Annotated[
        float | None, typer.Option(help="robust accuracy that it must have, a fraction", show_default=False)
    ] = None,
    confident: Annotated[
        bool,
        typer.Option("--confident", help="the lower 95 % confidence limits must be as high, for all models together"),
    ] = False,
    trial: Annotated[
        int | None, typer.Option(help="the trial of a sweep; default: any of its members", show_default=False)
    ] = None,
    split: Annotated[GatedSplit, typer.Option(help="validation is the selection set")] = GatedSplit.test,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object and nothing else")] = False,
) -> None:
    """Exit with 0 where a model keeps floors of accuracy, 1 where none does, 2 for a mistake."""
    from analysis.deciding import gating

    asked = {"clean_accuracy": min_clean, "robust_accuracy": min_robust}
    floors = {name: floor for name, floor in asked.items() if floor is not None}
    found = gating.gate(folder, floors, split=split.value, confident=confident, trial=trial)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        for line in gating.told(found):
            typer.echo(line)
    if not found.passed:
        raise typer.Exit(1)


def trial(
    folder: Swept,
    number: Annotated[int, typer.Argument(help="the trial's number", min=0)],
) -> None:
    """Say what became of one trial: why it ended, where it stood, how it was judged, and the command that trains it again."""
    from analysis.deciding.one_trial import about

    said = about(folder, number)
    width = max(len(subject) for subject, _ in said)
    for subject, sentence in said:
        typer.echo(f"{subject:<{width}}  {sentence}")


def _export(trial: Path, out: Path) -> None:
    """`python -m robustray export`, which loads torch and tells of what it does, beside this process's own output."""
    import os
    import subprocess

    command = [sys.executable, "-m", "robustray", "export", str(trial), "--out", str(out)]
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": path}, stdout=sys.stderr)  # noqa: S603 - this interpreter
    if done.returncode:
        raise typer.Exit(done.returncode)


def _reference(text: str | None) -> dict[str, float]:
    from robustray.errors import UserError

    found: dict[str, float] = {}
    for part in (text or "").split(",") if text else ():
        name, equal, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equal = ""
        if not equal or found[name.strip()] != found[name.strip()]:
            raise UserError(f"--reference {part.strip()!r}: must look like clean_accuracy=0.95,robust_accuracy=0.5")
    return found
