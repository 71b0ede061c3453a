"""`python -m robustray judge`: its flags. What they ask for is in `judge_run`, which loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustray.commands.exits import INTERRUPTED
from robustray.commands.model_flags import Architecture, Count, Data, Eps, ThreatNorm
from robustray.commands.plugin_flags import Plugin, TrustPlugins
from robustray.disks import told
from robustray.errors import UserError
from robustray.stopping import Stops, interrupt


def judge(
    model: Annotated[
        str,
        typer.Argument(
            help="A trial's folder, a checkpoint (.pt, .safetensors), zoo:NAME (RobustBench), or package.module:factory."
        ),
    ] = "",
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="[validation|test]", help="validation (a trial's default) or test (any other model's)."),
    ] = None,
    threat: ThreatNorm = None,
    eps: Eps = None,
    version: Annotated[
        str | None,
        typer.Option(help="standard (AutoAttack), plus, rand (randomised models), apgd, or attacks joined by +."),
    ] = None,
    images: Count = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images per shard, part of the judgement's identity; default: from free memory, once."
        ),
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="cuda:0,cuda:1 or cpu,cpu: a process each; default: all there are.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each process, at most; default: measured, once.")
    ] = None,
    architecture: Architecture = None,
    save_adversarial: Annotated[bool, typer.Option(help="Keep the adversarial images, for --verify.")] = False,
    accelerated: Annotated[
        bool, typer.Option(help="Break images in low precision first. The result is not called AutoAttack.")
    ] = False,
    join: Annotated[
        list[Path] | None,
        typer.Option(help="Adversarial images (.pt) or an AutoAttack state file (.json) of an earlier evaluation."),
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Where judgements lie.")] = None,
    plugin: Plugin = None,
    trust_plugins: TrustPlugins = False,
    verify: Annotated[
        Path | None, typer.Option(help="Check the saved adversarial images of a finished judgement instead.")
    ] = None,
) -> None:
    """Judges a classifier by AutoAttack. Killed at any moment, the same command goes on."""
    from robustray.commands.judge_elsewhere import judged_split
    from robustray.commands.judge_run import Asked, run
    from robustray.commands.judge_verify import verified

    try:
        if verify is not None:
            if not verified(verify, typer.echo, devices=tuple(device or ())):
                raise typer.Exit(1)
            return
        if not model:
            raise UserError("which model? A trial's folder, a checkpoint, zoo:NAME, or package.module:factory")
        shared = {
            "--data": data, "--threat": None if threat is None else threat.value, "--eps": eps, "--images": images,
            "--architecture": architecture,
        }  # fmt: skip
        asked = Asked(
            model=model,
            data=data,
            split=judged_split(split, version, model, shared),
            norm=None if threat is None else threat.value,
            eps=eps,
            version=version,
            images=images,
            shard=batch,
            devices=tuple(device or ()),
            threads=threads,
            architecture=architecture,
            keep_images=save_adversarial,
            accelerated=accelerated,
            join=tuple(join or ()),
            results=results,
        )
        with Stops(interrupt):
            run(asked, typer.echo)
    except OSError as error:  # a full disk, a folder that cannot be written
        raise UserError(told(error)) from None
    except KeyboardInterrupt:
        typer.echo("Stopped. Whole shards are kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
