"""One model from the command line: `python -m robustray train trial.yaml`, `python -m robustray judge FOLDER`."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robustray import UserError, __version__
from robustray.trial import TrialConfig

if TYPE_CHECKING:
    from robustray.verdicts import Shard

INTERRUPTED = 130
app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train and judge one robust classifier.",
)


class JudgedSplit(StrEnum):
    """Images to judge on."""

    validation = "validation"
    test = "test"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robustray {__version__}")
        raise typer.Exit


@app.callback()
def _front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    trial: Annotated[Path, typer.Argument(help="A trial as YAML, as every sweep writes it into its trials' folders.")],
    folder: Annotated[Path | None, typer.Option(help="Where to work; default: results/ and the file's name.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 ...")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; continuing bit for bit needs the same.")
    ] = None,
) -> None:
    """Trains one trial, or goes on with it. Ctrl-C keeps every step done."""
    config = TrialConfig.from_yaml(trial)
    home = folder or Path("results") / trial.stem

    from robustray.errors import Diverged, Paused
    from robustray.training import Trainer

    trainer = Trainer(config, home, device=device, threads=threads)

    def ask(number: int, frame: FrameType | None) -> None:
        if trainer.stop.is_set():
            raise KeyboardInterrupt
        trainer.stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    if trainer.completed or trainer.batch_in_epoch:
        typer.echo(f"going on at epoch {trainer.completed}, step {trainer.batch_in_epoch}")
    try:
        report = trainer.run(lambda report: typer.echo(_line(report)))
    except Diverged as error:
        raise UserError(f"diverged: {error}") from None
    except (Paused, KeyboardInterrupt):
        typer.echo("Stopped. Nothing is lost; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    typer.echo(
        f"done: clean {report['clean_accuracy']:.2%}, robust {report['robust_accuracy']:.2%} on validation; {home}"
    )


@app.command()
def judge(
    folder: Annotated[Path, typer.Argument(help="A trial's folder, with its checkpoint.")],
    split: Annotated[JudgedSplit, typer.Option(help="The judge list of validation, or test.")] = JudgedSplit.validation,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda:0 ...")] = "auto",
    shard: Annotated[
        int, typer.Option(min=1, help="Images attacked at a time; part of the judgement's identity.")
    ] = 500,
) -> None:
    """Judges a trained trial with the attacks of its `judge.version`; run again, it goes on where it was."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; judge wants the folder of a trained trial")

    if split is JudgedSplit.test and (folder.absolute().parents[1] / "study.journal").exists():
        raise UserError(
            f"{folder}: belongs to a sweep, which reads test itself, for the frontier's members alone; copy the folder to "
            "judge this trial on test all the same"
        )

    from robustray.evaluation._trial import TrialJudge
    from robustray.verdicts import Verdicts

    job = TrialJudge(folder, folder / "judgements", split.value, shard_size=shard, device=device)
    try:
        for attack in job.attacks:
            for number in range(job.plan.shards):
                verdicts = job.shard(attack, number)
                typer.echo(_attacked(verdicts, job.plan.shards))
    except KeyboardInterrupt:
        typer.echo("Stopped. Whole shards are kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
    result = Verdicts.read(job.folder, job.plan.attacks)
    name = "AutoAttack" if job.config.judge.autoattack else job.plan.version
    typer.echo(
        f"clean {result.clean_accuracy:.2%}, {name} {result.robust_accuracy:.2%} on {len(result)} images of {split.value}; "
        f"{job.folder}"
    )


def _line(report: dict[str, Any]) -> str:
    measured = [f"{name} {report[key]:.2%}" for name, key in _SHOWN if key in report]
    return f"epoch {report['epoch']}/{report['epochs']}  loss {report['loss']:.4f}  {'  '.join(measured)}".rstrip()


_SHOWN = (("clean", "clean_accuracy"), ("robust", "robust_accuracy"))


def _attacked(verdicts: Shard, shards: int) -> str:
    broken, tried = int(verdicts.broken.sum()), len(verdicts.broken)
    where = f" shard {verdicts.shard + 1}/{shards}" if shards > 1 else ""
    return f"{verdicts.attack:9}{where}  {broken} of {tried} broken  {verdicts.info['seconds']:.1f} s"


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
