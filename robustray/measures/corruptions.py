"""Accuracy under common corruptions, from a folder of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, torch
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.files import Stamp
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.options.places import PLACE
from robustray.registry import register

SEVERITIES = 5
_LABELS = "labels.npy"


@register
class Corruptions(PerImage):
    """Mean accuracy over corruptions and severities (Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261).

    The folder is one as CIFAR-10-C is published. It holds NAME.npy, uint8 [5 n, H, W, C], for each corruption, n images at
    severity 1, the same at severity 2, and so on, and labels.npy, [5 n]. The n images are those of the split, row for row,
    which labels are compared with: CIFAR-10-C is of the test split.

    `mean_corruption_error` is the mean over corruptions of the mean error over severities, not divided by a network's:
    CIFAR-10-C has no such convention. `relative_error` is the same less the clean error. Accuracy by corruption and severity
    is a table, corruptions.csv. With `reference`, a table of an earlier run on another model, `normalised_error` is the mean
    over corruptions of the error divided by that model's, mCE where it is AlexNet's. Interval: of the mean over images of the
    share of their corrupted copies that are right, Student's t.

    The threat plays no part. Passes per image: 1 + 5 for each corruption.
    """

    name: Literal["corruptions"] = "corruptions"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    path: Annotated[str, PLACE] = Field(description="folder of NAME.npy and labels.npy, for example CIFAR-10-C")
    reference: Annotated[str | None, PLACE] = Field(
        None, description="corruptions.csv of another model, by whose errors these are divided; null: none"
    )

    def check(self, ground: Ground) -> None:
        files = _files(self.path)
        labels = _array(Path(self.path) / _LABELS)
        there = ground.data.load(ground.split)
        if labels.shape != (SEVERITIES * len(there),) or not np.array_equal(labels, np.tile(there.labels, SEVERITIES)):
            raise UserError(
                f"corruptions.path: {Path(self.path) / _LABELS}: not the labels of the {len(there)} {ground.split} images of "
                f"{ground.data.name}, five times; CIFAR-10-C is of --split test"
            )
        shape = (len(labels), *there.shape)
        for file in files:
            found = _array(file)
            if found.dtype != np.uint8 or found.shape != shape:
                raise UserError(
                    f"corruptions.path: {file}: must be uint8 {list(shape)}, not {found.dtype} {list(found.shape)}"
                )
        if self.reference is not None:
            missing = {file.stem for file in files} - _errors(self.reference).keys()
            if missing:
                raise UserError(
                    f"corruptions.reference: {self.reference} has no errors of {', '.join(sorted(missing))}"
                )

    def depends(self, ground: Ground) -> Mapping[str, Any]:
        files = (*_files(self.path), Path(self.path) / _LABELS)
        found = {file.name: (stamp := Stamp.of(file)) and [stamp.size, stamp.modified] for file in files}
        return found if self.reference is None else {**found, "reference": _errors(self.reference)}

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        from robustray.measures.accuracy import answers

        images, files = len(ground.data.load(ground.split)), _files(self.path)
        right = torch.zeros(len(rows), len(files), SEVERITIES, dtype=torch.bool, device=y.device)
        with torch.no_grad():
            clean = answers(ground.model(x)) == y
            for number, file in enumerate(files):
                whole = _array(file)
                for severity in range(SEVERITIES):
                    pixels = torch.from_numpy(whole[severity * images + rows]).to(y.device)
                    seen = pixels.permute(0, 3, 1, 2).contiguous().to(x.dtype) / 255
                    right[:, number, severity] = answers(ground.model(seen)) == y
                ground.tell((number + 1) / len(files))
        return {"clean": clean, "right": right}

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        right, clean, names = columns["right"], columns["clean"], [file.stem for file in _files(self.path)]
        accuracy = right.mean(0)
        table = [
            {"corruption": name, "severity": severity + 1, "accuracy": float(accuracy[number, severity])}
            for number, name in enumerate(names)
            for severity in range(SEVERITIES)
        ]
        errors = 1 - accuracy.mean(1)
        values = {
            "clean_accuracy": float(clean.mean()),
            "mean_corruption_error": float(errors.mean()),
            "relative_error": float(errors.mean() - (1 - clean.mean())),
        }
        if self.reference is not None:
            theirs = _errors(self.reference)
            with np.errstate(divide="ignore", invalid="ignore"):
                values["normalised_error"] = float(np.mean(errors / np.array([theirs[name] for name in names])))
        share = right.mean((1, 2))
        low, high = intervals.mean(share)
        kept = {"clean": clean, "corrupted": share}
        return Result(float(share.mean()), low, high, "images, Student's t", values, kept, {"corruptions": table})

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * (1 + SEVERITIES * len(_files(self.path))))


def _files(path: str) -> list[Path]:
    found = sorted(file for file in Path(path).glob("*.npy") if file.name != _LABELS)
    if not found:
        raise UserError(
            f"corruptions.path: {path}: no folder of corruptions (NAME.npy and {_LABELS}), as CIFAR-10-C is one"
        )
    return found


def _array(file: Path) -> NDArray[Any]:
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not an array of numpy's"
        raise UserError(f"corruptions.path: {file}: {why}") from None
    return np.asarray(found) if file.name == _LABELS else found


def _errors(path: str) -> dict[str, float]:
    """Mean error over severities by corruption, from a table that this measure wrote."""
    return _read(path, Stamp.of(Path(path)) if Path(path).is_file() else None)


@lru_cache(maxsize=4)
def _read(path: str, stamp: Stamp | None) -> dict[str, float]:
    import csv

    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = [(row["corruption"], 1 - float(row["accuracy"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"corruptions.reference: {path}: no corruptions.csv of this measure ({type(error).__name__})"
        ) from None
    return {name: float(np.mean([error for other, error in rows if other == name])) for name, _ in rows}
