"""Checkpoint files: written whole, with their own hash, read without unpickling code."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.files import write_whole
from robustray.plain import line

_MARK = b"sha256="
_COMMENT = len(_MARK) + 64
_LENGTH = _COMMENT.to_bytes(2, "little")


class DamagedCheckpoint(Exception):
    """The file is not what was written."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint, whole or not at all.

    The SHA-256 of the content is the comment of the zip archive that torch writes, so that `torch.load` reads the file as
    it stands and the hash can never part from it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    comment = _MARK + hashlib.sha256(content).hexdigest().encode()
    write_whole(path, content[:-2] + _LENGTH + comment)  # a zip ends in its comment's length


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU. Only tensors and plain values are accepted (`weights_only`).

    Raises:
        DamagedCheckpoint: the file is missing, cut short, or changed since it was written.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path.name}: {error.strerror}") from None
    content, tail = data[: -_COMMENT - 2] + b"\0\0", data[-_COMMENT - 2 :]
    if tail != _LENGTH + _MARK + hashlib.sha256(content).hexdigest().encode():
        raise DamagedCheckpoint(f"{path.name}: its hash does not match its content")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:  # of this machine, and no fault of the file
        raise
    except (
        Exception
    ) as error:  # the hash is right, so somebody has made it so: torch, zip and pickle raise what they like
        raise DamagedCheckpoint(f"{path.name}: is no checkpoint of tensors and plain values ({line(error)})") from None
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path.name}: holds no mapping")
    return state


def save_last(folder: Path, state: dict[str, Any]) -> None:
    """Writes `last.pt`; what it was becomes `previous.pt`. A crash between the two leaves `previous.pt`."""
    last = folder / "last.pt"
    with contextlib.suppress(FileNotFoundError):  # none yet, or an orphan of a killed driver was faster
        last.replace(folder / "previous.pt")
    save(last, state)


def load_last(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The newest whole checkpoint of a trial, and a line about each damaged one that was passed over."""
    damage: list[str] = []
    for name in ("last.pt", "previous.pt"):
        path = folder / name
        if path.exists():
            try:
                return load(path), damage
            except DamagedCheckpoint as error:
                damage.append(str(error))
    return None, damage


def best(folder: Path, selected: dict[str, float] | None) -> Path:
    """Where the average of the epoch that a checkpoint names as the best lies; that of epoch 0, which never is, for None."""
    return folder / f"best-{int(selected['epoch']) if selected else 0:04d}.pt"


def contiguous(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights in the layout that every reader of a checkpoint expects."""
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def weights_hash(state: Mapping[str, Any]) -> str:
    """SHA-256 over names, shapes, types and values of a state dict: the identity of a model.

    A state may hold what is no plain tensor: quantised ones count by their numbers and what these stand for, tuples, lists
    and mappings by what they hold, anything else (of a `get_extra_state`) by the bytes of its pickle.
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        _take(digest, name, value)
    return digest.hexdigest()


def _take(digest: hashlib._Hash, name: str, held: Any) -> None:
    if isinstance(held, Tensor) and held.is_quantized:
        held = {"numbers": held.int_repr(), "values": held.dequantize()}
    if isinstance(held, Mapping):
        for key in held:
            _take(digest, f"{name}.{key}", held[key])
    elif isinstance(held, tuple | list):
        for place, part in enumerate(held):
            _take(digest, f"{name}.{place}", part)
    elif isinstance(held, Tensor):
        value = held.detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        digest.update(f"{name}:{type(held).__name__};".encode())
        digest.update(pickle.dumps(held, protocol=4))
