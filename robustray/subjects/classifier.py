"""Loads any classifier from a few words: a trial, a checkpoint, a factory, plain weights, the model zoo of RobustBench."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import yaml
from torch import nn

from robustray.data.base import DataSource
from robustray.errors import UserError, nearest
from robustray.models.base import Architecture
from robustray.options.choose import choose
from robustray.subjects.trial import load_model
from robustray.training import checkpoints
from robustray.trial import TrialConfig

ZOO = "zoo:"
_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_INSIDE = ("state_dict", "model_state_dict", "model", "net")  # where training scripts keep the weights in a checkpoint


@dataclass(frozen=True)
class Classifier:
    """A network from pixels [B, C, H, W] in [0, 1] to logits [B, K], and what is known of it."""

    model: nn.Module
    name: str
    weights: str  # SHA-256 of its state
    architecture: str
    trial: TrialConfig | None = None  # where it comes from a trial of ours


def load(spec: str, *, architecture: str | None, data: DataSource | None, norm: str) -> Classifier:
    """Loads a classifier onto the CPU, in eval mode and frozen.

    Args:
        spec: the folder of a trial or one of its checkpoints; `zoo:NAME` of RobustBench; `package.module:factory` or
            `file.py:factory`, called without arguments; weights as `.safetensors` or `.pt`, with an architecture.
        architecture: for plain weights: a registered model (`small_cnn`, `{name: small_cnn, width: 2}`) or a factory.
        data: the images it will see: they give an architecture of ours its shape and normalisation.
        norm: of the threat, by which RobustBench sorts its models.

    Raises:
        UserError: there is no such thing, or it is not what it seems to be.
    """
    if spec.startswith(ZOO):
        return _zoo(spec[len(ZOO) :], data, norm)
    path = Path(spec)
    if path.is_dir():
        config, model, weights = load_model(path, "cpu")
        return Classifier(model, path.absolute().name, weights, config.model.name, config)
    if path.is_file() and path.suffix != ".py":
        return _from_file(path, architecture, data)
    if ":" in spec:
        model = _frozen(_factory(spec))
        return Classifier(model, spec.rpartition(":")[2], _hash(model), type(model).__name__)
    if path.suffix == ".py":
        raise UserError(f"{spec}: say which function makes the network, as in {spec}:make")
    raise UserError(
        f"{spec}: no such file or folder; a model is a trial's folder, a checkpoint (.pt, .safetensors), zoo:NAME, or "
        "package.module:factory"
    )


def _from_file(path: Path, architecture: str | None, data: DataSource | None) -> Classifier:
    if path.suffix == ".safetensors":
        import safetensors.torch

        try:
            state: dict[str, Any] = safetensors.torch.load_file(path)
        except Exception as error:
            raise UserError(f"{path}: not a safetensors file ({_line(error)})") from None
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(f"{path}: not a checkpoint of tensors and plain values ({_line(error)})") from None
        if isinstance(state, dict) and {"config", "average"} <= set(state):
            return _checkpoint(path)
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, not a mapping of names to tensors")
    state = next((state[key] for key in _INSIDE if isinstance(state.get(key), dict)), state)
    state = {name.removeprefix("module."): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    if architecture is None:
        raise UserError(f"{path}: only weights; say what network they belong to with --architecture")
    model = _build(architecture, data)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{path}: the weights do not fit {architecture} ({_line(error, 1)})") from None
    return Classifier(_frozen(model), path.stem, _hash(model), architecture)


def _checkpoint(path: Path) -> Classifier:
    """A checkpoint of a trial: its averaged weights, the ones that are judged."""
    try:
        state = checkpoints.load(path)
    except checkpoints.DamagedCheckpoint as error:
        raise UserError(str(error)) from None
    config = TrialConfig.model_validate(yaml.safe_load(state["config"]))
    with torch.random.fork_rng(devices=[]):
        model = config.model.build(config.judge.data, config.defense.aux_outputs)
    model.load_state_dict(state["average"])
    return Classifier(
        _frozen(model), f"{path.absolute().parent.name}-{path.stem}", _hash(model), config.model.name, config
    )


def _build(architecture: str, data: DataSource | None) -> nn.Module:
    if ":" in architecture and not architecture.lstrip().startswith("{"):
        return _factory(architecture)
    chosen = choose("model", architecture, "--architecture")
    assert isinstance(chosen, Architecture)
    if data is None:
        raise UserError("--architecture: a network of ours needs --data for its shape and normalisation")
    with torch.random.fork_rng(devices=[]):
        return chosen.build(data)


def _factory(spec: str) -> nn.Module:
    """Calls `package.module:name` or `file.py:name`; what comes back must be a module.

    The same in every process and life of the command: torch is seeded, for networks whose weights are drawn.
    """
    where, _, name = spec.rpartition(":")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = _file(where) if where.endswith(".py") else _module(where)
            if not hasattr(module, name):
                known = [known for known in vars(module) if not known.startswith("_")]
                raise UserError(f"{spec}: {where} has no {name!r}; {nearest(name, known)}")
            make: Any = getattr(module, name)
            made = make if isinstance(make, nn.Module) else make()
    except UserError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise UserError(f"{spec}: {type(error).__name__}: {_line(error)}") from None
    if not isinstance(made, nn.Module):
        raise UserError(f"{spec}: gave a {type(made).__name__}, not a torch module")
    return made


def _file(where: str) -> ModuleType:
    path = Path(where)
    loader = importlib.util.spec_from_file_location(path.stem, path)
    if loader is None or loader.loader is None or not path.is_file():
        raise UserError(f"{where}: no such file")
    if (beside := str(path.absolute().parent)) not in sys.path:
        sys.path.append(beside)  # files beside it that it imports; at the end, so that none of them hides a package
    module = importlib.util.module_from_spec(loader)
    sys.modules.setdefault(path.stem, module)
    loader.loader.exec_module(module)
    return module


def _module(where: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # a module beside the user, as python -m would find it
    return importlib.import_module(where)


def _zoo(name: str, data: DataSource | None, norm: str) -> Classifier:
    """A model of RobustBench, downloaded by RobustBench itself into ./models where it is not there yet."""
    try:
        from robustbench.utils import load_model as load_zoo
    except ImportError as error:
        raise UserError(
            f"{ZOO}{name}: the model zoo needs robustbench ({error}): "
            "pip install git+https://github.com/RobustBench/robustbench"
        ) from None
    if data is None:
        raise UserError(f"{ZOO}{name}: say which --data its models were trained on")
    try:
        model = load_zoo(model_name=name, dataset=data.name, threat_model=_NORMS[norm])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{ZOO}{name}: RobustBench has no such model for {data.name} and {_NORMS[norm]} ({error})"
        ) from None
    except Exception as error:  # a download, a package of its own
        raise UserError(
            f"{ZOO}{name}: RobustBench could not load it ({type(error).__name__}: {_line(error)})"
        ) from None
    return Classifier(_frozen(model), name, _hash(model), type(model).__name__)


def _frozen(model: nn.Module) -> nn.Module:
    return model.cpu().float().eval().requires_grad_(False)


def _hash(model: nn.Module) -> str:
    return checkpoints.weights_hash(model.state_dict())


def _line(error: Exception, at: int = 0) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return lines[min(at, len(lines) - 1)]
