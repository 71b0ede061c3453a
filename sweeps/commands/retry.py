"""`python -m sweeps retry FOLDER --failed`: trials that ended badly, put back under their numbers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustray.errors import UserError

if TYPE_CHECKING:
    from sweeps.record import Outcome


def retry(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, results/NAME.")],
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed.")] = False,
    diverged: Annotated[bool, typer.Option("--diverged", help="Those that left the finite numbers.")] = False,
    out_of_memory: Annotated[bool, typer.Option("--out-of-memory", help="Those that had no room on a device.")] = False,
    trials: Annotated[
        list[int] | None, typer.Option("--trial", min=0, help="Only those of this number; again for more.")
    ] = None,
) -> None:
    """Puts trials back that ended badly. They keep number, options and seed, and go on from their checkpoints where they have
    any, when the sweep is run again. What the record was is kept beside it.
    """
    from sweeps.record import JOURNAL, read, retrying, shared
    from sweeps.record.lock import FolderLock

    chosen = {"failed": failed, "diverged": diverged, "out_of_memory": out_of_memory}
    outcomes: list[Outcome] = [name for name, wanted in chosen.items() if wanted]  # type: ignore[misc]
    if not outcomes:
        raise UserError("which trials? --failed, --diverged, --out-of-memory, or several of them")
    shared.demand(folder)
    if not (folder / JOURNAL).is_file():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    with FolderLock(folder):
        known = read(folder)
        numbers = retrying.again(known, outcomes)
        if trials:
            if others := sorted(set(trials) - set(numbers)):
                raise UserError(f"{folder}: trial {others[0]:04d} is none of those that {_or(outcomes)}")
            numbers = sorted(set(trials))
        if not numbers:
            typer.echo(f"{folder}: no trial that {_or(outcomes)}; nothing to put back")
            return
        aside = retrying.put_back(folder / JOURNAL, numbers, f"before-{datetime.now():%Y-%m-%dT%H-%M-%S}")
    for number in numbers:
        trial = known.trials[number]
        typer.echo(f"trial {number:04d} put back; it {_words(str(trial.outcome))}: {trial.cause}")
    typer.echo(f"the record as it was: {aside}")
    typer.echo("run the sweep again: these go first")


def _or(outcomes: list[Outcome]) -> str:
    return " or ".join(_words(outcome) for outcome in outcomes)


def _words(outcome: str) -> str:
    return "ran out of memory" if outcome == "out_of_memory" else outcome
