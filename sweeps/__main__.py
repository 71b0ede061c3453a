"""`python -m sweeps`: what is done to a sweep's folder by hand, `derive` and `repair`."""

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
from sweeps.commands.repair import repair

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Look after a sweep's folder. A sweep itself is run by run_sweep.py.",
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


for command in (derive, repair):
    app.command()(command)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with told_in_one_line(OSError):
            app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
