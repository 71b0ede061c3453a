"""One model from the command line: `python -m robustray train trial.yaml`, `python -m robustray judge FOLDER`."""

from __future__ import annotations

from typing import Annotated

import typer

from robustray import __version__
from robustray.commands.certify import certify
from robustray.commands.data import data
from robustray.commands.doctor import doctor
from robustray.commands.judge import judge
from robustray.commands.train import train
from robustray.errors import told_in_one_line

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    help="Train and judge one robust classifier.",
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


for command in (train, judge, certify, data, doctor):
    app.command()(command)


def main() -> None:
    """The command line: errors that are the user's to mend are one line, exit code 2."""
    with told_in_one_line():
        app()


if __name__ == "__main__":
    main()
