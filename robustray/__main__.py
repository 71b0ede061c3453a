"""One model from the command line: `python -m robustray train trial.yaml`, `python -m robustray judge FOLDER`."""

from __future__ import annotations

import signal
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from robustray import UserError, __version__
from robustray.commands.data import data as data_command
from robustray.commands.doctor import doctor as doctor_command
from robustray.errors import told_in_one_line
from robustray.trial import TrialConfig

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


class Norm(StrEnum):
    """Norms of a perturbation."""

    linf = "linf"
    l2 = "l2"
    l1 = "l1"


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
        int | None, typer.Option(min=1, help="CPU threads; the same bits, continued or as in a sweep, need the same.")
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
    model: Annotated[
        str,
        typer.Argument(
            help="A trial's folder, a checkpoint (.pt, .safetensors), zoo:NAME (RobustBench), or package.module:factory."
        ),
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(help="Images: cifar10, or '{name: npz, train: ..., test: ...}'; default: the trial's own."),
    ] = None,
    split: Annotated[
        JudgedSplit | None, typer.Option(help="validation (a trial's default) or test (any other model's).")
    ] = None,
    threat: Annotated[Norm | None, typer.Option(help="Norm of the perturbation.")] = None,
    eps: Annotated[str | None, typer.Option(help="Radius in pixels of [0, 1]: 8/255, 0.5 ...")] = None,
    version: Annotated[
        str | None,
        typer.Option(help="standard (AutoAttack), plus, rand (randomised models), apgd, or attacks joined by +."),
    ] = None,
    images: Annotated[int | None, typer.Option(min=1, help="How many, stratified by class; default: all.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per shard, part of the judgement's identity; default: from free memory, once."
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cuda:0,cuda:1 or cpu,cpu: a process each; default: all there are.")
    ] = None,
    architecture: Annotated[
        str | None, typer.Option(help="For bare weights: '{name: small_cnn, width: 2}' or package.module:factory.")
    ] = None,
    save_adversarial: Annotated[bool, typer.Option(help="Keep the adversarial images, for --verify.")] = False,
    accelerated: Annotated[
        bool, typer.Option(help="Break images in low precision first. The result is not called AutoAttack.")
    ] = False,
    join: Annotated[
        list[Path] | None,
        typer.Option(help="Adversarial images (.pt) or an AutoAttack state file (.json) of an earlier evaluation."),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Where judgements lie.")] = None,
    verify: Annotated[
        Path | None, typer.Option(help="Check the saved adversarial images of a finished judgement instead.")
    ] = None,
) -> None:
    """Judges a classifier by AutoAttack. Killed at any moment, the same command goes on."""
    from robustray.commands import judge as command

    try:
        if verify is not None:
            if not command.verify(verify, typer.echo, devices=tuple(device or ())):
                raise typer.Exit(1)
            return
        if not model:
            raise UserError("which model? A trial's folder, a checkpoint, zoo:NAME, or package.module:factory")
        command.judge(
            command.Asked(
                model=model,
                data=data,
                split=None if split is None else split.value,
                norm=None if threat is None else threat.value,
                eps=eps,
                version=version,
                images=images,
                shard=batch,
                devices=tuple(device or ()),
                architecture=architecture,
                keep_images=save_adversarial,
                accelerated=accelerated,
                join=tuple(join or ()),
                results=results,
            ),
            typer.echo,
        )
    except OSError as error:  # a full disk, a folder that cannot be written
        raise UserError(str(error)) from None
    except KeyboardInterrupt:
        typer.echo("Stopped. Whole shards are kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None


def _line(report: dict[str, Any]) -> str:
    measured = [f"{name} {report[key]:.2%}" for name, key in _SHOWN if key in report]
    return f"epoch {report['epoch']}/{report['epochs']}  loss {report['loss']:.4f}  {'  '.join(measured)}".rstrip()


_SHOWN = (("clean", "clean_accuracy"), ("robust", "robust_accuracy"))


app.command()(data_command)
app.command()(doctor_command)


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    with told_in_one_line():
        app()


if __name__ == "__main__":
    main()
