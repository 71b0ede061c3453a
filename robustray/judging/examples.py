"""A few images that an attack broke, kept beside the verdicts to be looked at: no number comes from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustray.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.judging.bench import Batch, Found

FOLDER = "examples"
_MOST = 6  # images of an attack
_BYTES = 400_000  # of an attack; large images are fewer


def save(folder: Path, stage: str, batch: Batch, found: Found) -> None:
    """Writes the first images of a batch that the attack broke, whole or not at all; nothing where there are none.

    `<folder>/examples/<stage>.npz` holds `image` [m], the rows of the split, `label` and `predicted` [m], and `x` and `x_adv`
    [m, C, H, W] as uint8.

    Args:
        folder: of the judgement.
        stage: the attack.
        batch: what it was run on.
        found: what it did.
    """
    most = max(1, min(_MOST, _BYTES // (2 * batch.x[0].numel()))) if len(batch) else 0
    fooled = (found.correct == 0) & (found.predicted != batch.y) & (found.predicted >= 0)
    at = fooled.nonzero().flatten()[:most]
    if not len(at):
        return
    kept = {
        "image": np.asarray(batch.rows)[at.cpu().numpy()],
        "label": batch.y[at].cpu().numpy(),
        "predicted": found.predicted[at].cpu().numpy(),
        "x": _levels(batch.x[at]),
        "x_adv": _levels(found.x_adv[at]),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept)
    (folder / FOLDER).mkdir(exist_ok=True)
    write_whole(folder / FOLDER / f"{stage}.npz", buffer.getvalue())


def _levels(x: Tensor) -> NDArray[np.uint8]:
    return np.asarray((255 * x.detach().float().clamp(0, 1)).round().byte().cpu())
