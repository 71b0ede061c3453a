"""`python -m robustray measure`: its flags. What they ask for is in `measure_run`, which loads torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustray.commands.exits import INTERRUPTED
from robustray.commands.model_flags import Architecture, Count, Data, Device, Eps, ThreatNorm
from robustray.commands.plugin_flags import Plugin, TrustPlugins
from robustray.disks import told
from robustray.errors import UserError
from robustray.stopping import Stops, interrupt


def measure(
    model: Annotated[
        str,
        typer.Argument(
            help="A trial's folder, an export's, a checkpoint (.pt, .safetensors), zoo:NAME (RobustBench), or file.py:function."
        ),
    ],
    measures: Annotated[
        str,
        typer.Option(help="What to measure: lipschitz, or several, 'lipschitz, {name: lipschitz, output: softmax}'."),
    ] = "",
    data: Data = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, validation (a trial's default) or test (any other model's); of two, train,test, gaps are told too."
        ),
    ] = None,
    threat: ThreatNorm = None,
    eps: Eps = None,
    images: Count = None,
    device: Device = "auto",
    architecture: Architecture = None,
    results: Annotated[Path | None, typer.Option(help="Where measurements lie.")] = None,
    epochs: Annotated[
        str | None,
        typer.Option(help="Of a trial's kept snapshots (checkpoints.every), all or 10,20: each measure as a curve."),
    ] = None,
    save_predictions: Annotated[
        bool, typer.Option("--save-predictions", help="Take the measure predictions too: a class for each image.")
    ] = False,
    plugin: Plugin = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Measures what explains a classifier. Killed at any moment, the same command goes on."""
    from robustray.commands import measure_epochs, measure_run

    asked = measure_run.Asked(
        model=model,
        measures=measures,
        data=data,
        splits=split,
        norm=None if threat is None else threat.value,
        eps=eps,
        images=images,
        device=device,
        architecture=architecture,
        results=results,
        save_predictions=save_predictions,
    )
    try:
        with Stops(interrupt):
            if epochs is None:
                measure_run.run(asked, typer.echo)
            else:
                measure_epochs.run(asked, epochs, typer.echo)
    except OSError as error:  # a full disk, a folder that cannot be written
        raise UserError(told(error)) from None
    except KeyboardInterrupt:
        typer.echo("Stopped. Whole pieces are kept; the same command goes on.")
        raise typer.Exit(INTERRUPTED) from None
