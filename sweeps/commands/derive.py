"""`python -m sweeps derive FOLDER REQUEST ...`: more points from a finished sweep, without training."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from robustray.commands.exits import INTERRUPTED
from robustray.commands.plugin_flags import TrustPlugins
from robustray.derived.base import Maker
from robustray.errors import UserError
from robustray.options.choose import choose


class Backend(StrEnum):
    """Where points are made and judged."""

    ray = "ray"
    local = "local"


def derive(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, RESULTS/NAME.")],
    requests: Annotated[
        list[str],
        typer.Argument(
            help="What to make: soup, or '{name: nonlinear, parents: [cleanest, most_robust]}'; run_sweep.py --explain derive "
            "lists them."
        ),
    ],
    backend: Annotated[
        Backend, typer.Option(help="ray: Ray Tune. local: this process, one job at a time.")
    ] = Backend.ray,
    trust_plugins: TrustPlugins = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say the outcome only.")] = False,
) -> None:
    """Makes classifiers from a sweep's trained ones, judges them, and reads test for the new members of the frontier.

    Requests are kept in the record: a killed command goes on when it, or the sweep itself, is run again, and a request that
    was made before is not made twice. No trial is trained.
    """
    from sweeps import driver
    from sweeps.deriving import parents
    from sweeps.record import provenance, shared
    from sweeps.storage import fetching

    makers = [_request(text) for text in requests]
    parents.check(makers)
    shared.demand(folder)
    sweep = provenance.sweep_in(folder)
    fetching.bring_all(folder)  # any trial may be a parent
    if not driver.run(sweep, folder, backend.value, show="quiet" if quiet else "plain", derive=makers):
        typer.echo("Stopped. Nothing is lost; the same command goes on.")
        raise typer.Exit(INTERRUPTED)
    from analysis import report

    try:
        made = report.publish(folder)
    except OSError as error:
        raise UserError(f"{folder}: the report cannot be written ({error.strerror}); the points are made") from error
    for note in () if quiet else made.notes:
        typer.echo(note)
    typer.echo(f"report: {made.index}")


def _request(text: str) -> Maker:
    chosen = choose("derive", text, "derive")
    assert isinstance(chosen, Maker)
    return chosen
