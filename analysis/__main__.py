"""`python -m analysis`: what a sweep means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robustray.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """Read a running or finished sweep."""  # a callback keeps `report` a word of its own while it is the only command


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="the sweep's folder, results/NAME")],
    png: Annotated[bool, typer.Option(help="draw frontier.png, which takes a browser")] = True,
) -> None:
    """Write FOLDER/report/: index.html, frontier.csv, trials.csv and frontier.png."""
    from analysis.report import publish

    written = publish(folder, picture=png)
    for note in written.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(written.index)


def main() -> None:
    """Runs a command; what the user can mend is one line on stderr and exit code 2."""
    try:
        app()
    except (UserError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
