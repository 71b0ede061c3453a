"""Takes a measure, piece by piece: what is there already is read, what a killed run had is kept."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robustray import arrays
from robustray.data.splits import named
from robustray.errors import NotFinite, UserError
from robustray.files import write_whole
from robustray.measures.accuracy import at_rest
from robustray.measures.base import SHARD, Ground, Measure, Piece, Result
from robustray.numerics import numerics
from robustray.verdicts import fingerprint

ABOUT = "measure.json"
RESULT = "result.json"
_NO_GRADIENT = "does not require grad and does not have a grad_fn"  # torch says no more, and has no class for it


def identity(measure: Measure, ground: Ground, weights: str) -> dict[str, Any]:
    """All that a measure's pieces depend on; another identity is another measurement.

    Args:
        weights: the hash of the model's state.
    """
    parts: dict[str, Any] = {
        "measure": measure.model_dump(mode="json"),
        "data": ground.data.identity(ground.split),
        "split": ground.split,
        "rows": named(ground.rows),
        "threat": ground.threat.model_dump(mode="json"),
        "shard": getattr(measure, "at_once", SHARD),
        "dtype": "float32",
        "packages": {"torch": version("torch")},
    }
    if measure.needs_model:
        parts["weights"] = weights
    if measure.reads:
        parts["reads"] = {split: ground.data.identity(split) for split in measure.reads}
    if depends := dict(measure.depends(ground)):
        parts["depends"] = depends
    return parts


def folder_of(root: Path, measure: Measure, parts: Mapping[str, Any]) -> Path:
    """Where one measurement lies under `root`."""
    return root / f"{parts['split']}-{measure.name}-{fingerprint(parts)}"


def take(
    measure: Measure, ground: Ground, folder: Path | None = None, tell: Callable[[float], None] = lambda share: None
) -> Result:
    """Takes a measure of a model in strict float32, its own random draws the same every time.

    Args:
        folder: where pieces are kept, and found again by the next run; None: nowhere.
        tell: hears the share that is done.

    Raises:
        UserError: the options do not fit, or the model cannot be measured so.
    """
    measure.check(ground)
    pieces, count = list[Piece](), measure.pieces(ground)
    with numerics():
        for number in range(count):
            path = None if folder is None else folder / f"piece-{number:05d}.npz"
            found = None if path is None else arrays.kept(path)
            if found is None:
                within = replace(ground, tell=_part_of(tell, number, count))
                try:
                    with at_rest(ground.model, ground.device):
                        found = dict(measure.piece(number, within))
                except NotFinite as error:  # an attack came to an image where the model or its gradients are not
                    raise UserError(f"{ground.spec or 'the model'}: {error}") from None
                except RuntimeError as error:
                    if _NO_GRADIENT not in str(error):
                        raise
                    raise UserError(
                        f"{ground.spec or 'the model'}: {measure.name} follows gradients, and this model's answers have none "
                        "(detach, no_grad or numpy inside it); take measures that only ask it, clean_accuracy say"
                    ) from None
                if path is not None:
                    arrays.keep(path, **found)
            pieces.append(found)
            tell((number + 1) / count)
    return measure.result(pieces, ground)


def _part_of(tell: Callable[[float], None], done: int, count: int) -> Callable[[float], None]:
    return lambda share: tell((done + share) / count)


@dataclass(frozen=True)
class Filed:
    """A measurement in its folder.

    Attributes:
        said: what `result.json` holds. notes: what a reader should know, a line each.
    """

    said: dict[str, Any]
    result: Result
    folder: Path
    notes: tuple[str, ...]


def filed(
    measure: Measure,
    ground: Ground,
    root: Path,
    *,
    name: str,
    weights: str,
    more: Mapping[str, Any] | None = None,
    tell: Callable[[float], None] = lambda share: None,
) -> Filed:
    """Takes a measure in a folder of its own under `root`, or goes on there.

    Args:
        name: of the model, in a word. weights: the hash of its state.
        more: what else tells it from others, part of the identity. tell: hears the share that is done.

    Raises:
        UserError: the options do not fit, or the model cannot be measured so.
    """
    measure.check(ground)
    parts = identity(measure, ground, weights) | dict(more or {})
    folder = folder_of(root, measure, parts)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ABOUT).exists():
        write_whole(folder / ABOUT, json.dumps(parts, indent=2, sort_keys=True))
    result = take(measure, ground, folder, tell)
    about = {
        "measure": measure.name, "settings": measure.model_dump(mode="json"), "model": ground.spec, "name": name,
        "weights": weights, "data": ground.data.name, "split": ground.split, "images": len(ground),
        "threat": ground.threat.model_dump(mode="json"), "unit": measure.unit, "better": measure.better,
        "passes": measure.passes(ground),
    }  # fmt: skip
    said = written(folder, about, result, ground)
    return Filed(said, result, folder, (*result.notes, *measure.files(folder, result, ground)))


def written(folder: Path, about: Mapping[str, Any], result: Result, ground: Ground) -> dict[str, Any]:
    """Writes `result.json`, `images.csv` where there are columns, a CSV of each table and a PNG of each picture.

    Returns:
        What `result.json` holds.
    """
    said = {
        **about, "value": _plain(result.value), "low": _plain(result.low), "high": _plain(result.high),
        "interval": result.interval, "values": {name: _plain(value) for name, value in result.values.items()},
        "notes": list(result.notes),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    flat = {name: column for name, column in result.columns.items() if column.ndim == 1}
    if flat:
        labels = ground.data.load(ground.split).labels[ground.rows]
        rows = [{"image": int(row), "label": int(label)} for row, label in zip(ground.rows, labels, strict=True)]
        for name, column in flat.items():
            for row, value in zip(rows, column.tolist(), strict=True):
                row[name] = value
        write_whole(folder / "images.csv", csv(rows))
    for name, table in result.tables.items():
        write_whole(folder / f"{name}.csv", csv(table))
    for name, picture in result.pictures.items():
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        write_whole(folder / f"{name}.png", buffer.getvalue())
    write_whole(folder / RESULT, json.dumps(said, indent=2))
    return said


def csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as a table, numbers with seven figures; None is an empty cell."""
    if not rows:
        return "\n"
    names = list(rows[0])
    lines = [",".join(names), *(",".join(_cell(row[name]) for name in names) for row in rows)]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.7g}" if isinstance(value, float) else str(int(value) if isinstance(value, bool) else value)


def _plain(number: float | None) -> float | None:
    return None if number is None or not np.isfinite(number) else float(number)
