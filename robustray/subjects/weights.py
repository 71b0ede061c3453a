"""Plain weights, with the architecture they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.subjects import arguments, factory
from robustray.subjects.classifier import Classifier, line
from robustray.subjects.names import PIXELS, fitted, fitted_inside

_AVERAGED = ("ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema")
_INSIDE = (*_AVERAGED, "state_dict", "model_state_dict", "model", "net")
"""Where training scripts keep the weights in a checkpoint; the first that fit count, averaged ones before others."""

_LONG = 200


def model(path: Path, state: Any, architecture: str | None, data: DataSource | None) -> Classifier:
    """A network with the weights that `path` holds, given as what `read` found there.

    Args:
        architecture: the network they belong to; where none is said, what `args.txt` beside them says.

    Raises:
        UserError: these are no weights, their architecture is not said, or they do not fit it.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    flag = "--architecture"
    if architecture is None:
        architecture, flag = arguments.architecture(path)
    network, chosen = _build(architecture, flag, data)
    own = network.state_dict()
    for kept in [state[key] for key in _INSIDE if isinstance(state.get(key), dict)] or [state]:
        named = _named(path, kept, chosen, own)
        if named.keys() == own.keys():
            break
    try:
        network.load_state_dict(named)
    except RuntimeError as error:
        why = line(error, 1)
        if len(why) > _LONG:  # of names that are missing, say, there may be hundreds
            why = f"{why[:_LONG].rpartition(', ')[0] or why[:_LONG]}, ..."
        raise UserError(f"{path}: the weights do not fit {architecture} ({why})") from None
    return Classifier.of(network, path.stem, architecture)


def _named(
    path: Path, kept: Mapping[Any, Any], chosen: Architecture | None, own: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of what a file holds, under the names of the network whose state is `own`, if they have a way to fit."""
    state = {str(name): value for name, value in kept.items() if isinstance(value, Tensor)}
    named = fitted(state, own)
    if chosen is None or named.keys() == own.keys():
        return named
    try:
        named = fitted_inside(state, own)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if own.keys() - named.keys() != PIXELS:
        return named
    if not chosen.knows_pixels:
        remedy = "name a function that makes the whole network, as package.module:function or file.py:function"
        if "statistics" in type(chosen).model_fields:
            remedy = "say of which data they were, as in statistics: cifar10"
        raise UserError(
            f"{path}: the weights fit {chosen.name}, but the mean and deviation that pixels are normalised with are not "
            f"among them; {remedy}"
        )
    return {name: own[name] for name in PIXELS} | named


def _build(architecture: str, flag: str, data: DataSource | None) -> tuple[nn.Module, Architecture | None]:
    """The network, and its options where it is one of ours."""
    if ":" in architecture and not architecture.lstrip().startswith("{"):
        return factory.made(architecture), None
    chosen = choose("model", architecture, flag)
    assert isinstance(chosen, Architecture)
    if data is None:
        raise UserError(f"{flag}: a network of ours needs --data for its shape and normalisation")
    with torch.random.fork_rng(devices=[]):
        return chosen.build(data), chosen
