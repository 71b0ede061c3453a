"""Plain weights, with the architecture they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.subjects import factory
from robustray.subjects.classifier import Classifier, line

_INSIDE = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep the weights in a checkpoint


def read(path: Path) -> Any:
    """What a `.safetensors` file holds, or any other file that torch wrote; tensors and plain values, no code.

    Raises:
        UserError: the file is no such thing.
    """
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:
            raise UserError(f"{path}: not a safetensors file ({line(error)})") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not a checkpoint of tensors and plain values ({line(error)})") from None


def model(path: Path, state: Any, architecture: str | None, data: DataSource | None) -> Classifier:
    """A network with the weights that `path` holds, given as what `read` found there.

    Raises:
        UserError: these are no weights, their architecture is not said, or they do not fit it.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    state = next((state[key] for key in _INSIDE if isinstance(state.get(key), dict)), state)
    state = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if architecture is None:
        raise UserError(f"{path}: only weights; say what network they belong to with --architecture")
    network = _build(architecture, data)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit {architecture} ({line(error, 1)})") from None
    return Classifier.of(network, path.stem, architecture)


def _build(architecture: str, data: DataSource | None) -> nn.Module:
    if ":" in architecture and not architecture.lstrip().startswith("{"):
        return factory.made(architecture)
    chosen = choose("model", architecture, "--architecture")
    assert isinstance(chosen, Architecture)
    if data is None:
        raise UserError("--architecture: a network of ours needs --data for its shape and normalisation")
    with torch.random.fork_rng(devices=[]):
        return chosen.build(data)
