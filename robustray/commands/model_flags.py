"""Flags of every command that takes a model and images."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Norm(StrEnum):
    """Norms of a perturbation."""

    linf = "linf"
    l2 = "l2"
    l1 = "l1"


Data = Annotated[
    str | None,
    typer.Option(help="Images: cifar10, or '{name: npz, train: ..., test: ...}'; default: the trial's own."),
]
ThreatNorm = Annotated[Norm | None, typer.Option(help="Norm of the perturbation.")]
Eps = Annotated[str | None, typer.Option(help="Radius in pixels of [0, 1]: 8/255, 0.5 ...")]
Count = Annotated[int | None, typer.Option(min=1, help="How many, stratified by class; default: all.")]
Device = Annotated[str, typer.Option(help="cuda:0, cpu; default: the first there is.")]
Architecture = Annotated[
    str | None, typer.Option(help="For bare weights: '{name: small_cnn, width: 2}' or package.module:factory.")
]
