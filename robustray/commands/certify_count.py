"""Counts answers to noisy copies image by image, goes on where it was, and says how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from robustray.certify import counting
from robustray.certify.counting import STORE, Noise
from robustray.certify.smoothed import Base
from robustray.data.base import DataSource
from robustray.data.device import DeviceImages
from robustray.data.splits import Indices, named
from robustray.shards import Rows
from robustray.subjects import Classifier

SHARD = 10
"""Images per file of counts: what a killed run loses at most."""
STAGE = "counts"


def parts_of(
    found: Classifier, base: Base, data: DataSource, split: Literal["validation", "test"], rows: Indices, noise: Noise
) -> dict[str, Any]:
    """All that counts depend on. Confidence and alphas are not of them: any may be asked for later."""
    return {
        "weights": found.weights,
        "smoothed": "robust part" if base.robust_part else "all of it",
        "data": data.identity(split),
        "split": split,
        "rows": named(rows),
        "noise": noise._asdict(),
        "seed": counting.SEED,
        "block": counting.BLOCK,
        "shard": SHARD,
        "dtype": "float32",
        "packages": {"torch": version("torch")},
    }


def counted(
    folder: Path, model: nn.Module, data: DataSource, split: Literal["validation", "test"], rows: Indices, noise: Noise,
    device: torch.device, batch: int,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """The columns of all images, counted where they are not yet."""
    images = DeviceImages(data.load(split).take(rows), device)
    model.eval().requires_grad_(False)
    found = []
    with _bar(len(rows)) as advance:
        for shard in range(-(-len(rows) // SHARD)):
            here = np.arange(shard * SHARD, min((shard + 1) * SHARD, len(rows)))
            kept = STORE.read(folder, STAGE, shard)
            if kept is None:
                x, y = images.batch(here)
                kept = _shard(model, x, y, rows[here], noise, batch, shard, advance)
                STORE.write(folder, kept)
            else:
                advance(len(here))
            found.append(kept.columns)
    return {name: np.concatenate([columns[name] for columns in found]) for name in STORE.schema.names}


def _shard(
    model: nn.Module, x: Tensor, y: Tensor, rows: Indices, noise: Noise, batch: int, shard: int,
    advance: Callable[[int], None],
) -> Rows:  # fmt: skip
    counts = []
    for image, row in zip(x, rows.tolist(), strict=True):
        counts.append(counting.count(model, image, row, noise, batch))
        advance(1)
    top, votes, second = (np.array(column) for column in zip(*counts, strict=True))
    columns = {"image": rows, "label": y.cpu().numpy(), "top": top, "votes": votes, "second": second}
    return Rows(STAGE, shard, columns, {})


@contextmanager
def _bar(images: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error where that is a terminal, gone in the end; what it yields is told of images that are done."""
    console = Console(stderr=True)
    shown = Progress(
        TextColumn("images"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    task = shown.add_task("", total=images)
    with shown:
        yield lambda done: shown.advance(task, done)
