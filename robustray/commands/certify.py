"""`python -m robustray certify`: its flags. What they ask for is in `certify_run`, which loads torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustray.commands.exits import INTERRUPTED
from robustray.commands.model_flags import Architecture, Count, Data, Device
from robustray.commands.plugin_flags import Plugin, TrustPlugins
from robustray.disks import told
from robustray.errors import UserError
from robustray.stopping import Stops, interrupt


class JudgedSplit(StrEnum):
    """Images to judge on."""

    validation = "validation"
    test = "test"


def certify(
    model: Annotated[
        str,
        typer.Argument(
            help="A trial's folder, a smoothing point's, a checkpoint, zoo:NAME (RobustBench), or package.module:factory."
        ),
    ],
    data: Data = None,
    split: Annotated[
        JudgedSplit | None, typer.Option(help="validation (a trial's default) or test (any other model's).")
    ] = None,
    images: Count = None,
    sigma: Annotated[
        float | None,
        typer.Option(help="Deviation of the noise in pixels of [0, 1]; default: what it was trained with."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Noisy copies of each image that are counted.")] = 10_000,
    first: Annotated[int, typer.Option(min=1, help="Other copies that the top class is picked from.")] = 100,
    confidence: Annotated[float, typer.Option(help="That a claim is right, below 1.")] = 0.999,
    alpha: Annotated[
        list[str] | None,
        typer.Option(
            help="Shares of the smoothed classifier in a mixture with any other, 0.67,0.76,1; default: the point's, else 1."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Copies at a time; changes no result.")] = 500,
    device: Device = "auto",
    architecture: Architecture = None,
    results: Annotated[Path | None, typer.Option(help="Where certificates lie.")] = None,
    plugin: Plugin = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Certifies l2 radii by randomised smoothing. Killed at any moment, the same command goes on."""
    from robustray.commands.certify_asked import Asked
    from robustray.commands.certify_run import run

    asked = Asked(
        model=model,
        data=data,
        split=None if split is None else split.value,
        images=images,
        sigma=sigma,
        samples=samples,
        first=first,
        confidence=confidence,
        alphas=tuple(alpha or ()),
        batch=batch,
        device=device,
        architecture=architecture,
        results=results,
    )
    try:
        with Stops(interrupt):
            run(asked, typer.echo)
    except OSError as error:  # a full disk, a folder that cannot be written
        raise UserError(told(error)) from None
    except KeyboardInterrupt:
        typer.echo("Stopped. Whole shards are kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
