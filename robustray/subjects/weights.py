"""Plain weights, with the architecture they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.plain import line
from robustray.subjects import factory
from robustray.subjects.classifier import Classifier

_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_INSIDE = ("state_dict", "model_state_dict", "model", "net")
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Where training scripts keep weights in a checkpoint, and averages of them."""
_COUNTED = "num_batches_tracked"
"""What batch norm counts and never uses; files of before it did have none."""
_AVERAGED = "n_averaged"
"""What torch's averages count, beside the network's own names."""


def model(path: Path, state: Any, architecture: str | None, data: DataSource | None) -> Classifier:
    """A network with the weights that `path` holds, given as what `read` found there.

    Raises:
        UserError: these are no weights, their architecture is not said, or they do not fit it.
    """
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    places = [key for key in (*_INSIDE, *_AVERAGES) if isinstance(state.get(key), dict)]
    both = places[:1] + [key for key in places[1:] if key in _AVERAGES]
    notes = (f"{path} holds {' and '.join(both)}: {both[0]} is judged",) if len(both) > 1 else ()
    state = state[places[0]] if places else state
    state = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if architecture is None:
        raise UserError(f"{path}: only weights; say what network they belong to with --architecture")
    network = _build(architecture, data)
    try:
        network.load_state_dict(_named(state, set(network.state_dict())))
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit {architecture} ({line(error, 1)})") from None
    return replace(Classifier.of(network, path.stem, architecture), notes=notes)


def _named(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """The weights under the network's names: as they are where they fit, else without what wrappers put in front.

    DataParallel puts `module.` before a name, torch.compile `_orig_mod.` and FSDP its own, anywhere in it; Lightning and
    others the name of the attribute that holds the network, before all of them. What makes no names fit is left as it is,
    for the message. Counters that no answer depends on are not missed.
    """
    if _fit(set(state), wanted):
        return state
    if _AVERAGED not in wanted:
        state = {name: value for name, value in state.items() if name.rpartition(".")[2] != _AVERAGED}
    theirs, ours = _by_bare_name(state), _by_bare_name(wanted)
    first = next(iter(theirs), "")
    shared = [first[: end + 1] for end, letter in enumerate(first) if letter == "."]
    for front in ("", *(front for front in shared if all(bare.startswith(front) for bare in theirs))):
        named = {bare.removeprefix(front): name for bare, name in theirs.items()}
        if _fit(set(named), set(ours)) and len(theirs) == len(state) and len(ours) == len(wanted):
            return {ours[bare]: state[name] for bare, name in named.items()}
    return state


def _fit(names: set[str], wanted: set[str]) -> bool:
    """Whether names are those that are wanted, counters of batch norm apart."""
    return names <= wanted and all(name.rpartition(".")[2] == _COUNTED for name in wanted - names)


def _by_bare_name(names: Iterable[str]) -> dict[str, str]:
    """Names by what is left of them without wrappers' parts; fewer than there were where two become one."""
    return {_WRAPPERS.sub("", name): name for name in names}


def _build(architecture: str, data: DataSource | None) -> nn.Module:
    if ":" in architecture and not architecture.lstrip().startswith("{"):
        return factory.made(architecture)
    chosen = choose("model", architecture, "--architecture")
    assert isinstance(chosen, Architecture)
    if data is None:
        raise UserError("--architecture: a network of ours needs --data for its shape and normalisation")
    with torch.random.fork_rng(devices=[]):
        return chosen.build(data)
