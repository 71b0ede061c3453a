"""Adversarial images and verdicts on disk: ours, and those that other evaluations left."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.attacks.threats import Threat
from robustray.errors import UserError
from robustray.files import Stamp, from_json, write_whole
from robustray.plain import line
from robustray.verdicts import Shard

_FOLDER = "adversarial"
_KEYS = ("adv_complete", "x_adv", "adversarial", "images")  # what evaluation scripts call a batch of adversarial images


def path(folder: Path, stage: str, shard: int) -> Path:
    """Where the images that a stage broke in a shard lie."""
    return folder / _FOLDER / f"{stage}-{shard:04d}.npz"


def save(folder: Path, stage: str, shard: int, image: NDArray[np.int32], x_adv: Tensor, broken: Tensor) -> None:
    """Writes the broken images, float32 [n, C, H, W], with their rows, whole or not at all."""
    keep = broken.cpu().numpy()
    buffer = io.BytesIO()
    np.savez_compressed(buffer, image=image[keep], x_adv=x_adv.detach().float().cpu().numpy()[keep])
    path(folder, stage, shard).parent.mkdir(exist_ok=True)
    write_whole(path(folder, stage, shard), buffer.getvalue())


def load(folder: Path, stage: str, shard: int) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
    """Rows [n] and images [n, C, H, W] of one file; None where it is missing or damaged."""
    try:
        with np.load(path(folder, stage, shard), allow_pickle=False) as file:
            return file["image"], file["x_adv"]
    except Exception:  # a damaged zip raises whatever it likes
        return None


def there(folder: Path, verdicts: Shard) -> bool:
    """Whether the images belong to these verdicts."""
    kept = load(folder, verdicts.attack, verdicts.shard)
    return kept is not None and np.array_equal(kept[0], verdicts.image[verdicts.broken])


def joined(file: Path, rows: NDArray[np.int64], x: Tensor, threat: Threat) -> tuple[Tensor, int]:
    """Others' images for these rows, x itself where they have none or break the rules, and how many broke them.

    Image i of a file is taken for row i of the split, the order of every evaluation script.
    """
    batch = adversarial(file)
    if batch.shape[1:] != x.shape[1:]:
        raise UserError(f"{file}: images of shape {tuple(batch.shape[1:])}, but the data has {tuple(x.shape[1:])}")
    known = torch.from_numpy(rows < len(batch)).to(x.device)
    theirs = x.clone()
    theirs[known] = batch[torch.from_numpy(rows[rows < len(batch)])].to(x)
    allowed = threat.inside(theirs, x)
    return torch.where(allowed[:, None, None, None], theirs, x), int((~allowed).sum())


def adversarial(file: Path) -> Tensor:
    """A batch of adversarial images [N, C, H, W] from a `.pt` file: a tensor, or a mapping that holds one.

    Raises:
        UserError: the file holds none, or holds code (only tensors and plain values are read).
    """
    return _adversarial(file, Stamp.of(file))


@lru_cache(maxsize=2)  # asked for at every shard
def _adversarial(file: Path, stamp: Stamp) -> Tensor:
    try:
        held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{file}: not a file of tensors ({line(error)})") from None
    if isinstance(held, dict):
        held = next((held[key] for key in _KEYS if key in held), None)
    elif isinstance(held, list | tuple) and held:
        held = held[0]  # (x_adv, y_adv), as AutoAttack returns them
    if not isinstance(held, Tensor) or held.ndim != 4 or not held.is_floating_point():
        raise UserError(f"{file}: holds no batch of images [N, C, H, W] (a tensor, or under {', '.join(_KEYS)})")
    return held.float()


def claimed(files: Sequence[Path], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which rows the state files of AutoAttack leave standing; rows they do not know stand."""
    standing = np.ones(len(rows), dtype=np.bool_)
    for file in files:
        flags = state(file)
        known = rows < len(flags)
        standing[known] &= flags[rows[known]]
    return standing


def state(file: Path) -> NDArray[np.bool_]:
    """The flags [N] (True: robust) of a state file of AutoAttack, which its own reader refuses to restore.

    Raises:
        UserError: it is no such file, or no attack has been run yet.
    """
    try:
        flags = from_json(file.read_text(encoding="utf-8"))["_robust_flags"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not a state file of AutoAttack ({type(error).__name__})") from None
    if flags is None:
        raise UserError(f"{file}: the evaluation had not begun")
    if not isinstance(flags, list) or not all(isinstance(flag, bool) for flag in flags):
        raise UserError(f"{file}: not a state file of AutoAttack (its flags are not true or false)")
    return np.array(flags, dtype=np.bool_)
