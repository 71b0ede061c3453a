"""Plain weights, with the architecture they belong to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.subjects import arguments, factory, weight_files
from robustray.subjects.classifier import Classifier


def model(path: Path, state: Any, architecture: str | None, data: DataSource | None) -> Classifier:
    """A network with the weights that `path` holds, given as what `read` found there.

    Args:
        architecture: the network they belong to; where none is said, what `args.txt` beside them says.

    Raises:
        UserError: these are no weights, their architecture is not said, or they do not fit it.
    """
    kept = weight_files.plain(path, state)
    flag = "--architecture"
    if architecture is None:
        architecture, flag = arguments.architecture(path)
    network, chosen = _build(architecture, flag, data)
    taken = weight_files.put(network, kept, str(path), architecture, chosen)
    found = Classifier.of(network, path.stem, architecture)
    return replace(found, notes=(f"{path} holds {' and '.join(kept)}: {taken} is judged",)) if len(kept) > 1 else found


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
