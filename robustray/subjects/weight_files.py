"""Files of weights as they lie about: tensors and plain values, no code; what is none is said in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from robustray.errors import UserError
from robustray.plain import line
from robustray.subjects import file_kinds

_NUMBERS: list[Any] = [
    np.dtype,
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # numpy 1 and 2 have it under two names
    (np.float64(0).__reduce__()[0], "numpy._core.multiarray.scalar"),
    *{type(np.dtype(kind)) for kind in ("?", *"bhilqBHILQefd")},
    np.ndarray,
    (np.empty(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    (np.empty(0).__reduce__()[0], "numpy._core.multiarray._reconstruct"),
]
"""What numbers and arrays of numpy beside the weights, a best accuracy say, are made of: no more than type, shape and bytes."""


def read(path: Path) -> Any:
    """What a `.safetensors` file holds, or any other file that torch wrote; tensors and plain values, no code.

    Raises:
        UserError: the file is no such thing; the message says what it is, where that can be seen.
    """
    try:
        with path.open("rb") as file:
            head = file.read(file_kinds.HEAD)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if (what := file_kinds.no_weights(path, head)) is not None:
        raise UserError(f"{path}: {what}")
    if file_kinds.safetensors(head) or (path.suffix == ".safetensors" and not head.startswith(b"PK")):
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:
            raise UserError(f"{path}: not a safetensors file, or cut off ({line(error)}): download it again") from None
    try:
        with torch.serialization.safe_globals(_NUMBERS), path.open("rb") as file:  # by name, torch goes by the suffix
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: {_refusal(error)}") from None


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
