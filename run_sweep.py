"""From a YAML file to the clean-accuracy / robust-accuracy frontier: `python run_sweep.py search_spaces/trades_beta.yaml`."""

from __future__ import annotations

import shlex
import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from robustray import UserError, __version__

INTERRUPTED = 130


class Backend(StrEnum):
    """Where trials run."""

    ray = "ray"
    local = "local"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robustray {__version__}")
        raise typer.Exit


def _explain(name: str | None) -> None:
    """Prints everything of that name: what it does, its paper, its options."""
    if name is None:
        return
    from robustray import _explain as words
    from sweeps._reference import SECTIONS

    typer.echo(words.found(name, SECTIONS))
    raise typer.Exit


def sweep(
    space: Annotated[Path, typer.Argument(help="The search space, a YAML file; a shipped one by its bare name.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace any part of the space: --set trial.schedule.epochs=5."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials in all; more than before adds to a sweep.")
    ] = None,
    results: Annotated[Path, typer.Option(help="Where results lie; a sweep's own folder is RESULTS/NAME.")] = Path(
        "results"
    ),
    backend: Annotated[
        Backend, typer.Option(help="ray: Ray Tune. local: this process, one job at a time.")
    ] = Backend.ray,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename old results of this name and start anew.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, show the first trials, hours and disk; start nothing."),
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=_explain,
            is_eager=True,
            help="Show what a defense, model, attack, data source ... is and its options: --explain trades.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Finds the frontier between clean and robust accuracy that a search space holds.

    Trials are trained and validated, judged with AutoAttack where they can be on the frontier, and the frontier's members
    are tested once. The same command again goes on where it stopped; on a finished sweep it rewrites the report.
    """
    from sweeps.space import Sweep

    overrides = list(settings or []) + ([f"search.trials={trials}"] if trials is not None else [])
    wanted = Sweep.from_yaml(_find(space), overrides=overrides)
    folder = results / wanted.name
    if dry_run:
        from sweeps.dry_run import show

        show(wanted, _say, slots=1 if backend is Backend.local else None)
        return

    from sweeps import driver

    try:
        finished = driver.run(wanted, folder, backend.value, fresh=fresh, write=_say)
    except KeyboardInterrupt:
        finished = False
    if not finished:
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        _say(f"Stopped. Nothing is lost; go on with: python {shlex.join([sys.argv[0], *again])}")
        raise typer.Exit(INTERRUPTED)

    from analysis import report

    try:
        made = report.publish(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error.strerror}); the sweep itself is done"
        ) from error
    for note in made.notes:
        _say(note)
    _say(f"report: {made.index}")


def _find(space: Path) -> Path:
    """The file, or the shipped search space of that name."""
    if space.exists() or space.parent != Path():
        return space
    for shipped in (Path(__file__).parent / "search_spaces", Path(__file__).parent / "sweeps" / "search_spaces"):
        candidate = shipped / space.with_suffix(".yaml").name
        if candidate.exists():
            return candidate
    return space


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(sweep)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
