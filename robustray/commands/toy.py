"""`python -m robustray toy`: the papers' arguments on a laptop, as tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

ABOUT = "toy.json"
"""What a folder holds beside its tables; written last, so a folder that has it is whole."""


class Toy(StrEnum):
    """Which argument."""

    score = "score"
    splines = "splines"
    separation = "separation"
    landscape = "landscape"


def toy(
    name: Annotated[
        Toy,
        typer.Argument(
            help="score: risks and a known posterior; splines: a staircase fitted robustly; separation: distances between "
            "classes of digits; landscape: the loss around weights."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where tables go; default: results/toys/NAME.", show_default=False)
    ] = None,
) -> None:
    """Computes one of the papers' small arguments, about a minute: a CSV for each of its tables."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from robustray.files import write_whole

    folder = out or Path("results/toys") / name.value
    folder.mkdir(parents=True, exist_ok=True)  # first: what is wrong with it is told before a minute of work
    torch.set_num_threads(
        1
    )  # small products gain nothing from more, and where cores are busy threads wait for each other
    found: Callable[..., Any] = import_module(f"robustray.toys.{name.value}").run
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name.value, total=1.0)
        tables = found(lambda share: progress.update(bar, completed=share))
    for table, rows in tables.items():
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(folder / f"{table}.csv", lines.getvalue())
        typer.echo(folder / f"{table}.csv")
    write_whole(folder / ABOUT, json.dumps({"toy": name.value, "tables": sorted(tables)}) + "\n")
