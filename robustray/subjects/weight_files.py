"""Files of weights as they lie about: tensors and plain values, no code; what is none is said in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.plain import line
from robustray.subjects import file_kinds
from robustray.subjects.names import PIXELS, fit, fitted, fitted_inside

_AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema")
_INSIDE = (*_AVERAGED, "state_dict", "model_state_dict", "model", "net")
"""Where training scripts keep the weights in a checkpoint; the first that fit count, averaged ones before others."""
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


def whole(state: Any) -> bool:
    """Whether what a file holds is a checkpoint of a trial, which says what network its weights belong to."""
    return isinstance(state, dict) and {"config", "average"} <= set(state)


def plain(path: Path, state: Any) -> dict[str, dict[str, Tensor]]:
    """The weights by name of what a file holds, by where training scripts keep them in it, averaged ones before others; "" is
    the file itself, where it holds no such place.

    Raises:
        UserError: it holds none.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    places = {key: state[key] for key in _INSIDE if isinstance(state.get(key), dict)} or {"": state}
    return {
        key: {str(name): value for name, value in inside.items() if isinstance(value, Tensor)}
        for key, inside in places.items()
    }


def put(
    network: nn.Module,
    kept: Mapping[str, Mapping[str, Tensor]],
    source: str,
    what: str,
    chosen: Architecture | None = None,
) -> str:
    """Gives a network weights: all that it has, under its names or those with what wrappers put in front.

    Args:
        kept: as `plain` gives them: the first that fit are taken.
        source: where they come from; what: what the network is, for the message.
        chosen: its options, where it is one of ours: weights of a network that normalises by itself fit its second layer.

    Returns:
        Which were taken.

    Raises:
        UserError: names or shapes are other ones.
    """
    own = network.state_dict()
    fitting = {place: _named(source, dict(state), chosen, own) for place, state in kept.items()}
    fits = (place for place, named in fitting.items() if fit(named.keys(), own.keys()))
    place = next(fits, next(iter(fitting)))
    try:
        network.load_state_dict(fitting[place])
    except RuntimeError as error:
        raise UserError(f"{source}: the weights do not fit {what} ({shorten(line(error, 1), 200)})") from None
    return place


def _named(
    source: str, state: dict[str, Tensor], chosen: Architecture | None, own: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a state under the names of the network whose state is `own`, if they have a way to fit."""
    named = fitted(state, own)
    if chosen is None or fit(named.keys(), own.keys()):
        return named
    try:
        named = fitted_inside(state, own)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    if own.keys() - named.keys() != PIXELS:
        return named
    if not chosen.knows_pixels:
        remedy = "name a function that makes the whole network, as package.module:function or file.py:function"
        if "statistics" in type(chosen).model_fields:
            remedy = "say of which data they were, as in statistics: cifar10"
        raise UserError(
            f"{source}: the weights fit {chosen.name}, but the mean and deviation that pixels are normalised with are not "
            f"among them; {remedy}"
        )
    return {name: own[name] for name in PIXELS} | named


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
