"""A network that a function of the user's makes."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from robustray.data.base import DataSource
from robustray.data.device import DeviceImages
from robustray.errors import UserError, nearest
from robustray.plain import line
from robustray.subjects import neighbours
from robustray.subjects.classifier import Classifier


def model(spec: str, data: DataSource | None = None) -> Classifier:
    """What `package.module:name` or `file.py:name` makes, under the function's name; raises as `made`.

    Args:
        data: shows a network its first image whose layers get their shapes from it.
    """
    network = made(spec)
    if data is not None and any(map(is_lazy, (*network.parameters(), *network.buffers()))):
        _shown(network, data, spec)
    return Classifier.of(network, spec.rpartition(":")[2], type(network).__name__)


def _shown(network: nn.Module, data: DataSource, spec: str) -> None:
    """Gives lazy layers their shapes, and weights that are the same in every process.

    Raises:
        UserError: the network does not take the images.
    """
    first = DeviceImages(data.load("train").take(np.arange(1)), torch.device("cpu")).batch(slice(None))[0]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            network.cpu().eval()(first)
    except Exception as error:  # the user's own code may raise anything
        raise UserError(
            f"{spec}: does not take an image of {data.name} ({type(error).__name__}: {line(error)})"
        ) from None


def made(spec: str) -> nn.Module:
    """Calls `package.module:name` or `file.py:name`; what comes back must be a module.

    The same in every process and life of the command: torch is seeded, for networks whose weights are drawn.

    Raises:
        UserError: there is no such function, it fails or leaves by sys.exit, or it gives something else.
    """
    where, _, name = spec.rpartition(":")
    beside = Path(where).absolute().parent if where.endswith(".py") else Path.cwd()
    try:
        with torch.random.fork_rng(devices=[]), _arguments(where), neighbours.first(beside):
            torch.manual_seed(0)
            module = _file(where) if where.endswith(".py") else _module(where)
            if not hasattr(module, name):
                known = [known for known in vars(module) if not known.startswith("_")]
                raise UserError(f"{spec}: {where} has no {name!r}; {nearest(name, known)}")
            make: Any = getattr(module, name)
            given = make if isinstance(make, nn.Module) else make()
    except UserError:
        raise
    except SystemExit as error:
        raise UserError(
            f"{spec}: left by sys.exit ({error.code}) where the network is made; a script keeps what only its own command "
            "line wants under if __name__ == '__main__'"
        ) from None
    except Exception as error:  # the user's own code may raise anything
        whose = neighbours.hidden(error.name, beside) if isinstance(error, ModuleNotFoundError) else ""
        raise UserError(f"{spec}: {type(error).__name__}: {line(error)}{whose}") from None
    if not isinstance(given, nn.Module):
        raise UserError(f"{spec}: gave a {type(given).__name__}, not a torch module")
    return given


@contextlib.contextmanager
def _arguments(where: str) -> Iterator[None]:
    """The command line is this command's: a script that parses one while it is imported sees its own name alone."""
    before, sys.argv = sys.argv, [where]
    try:
        yield
    finally:
        sys.argv = before


def _file(where: str) -> ModuleType:
    path = Path(where)
    loader = importlib.util.spec_from_file_location(path.stem, path)
    if loader is None or loader.loader is None or not path.is_file():
        raise UserError(f"{where}: no such file")
    module = importlib.util.module_from_spec(loader)
    sys.modules.setdefault(path.stem, module)
    loader.loader.exec_module(module)
    return module


def _module(where: str) -> ModuleType:
    return importlib.import_module(where)
