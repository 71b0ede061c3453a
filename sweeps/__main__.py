"""A sweep's folder from the command line: `python -m sweeps derive results/x soup`."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from robustray import __version__
from robustray.commands.exits import INTERRUPTED
from robustray.errors import told_in_one_line
from sweeps.commands.derive import derive

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True, help="Work on a sweep's folder."
)


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


app.command()(derive)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with told_in_one_line():
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
