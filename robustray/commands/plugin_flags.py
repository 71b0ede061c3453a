"""Flags about plugins that commands share. Both act as soon as they are read: options after them may need the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustray import plugins


def _load(names: list[str] | None) -> list[str] | None:
    if names:
        plugins.named(names, Path.cwd())
    return names


def _trust(wanted: bool) -> bool:
    if wanted:
        plugins.trust_everything()
    return wanted


Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load,
        is_eager=True,
        help="A file (my_data.py) or a module with parts of your own, that other flags name.",
    ),
]
TrustPlugins = Annotated[
    bool,
    typer.Option(
        plugins.FLAG,
        callback=_trust,
        is_eager=True,
        help="Run the plugins that a folder from somebody else names; read them first. Your own need it not.",
    ),
]
