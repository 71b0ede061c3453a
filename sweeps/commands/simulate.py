"""`python -m sweeps simulate TABLE [SPACE]`: what a search finds in a table of learning curves, and at what cost."""

from __future__ import annotations

import csv
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robustray.errors import UserError
from robustray.files import write_whole

if TYPE_CHECKING:
    from sweeps.search.simulated_sweeps import Searched

SHARES = (0.25, 1 / 3, 0.5, 0.75, 1.0)
"""Of the budget, at which the table in the terminal says how far a search is."""


def simulate(
    table: Annotated[Path, typer.Argument(help="The table of learning curves: a .parquet file, or JSON lines.")],
    space: Annotated[
        Path | None, typer.Argument(help="The search space; by default the file beside the table, NAME.yaml.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", min=1, help="Trainings at a time.")] = 4,
    seeds: Annotated[
        int, typer.Option("--seeds", "-s", min=1, help="Sweeps of each search, each with its own seed.")
    ] = 10,
    policy: Annotated[
        str | None,
        typer.Option(help="Policies of `stopping` beside each other, with commas: race,pareto_halving,none."),
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="Values of `search.sampler`, likewise: auto,tpe,random.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Whole trainings' worth of epochs; default: the space's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replaces a value of the space.")
    ] = None,
    to_json: Annotated[Path | None, typer.Option("--json", help="Writes every sweep into this file.")] = None,
    to_csv: Annotated[
        Path | None, typer.Option("--csv", help="Writes a row for each trial that ended into this file.")
    ] = None,
) -> None:
    """Search a table of learning curves as a sweep would search its space: in seconds, many times.

    The sweep's own controller, record and policies run on a clock that takes no time. A sweep meets one seed of the table; its
    regret is the share of the best hypervolume that its finished trials lack, by their mean test accuracies with the other
    seeds. `selected` counts only the trials that look non-dominated to the sweep itself. A start, a resumption and an
    evaluation take a tenth of an epoch each. `unfinished` is the share of all seconds that went into trials which did not come
    to their end. A `budget` of wall time, device-hours or money is of the simulated clock. Costs are in whole trainings, in the
    mean over the table's settings.
    """
    from sweeps.search.simulated_sweeps import searched, variants

    for path in (to_json, to_csv):
        _look(path)
    overrides = [*(set_ or []), *([] if trials is None else [f"search.trials={trials}"])]
    begun, done = time.monotonic(), 0
    found: list[Searched] = []
    wanted = variants(
        table, space, overrides, policies=_words(policy), samplers=_words(sampler), say=partial(typer.echo, err=True)
    )
    for variant in wanted:
        found.append(searched(variant, workers=workers, sweeps=seeds))
        if len(found) == 1:
            typer.echo(f"{table}: {variant.described}; {workers} workers, {seeds} sweeps each")
            typer.echo(_header())
        typer.echo(_line(found[-1]))
        done += sum(sweep.trace.started for sweep in found[-1].sweeps)
    taken = time.monotonic() - begun
    typer.echo(f"{done:,} trials in {taken:.1f} s, {60 * done / taken:,.0f} a minute")
    _keep(found, to_json, to_csv)


def _words(text: str | None) -> list[str | None]:
    return [None] if text is None else [word.strip() for word in text.split(",")]


def _header() -> str:
    shares = " ".join(f"{100 * share:4.0f} %" for share in SHARES)
    counts = f"{'started':>7} {'ended':>6} {'unfinished':>10}"
    return f"{'search':28} {counts}   regret at {shares} of the budget   selected at the end"


def _line(found: Searched) -> str:
    medians = " ".join(f"{found.regret(share):6.3f}" for share in SHARES)
    low, high = found.quartiles()
    started, ended = found.counts()
    return (
        f"{found.name:28} {started:7.0f} {ended:6.0f} {found.unfinished():10.0%}             {medians}"
        f"                 {found.selected():6.3f}   (a half of the sweeps end at {low:.3f} to {high:.3f})"
    )


def _look(path: Path | None) -> None:
    """Whether a file can be written, before minutes are spent on what stands in it."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        why = "is a folder" if path.is_dir() else f"cannot be written: there is no writable folder {path.parent}"
        raise UserError(f"{path}: {why}; name a file in a folder that is there")


def _keep(found: list[Searched], to_json: Path | None, to_csv: Path | None) -> None:
    try:
        if to_json is not None:
            write_whole(to_json, json.dumps([each.plain() for each in found], indent=1) + "\n")
        if to_csv is not None:
            with to_csv.open("w", newline="", encoding="utf-8") as file:
                rows = [row for each in found for row in each.rows()]
                writer = csv.DictWriter(file, ["search", "sweep", "cost", "setting", "regret", "regret_selected"])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise UserError(f"{to_json or to_csv}: cannot be written ({error.strerror})") from None
