"""Files of weights as they lie about: tensors and plain values, no code; what is none is said in one line."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from robustray.errors import UserError, line

_HEADS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself: git lfs pull fetches it"),
    (b"<!doctype html", "is a page of HTML, not weights: download it again, and look at it in a browser"),
    (b"<html", "is a page of HTML, not weights: download it again, and look at it in a browser"),
    (b"<?xml", "is XML, not weights: download it again"),
)
"""How files begin that stand where weights should, in small letters."""
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod)\.")
_INSIDE = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep the weights in a checkpoint
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


def whole(state: Any) -> bool:
    """Whether what a file holds is a checkpoint of a trial, which says what network its weights belong to."""
    return isinstance(state, dict) and {"config", "average"} <= set(state)


def plain(path: Path, state: Any) -> dict[str, Tensor]:
    """The weights by name of what a file holds, wherever a training script keeps them in it.

    Raises:
        UserError: it holds none.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    inside = next((state[key] for key in _INSIDE if isinstance(state.get(key), dict)), state)
    return {str(name): value for name, value in inside.items() if isinstance(value, Tensor)}


def put(network: nn.Module, state: Mapping[str, Tensor], source: str, what: str) -> None:
    """Gives a network weights: all that it has, under its names or those with what wrappers put in front.

    Args:
        source: where they come from; what: what the network is, for the message.

    Raises:
        UserError: names or shapes are other ones.
    """
    try:
        network.load_state_dict(_named(dict(state), set(network.state_dict())))
    except RuntimeError as error:
        raise UserError(f"{source}: the weights do not fit {what} ({shorten(line(error, 1), 200)})") from None


def _named(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """The weights under the network's names: as they are where they fit, else without what wrappers put in front.

    DataParallel puts `module.` before a name and torch.compile `_orig_mod.`, anywhere in it; Lightning and others the name of
    the attribute that holds the network, before all of them. What makes no names fit is left as it is, for the message.
    """
    if set(state) == wanted:
        return state
    theirs, ours = _by_bare_name(state), _by_bare_name(wanted)
    first = next(iter(theirs), "")
    shared = [first[: end + 1] for end, letter in enumerate(first) if letter == "."]
    for front in ("", *(front for front in shared if all(bare.startswith(front) for bare in theirs))):
        named = {bare.removeprefix(front): name for bare, name in theirs.items()}
        if set(named) == set(ours) and len(theirs) == len(state) and len(ours) == len(wanted):
            return {ours[bare]: state[name] for bare, name in named.items()}
    return state


def _by_bare_name(names: Iterable[str]) -> dict[str, str]:
    """Names by what is left of them without wrappers' parts; fewer than there were where two become one."""
    return {_WRAPPERS.sub("", name): name for name in names}


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
