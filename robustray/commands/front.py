"""What the packages' command lines have in common: help when nothing is asked, `--version`, one command a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from robustray import __version__
from robustray.commands.exits import EXIT_CODES


def front(says: str, *commands: Callable[..., Any]) -> typer.Typer:
    """A command line of these commands, each under its function's name, that `says` what they are for."""
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help=says, epilog=EXIT_CODES
    )
    app.callback()(_front)
    for command in commands:
        app.command()(command)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robustray {__version__}")
        raise typer.Exit


def _front(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass
