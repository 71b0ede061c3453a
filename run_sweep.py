"""From a YAML file to the clean-accuracy / robust-accuracy frontier: `python run_sweep.py search_spaces/trades_beta.yaml`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustray import UserError, __version__, astray
from robustray.commands.exits import INTERRUPTED
from robustray.errors import nearest, told_in_one_line
from robustray.stopping import AtOnce, Stops, interrupt

if TYPE_CHECKING:
    from sweeps.running.deadline import Deadline
    from sweeps.space import Sweep
    from sweeps.storage.opened import Place
    from sweeps.view.console import Show

TIME_OVER = 3
FELL_SHORT = 4
NOT_COPIED = 5
EXIT_CODES = (
    f"Exit codes: 0 done, 2 a mistake that the last line names, {TIME_OVER} the time of --for is over, {FELL_SHORT} ended, but "
    f"no trial completed or a judgement failed, {NOT_COPIED} ended, but the copy at the URL of --results is not whole, "
    f"{INTERRUPTED} interrupted. After {TIME_OVER} and {INTERRUPTED} the same command goes on; after {FELL_SHORT} it tries "
    f"judgements that failed again, after {NOT_COPIED} to copy."
)


class Backend(StrEnum):
    """Where trials run."""

    ray = "ray"
    local = "local"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robustray {__version__}")
        raise typer.Exit


def _explain(name: str, space: Path | None) -> None:
    """Prints everything of that name, what the plugins of a space bring included: what it does, its paper, its options."""
    from robustray import explained, plugins
    from robustray.options.yaml import Document
    from sweeps.space.reference import SECTIONS, TERMS

    if space is not None:  # its other mistakes are no matter now
        plugins.in_document(Document.read(path := _find(space)), path.parent)
    typer.echo(explained.found(name, SECTIONS, TERMS))


def _print_slurm(name: str, options: str, *, fresh: bool) -> None:
    from sweeps.commands.slurm import script

    if fresh:
        raise UserError(
            "--fresh with --slurm: a job that Slurm starts again would begin anew; run once with --fresh before"
        )
    words, kept = iter(sys.argv[1:]), list[str]()
    for word in words:
        if word == "--slurm":
            next(words, None)
        elif not word.startswith("--slurm="):
            kept.append(word)
    print(script(name, options, [sys.executable, str(Path(sys.argv[0]).absolute()), *kept]), end="")


def sweep(
    space: Annotated[
        Path | None,
        typer.Argument(help="The search space, a YAML file; a shipped one by its bare name.", show_default=False),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Replace any part of the space: --set trial.schedule.epochs=5."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials in all; more than before adds to a sweep.")
    ] = None,
    results: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|URL",
            help="Where results lie; a sweep's own folder is RESULTS/NAME. s3://bucket/path or another URL: a folder below "
            "results/, copied there while the sweep runs.",
        ),
    ] = "results",
    backend: Annotated[
        Backend, typer.Option(help="ray: Ray Tune. local: this process, one job at a time.")
    ] = Backend.ray,
    fresh: Annotated[bool, typer.Option("--fresh", help="Rename old results of this name and start anew.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, show what is done, the next trials, hours and disk; start nothing."
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="TIME",
            help="Stop after this time, keeping every step: 6h, 30m, 1h30m, or as Slurm writes, 2-12:00:00. Stopping takes "
            f"some 15 s more. Exit code {TIME_OVER}; the same command goes on.",
        ),
    ] = None,
    slurm: Annotated[
        str | None,
        typer.Option(
            metavar="OPTIONS",
            help="Print the script that runs this sweep under Slurm, with these options of sbatch, and start nothing: "
            "--slurm='--nodes=2 --gpus-per-node=4 --time=12:00:00'.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the outcome only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line per epoch and job as well, and no live view.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Serve the report to browsers on this machine while the sweep runs.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Show what a defense, model, attack, data source ... is and its options: --explain trades. With a space, its "
            "plugins are known too.",
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
    if explain is not None:
        _explain(explain, space)
        return
    if space is None:
        raise UserError("which search space? A YAML file, or the bare name of a shipped one; --help shows all options")

    from sweeps.running.deadline import Deadline, seconds
    from sweeps.space import Sweep

    if (elsewhere := astray.told("analysis")) is not None:  # which writes the report, in the end
        raise UserError(elsewhere)
    if quiet and verbose:
        raise UserError("--quiet and --verbose: choose one")
    deadline = None if budget is None else Deadline(seconds(budget))
    overrides = list(settings or []) + ([f"search.trials={trials}"] if trials is not None else [])
    wanted = Sweep.from_yaml(_find(space), overrides=overrides)
    if slurm is not None:
        _print_slurm(wanted.name, slurm, fresh=fresh)
        return
    if dry_run:
        from sweeps.dry_run import show

        there = None if fresh else _there(results, wanted.name)
        show(wanted, _say, slots=1 if backend is Backend.local else None, folder=there)
        return

    from sweeps.storage.opened import results_of

    with results_of(results, wanted.name, _say, fresh=fresh) as place:
        _run(wanted, place, backend, deadline, fresh=fresh, quiet=quiet, verbose=verbose, watch=watch, budget=budget)
    if place.lacks is not None:
        raise typer.Exit(NOT_COPIED)


def _there(results: str, name: str) -> Path:
    """The folder on this machine in which results lie, or would; nothing is brought."""
    from sweeps.storage import names

    if not names.is_url(results):
        return Path(results) / name
    folder = names.cache(names.checked(results)) / name
    _say(f"of {results} only what lies in {folder} is looked at")
    return folder


def _run(
    wanted: Sweep,
    place: Place,
    backend: Backend,
    deadline: Deadline | None,
    *,
    fresh: bool,
    quiet: bool,
    verbose: bool,
    watch: bool,
    budget: str | None,
) -> None:
    """Runs a sweep and writes its report; where it did not end, or not well, the exit code says so."""
    from sweeps import driver, record
    from sweeps.view.terminal import suits

    folder = place.folder

    shown: Show = "quiet" if quiet else "verbose" if verbose else "live" if suits(sys.stdout) else "plain"
    until = None if deadline is None else deadline.left
    kept = "every step and every whole shard is kept"
    try:
        with deadline or nullcontext(), _served(folder) if watch else nullcontext():
            finished = driver.run(
                wanted, folder, backend.value, fresh=fresh, show=shown, until=until, beside=place.say_by
            )
    except AtOnce:
        finished, kept = False, "trials at work go on from their last checkpoints"
    except KeyboardInterrupt:
        finished = False
    if not finished:
        over = deadline is not None and deadline.over
        again = [word for word in sys.argv[1:] if word != "--fresh"]
        why = f"The time of --for {budget} is over" if over else "Stopped"
        _say(f"{why}: {kept}; go on with: python {shlex.join([sys.argv[0], *again])}")
        raise typer.Exit(TIME_OVER if over else INTERRUPTED)

    from analysis import report

    try:
        made = report.publish(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: the report cannot be written ({error.strerror}); the sweep itself is done"
        ) from error
    for note in () if quiet else made.notes:
        _say(note)
    _say(f"report: {made.index}")
    if driver.falls_short(record.read(folder)):
        raise typer.Exit(FELL_SHORT)


def _find(space: Path) -> Path:
    """The file, or the shipped search space of that name."""
    if space.exists() or space.parent != Path():
        return space
    here = Path(__file__).parent
    shipped = {
        path.stem: path
        for folder in ("search_spaces", "sweeps/search_spaces")
        for path in (here / folder).glob("*.yaml")
    }
    if space.stem in shipped:
        return shipped[space.stem]
    if not space.suffix:
        raise UserError(f"{space}: no such file, and no search space of that name; {nearest(str(space), shipped)}")
    return space


@contextmanager
def _served(folder: Path) -> Iterator[None]:
    """The report is served while the block runs; where it is, is said before the view takes the terminal."""
    from analysis.live.watch import beside

    with beside(folder) as address:
        _say(f"live page: {address}")
        yield


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=EXIT_CODES)(sweep)
    try:
        with Stops(interrupt), told_in_one_line(OSError):
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
