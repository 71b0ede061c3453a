"""`python -m robustray train`: one trial, begun or continued."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustray import plugins
from robustray._later import torch
from robustray.commands.exits import INTERRUPTED
from robustray.commands.plugin_flags import TrustPlugins
from robustray.data.doubts import doubts
from robustray.errors import Diverged, Paused, ProcessLost, UserError
from robustray.measures.metrics import ACCURACIES, METRICS, SHARES
from robustray.processors import cores
from robustray.pulse import Pulse
from robustray.stopping import AtOnce, Stops
from robustray.trial import TrialConfig

if TYPE_CHECKING:
    from robustray.training import Trainer

GOES_ON = "the same command goes on from the last checkpoint"
PATIENCE, LOOSENED = 1800.0, 10.0
"""Seconds without a sign of life that processes have, as in a sweep; for the first one to end once the others are."""


def train(
    trial: Annotated[Path, typer.Argument(help="A trial as YAML, as every sweep writes it into its trials' folders.")],
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: results/ and the file's name.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 ...")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads, the same for the same bits; default: as it was begun, else measured."),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Processes that share the work, each on a GPU of its own, or with --device cpu."
        ),
    ] = 1,
    patience: Annotated[
        float,
        typer.Option(min=1, help="Of several processes: seconds without a step after which one is taken to hang."),
    ] = PATIENCE,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Trains one trial, or goes on with it. Ctrl-C and SIGTERM keep every step done; a second one stops at once."""
    config = TrialConfig.from_yaml(trial)
    home = folder or Path("results") / trial.stem
    for each in plugins.loaded(config.plugins.values()):
        typer.echo(each.told)

    if config.script is not None and processes == 1:
        _script(config, home, device, threads)
        return
    if processes > 1:
        _together(config, home, device, threads or _threads_before(config, home), processes, patience)
        return
    from robustray.measures.threads import IMAGES, measured, told
    from robustray.training import Trainer

    settled = told(threads, _threads_before(config, home, trial.parent))
    home.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, home, device=device, threads=None if settled is None else settled.number)
    if trainer.device.type == "cpu":
        settled = settled or measured(trainer.model, trainer.selection.images.batch(slice(IMAGES))[0])
        torch.set_num_threads(settled.number)
        typer.echo(settled)
    _run(trainer)


def _run(trainer: Trainer) -> None:
    for doubt in doubts(trainer.config.judge.data):
        typer.echo(f"warning: {doubt}")
    if trainer.completed or trainer.progress.batch_in_epoch:
        typer.echo(f"going on at epoch {trainer.completed}, step {trainer.progress.batch_in_epoch}")
    with _told("every step"), Stops(trainer.stop.set):
        report = trainer.run(lambda report: typer.echo(_line(report)))
    _done(report, trainer.folder)


def _together(
    config: TrialConfig, home: Path, device: str, threads: int | None, processes: int, patience: float
) -> None:
    """Trains with other processes, which this one starts, and ends where one of them hangs."""
    from robustray.training.processes import Crew, check

    check(config)
    with _told("every step"):
        crew = Crew(processes, device=device, threads=threads or max(1, cores() // processes))
        where = "on a GPU each" if crew.devices[0] != "cpu" else f"with {crew.threads} CPU threads each"
        typer.echo(f"{processes} processes {where}")

        def hung(silent: float) -> None:
            crew.give_up(silent)
            if not pulse.ended(LOOSENED):  # it waits for something else: no exception reaches it there
                typer.echo(f"error: no sign of life for {silent:.0f} s; {GOES_ON}", err=True)
                os._exit(2)

        pulse = Pulse(patience, hung)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with pulse.at_work():
                trainer = crew.open(config, home)
                trainer.alive = pulse.beat
                _run(trainer)
        finally:
            crew.end()


def _threads_before(config: TrialConfig, home: Path, beside: Path | None = None) -> int | None:
    """CPU threads that the trial was begun with: the same bits need the same number. None where nobody knows.

    Args:
        home: where it is to go on. beside: where it may have been trained before, by the same options.
    """
    from robustray.training import checkpoints

    begun, _ = checkpoints.load_last(home)
    if begun is None and beside is not None:
        begun, _ = checkpoints.load_last(beside)
        if begun is not None and begun.get("config") != config.to_yaml():
            begun = None
    threads: int | None = None if begun is None else begun.get("threads")
    return threads


def _script(config: TrialConfig, home: Path, device: str, threads: int | None) -> None:
    """Calls a training function of the user's own, again where it was stopped."""
    from robustray.training.script import ScriptFailed, ScriptTrainer

    home.mkdir(parents=True, exist_ok=True)
    trainer = ScriptTrainer(config, home, device=device, threads=threads)
    report = trainer.report
    try:
        with _told("what it saved"), Stops(trainer.stop.set):
            while report is None or not report["done"]:
                report = trainer.epoch()
                typer.echo(f"epoch {report['epoch']}/{report['epochs']}")
    except ScriptFailed as error:
        raise UserError(f"failed: {error}") from None
    _done(report, home)


@contextmanager
def _told(kept: str) -> Iterator[None]:
    """How training ends before its time."""
    try:
        yield
    except Diverged as error:
        raise UserError(f"diverged: {error}") from None
    except Paused:
        typer.echo(f"Stopped: {kept} is kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    except ProcessLost as error:
        raise UserError(f"{error}; {GOES_ON}") from None
    except AtOnce:
        typer.echo(f"Stopped at once: {GOES_ON}.")
        raise typer.Exit(INTERRUPTED) from None


def _done(report: dict[str, Any], home: Path) -> None:
    asked = [name for name in SHARES if METRICS[name].needs and name in report]
    shares = ", ".join(f"{METRICS[name].short} {report[name]:.2%}" for name in (*ACCURACIES, *asked))
    typer.echo(f"done: {shares} on validation; {home}")
    typer.echo(f"its weights  SHA-256 {report['weights']}")  # as `python -m analysis trial` has it of a sweep's


def _line(report: dict[str, Any]) -> str:
    measured = [f"{METRICS[name].short} {report[name]:.2%}" for name in ACCURACIES if name in report]
    return f"epoch {report['epoch']}/{report['epochs']}  loss {report['loss']:.4f}  {'  '.join(measured)}".rstrip()
