"""Files of weights as they lie about: tensors and plain values, no code; what is none is said in one line."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from robustray.errors import UserError
from robustray.plain import line

_HEADS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself: git lfs pull fetches it"),
    (b"<!doctype html", "is a page of HTML, not weights: download it again, and look at it in a browser"),
    (b"<html", "is a page of HTML, not weights: download it again, and look at it in a browser"),
    (b"<?xml", "is XML, not weights: download it again"),
)
"""How files begin that stand where weights should, in small letters."""
_NUMBERS: list[Any] = [
    np.dtype,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # numpy 1 and 2 have it under two names
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *{type(np.dtype(kind)) for kind in ("?", *"bhilqBHILQefd")},
]
"""What a number of numpy beside the weights, a best accuracy say, is made of: no more than its type and its bytes."""


def read(path: Path) -> Any:
    """What a `.safetensors` file holds, or any other file that torch wrote; tensors and plain values, no code.

    Raises:
        UserError: the file is no such thing; the message says what it is, where that can be seen.
    """
    try:
        with path.open("rb") as file:
            head = file.read(256).lstrip().lower()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    for begins, what in _HEADS:
        if head.startswith(begins):
            raise UserError(f"{path}: {what}")
    if not head:
        raise UserError(f"{path}: is empty")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:
            raise UserError(f"{path}: not a safetensors file ({line(error)})") from None
    if _scripted(path):
        raise UserError(
            f"{path}: is TorchScript, which holds code; name a function that loads it with torch.jit.load, as "
            "package.module:function or file.py:function"
        )
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: {_refusal(error)}") from None


def _scripted(path: Path) -> bool:
    """Whether it is an archive that torch.jit.save wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def _refusal(error: Exception) -> str:
    """Why a file was not read, without torch's advice to read it as code, which is false for most such files."""
    name = re.search(r"(?:GLOBAL|class) ([\w.]+)", text := str(error))
    if name is not None:
        return (
            f"holds {name[1]}, which is code, not tensors and plain values; save model.state_dict() alone, or name a function "
            "that makes the whole network, as package.module:function"
        )
    if "weights_only" in text or "WeightsUnpickler" in text:
        return "not a checkpoint of tensors and plain values"
    return f"not a checkpoint of tensors and plain values ({line(error)})"
