"""`python -m robustray export`: its flags. What they ask for is in `export_run`, which loads torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustray.commands.model_flags import Architecture, Data, Norm
from robustray.commands.plugin_flags import Plugin, TrustPlugins
from robustray.disks import told
from robustray.errors import UserError


class Format(StrEnum):
    """What an export holds beside the card: weights and a program; ONNX as well."""

    safetensors = "safetensors"
    onnx = "onnx"


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A trial's folder, a derived point's, a checkpoint, zoo:NAME (RobustBench), or file.py:function."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The folder to write; its name is the model's. Default: exports/ and the model's own name."),
    ] = None,
    form: Annotated[
        Format,
        typer.Option("--format", help="onnx writes model.onnx as well, and needs the packages onnx and onnxscript."),
    ] = Format.safetensors,
    data: Data = None,
    threat: Annotated[Norm, typer.Option(help="Norm by which RobustBench sorts its models.")] = Norm.linf,
    architecture: Architecture = None,
    judgement: Annotated[
        list[Path] | None, typer.Option(help="A result.json, or its folder, where judgements are not looked for.")
    ] = None,
    figure: Annotated[bool, typer.Option(help="Draw the sweep's frontier with this model; takes a browser.")] = True,
    plugin: Plugin = None,
    trust_plugins: TrustPlugins = False,
) -> None:
    """Writes a model out: weights, a program that needs no code of ours, a model card, an entry for RobustBench."""
    from robustray.commands.export_run import Asked, run

    asked = Asked(
        model=model,
        out=out,
        form=form.value,
        data=data,
        norm=threat.value,
        architecture=architecture,
        judgements=tuple(judgement or ()),
        figure=figure,
    )
    try:
        run(asked, typer.echo)
    except OSError as error:  # a full disk, a folder that cannot be written
        raise UserError(told(error)) from None
