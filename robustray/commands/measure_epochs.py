"""Measures over the snapshots of one training: how it became what it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from robustray.commands import measure_run
from robustray.commands.measure_run import Asked
from robustray.errors import UserError
from robustray.files import Stamp, from_json, write_whole
from robustray.measures import taking
from robustray.measures.metrics import figures
from robustray.verdicts import fingerprint

CURVE, ROWS = "curve.json", "epochs.csv"
_SAME = ("measure", "settings", "data", "split", "images", "threat", "unit", "better")
"""What a curve has once, for all its epochs."""


def run(asked: Asked, epochs: str, write: Callable[[str], None]) -> list[Path]:
    """Takes measures of each snapshot, the earliest first, and writes a curve for each measure and split, which grows by every
    snapshot; what an earlier command has measured of snapshots that are still the same files stays in it. Whole pieces are
    kept: the same command goes on where it was killed.

    Args:
        epochs: `all`, or numbers of epochs, `10,20`.

    Returns:
        The curves' folders: `curve.json` says of what, and which files were measured, `epochs.csv` has a row for each epoch:
        value, low and high (its 95 % interval), and whatever else the measure says.

    Raises:
        UserError: the model is no folder of a trial with these snapshots; and whatever measuring one of them raises.
    """
    found = snapshots(Path(asked.model), epochs)
    root = asked.results or Path(asked.model) / "measures"
    curves: dict[Path, dict[int, dict[str, Any]]] = {}
    for epoch, path in found.items():

        def told(line: str, epoch: int = epoch) -> None:
            write(f"epoch {epoch}: {line}")

        for said in measure_run.run(replace(asked, model=str(path), results=root), told):
            about = {"model": asked.model, "name": Path(asked.model).absolute().name} | {
                key: said[key] for key in _SAME
            }
            folder = root / f"epochs-{said['split']}-{said['measure']}-{fingerprint(about)}"
            rows = curves.setdefault(folder, _before(folder, Path(asked.model)))
            rows[epoch] = {"epoch": epoch, **{key: said[key] for key in ("value", "low", "high")}, **said["values"]}
            measured = {at: {"file": _file(Path(asked.model), at), "row": rows[at]} for at in sorted(rows)}
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / CURVE, json.dumps({**about, "measured": measured}, indent=2))
            write_whole(folder / ROWS, taking.csv(_whole([rows[at] for at in sorted(rows)])))
    for folder, rows in curves.items():
        whole = _whole([rows[at] for at in sorted(rows)])
        for line in table(from_json((folder / CURVE).read_text(encoding="utf-8")), whole):
            write(line)
        write(f"  {folder / ROWS}; drawn by python -m analysis curve {folder}")
    return list(curves)


def _before(folder: Path, trial: Path) -> dict[int, dict[str, Any]]:
    """The rows of a curve that is there, of snapshots that have not changed since; none where it cannot be read."""
    try:
        measured = from_json((folder / CURVE).read_text(encoding="utf-8"))["measured"].items()
        return {int(at): each["row"] for at, each in measured if each["file"] == _file(trial, int(at))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _file(trial: Path, epoch: int) -> list[int]:
    """What tells that a snapshot is another one, without reading it; nothing where it is gone."""
    path = trial / f"epoch-{epoch:04d}.pt"
    return list(Stamp.of(path)[1:]) if path.is_file() else []


def snapshots(folder: Path, epochs: str) -> dict[int, Path]:
    """The averages of a trial's folder that `checkpoints.every` kept, by epoch, the earliest first.

    Raises:
        UserError: there are none, or not those; or `epochs` is neither `all` nor numbers.
    """
    if not folder.is_dir():
        raise UserError(f"--epochs: {folder}: must be the folder of a trial, which holds its snapshots")
    named = ((re.fullmatch(r"epoch-(\d+)\.pt", path.name), path) for path in folder.iterdir())
    there = dict(sorted((int(name[1]), path) for name, path in named if name is not None))
    if not there:
        raise UserError(
            f"--epochs: {folder}: kept no snapshots; a training with checkpoints.every: 10 keeps every tenth"
        )
    if epochs.strip() == "all":
        return there
    try:
        wanted = sorted({int(word) for word in epochs.split(",")})
    except ValueError:
        raise UserError(f"--epochs {epochs}: must be all, or numbers of epochs, 10,20") from None
    missing = [epoch for epoch in wanted if epoch not in there]
    if missing:
        raise UserError(f"--epochs: {folder}: no snapshot of {_listed(missing)}; kept: {_listed(list(there))}")
    return {epoch: there[epoch] for epoch in wanted}


def _listed(epochs: Sequence[int]) -> str:
    """`10, 20, 30 ... 200`."""
    shown = list(map(str, epochs))
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:3])} ... {shown[-1]}"


def _whole(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All rows with the columns of any of them; what is not known or not finite is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def table(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A curve in lines: a title, the names of its columns but for empty ones, a row for each epoch."""
    yield f"{about['measure']}, {about['images']} {about['split']} images of {about['data']}"
    names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    cells = [[name.replace("_", " ") for name in names]]
    percent = ("value", "low", "high") if about["unit"] == "fraction" else ()
    cells += [[_cell(name, row[name], percent=name in percent) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))


def _cell(name: str, value: float | None, *, percent: bool) -> str:
    if value is None:
        return ""
    return str(value) if name == "epoch" else f"{value:.1%}" if percent else figures(value)
