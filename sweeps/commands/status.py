"""`python -m sweeps status FOLDER`: what a sweep is at, from another terminal or another machine."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustray.errors import UserError

if TYPE_CHECKING:
    from sweeps.view.outside import Seen


EVERY = 6.0
"""Seconds after which a copy that is kept up has changed."""


def status(
    sweep: Annotated[
        str, typer.Argument(metavar="FOLDER|URL", help="The sweep's folder, RESULTS/NAME, or its copy, s3://...")
    ],
    to_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts: docs/howto/watch.md.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again and again until the driver is no longer at work.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two looks with --watch.")] = 2.0,
) -> None:
    """Show what runs, the standing frontier, counts, cost, the last failures, and whether the driver is alive.

    Takes no lock and writes nothing: it may be asked at any moment, also of a sweep that has ended or was killed. Of a copy at
    a URL, tables and the record come into the folder below results/ that belongs to it.
    """
    from sweeps.record import shared
    from sweeps.storage import names
    from sweeps.view import outside

    def found() -> Path:
        if not names.is_url(sweep):
            return Path(sweep)
        from analysis.elsewhere import swept  # brings what has changed since

        return swept(sweep)

    def later(seconds: float) -> None:
        time.sleep(seconds)
        if names.is_url(sweep):  # the copy is a few seconds behind
            time.sleep(EVERY)
            found()

    shared.demand(found())
    while True:
        seen = outside.look(found(), wait=later)
        if to_json:
            print(json.dumps(seen.as_json(), ensure_ascii=True, allow_nan=False), flush=True)
        else:
            _show(seen, clear=watch and sys.stdout.isatty())
        if not watch or seen.driver.state != "at work":
            return
        time.sleep(every)


def _show(seen: Seen, *, clear: bool) -> None:
    from rich.console import Console

    from sweeps.view.told import told

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    if clear:
        console.clear()
    try:
        console.print(told(seen), soft_wrap=True)
    except BrokenPipeError:
        raise UserError("the output was closed") from None
