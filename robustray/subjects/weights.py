"""Plain weights, with the architecture they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.subjects import factory, weight_files
from robustray.subjects.classifier import Classifier


def model(path: Path, state: Any, architecture: str | None, data: DataSource | None) -> Classifier:
    """A network with the weights that `path` holds, given as what `read` found there.

    Raises:
        UserError: these are no weights, their architecture is not said, or they do not fit it.
    """
    state = weight_files.plain(path, state)
    if architecture is None:
        raise UserError(f"{path}: only weights; say what network they belong to with --architecture")
    network = _build(architecture, data)
    weight_files.put(network, state, str(path), architecture)
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
