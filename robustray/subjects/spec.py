"""Loads any classifier from a few words: a trial, a checkpoint, a factory, plain weights, the model zoo of RobustBench."""

from __future__ import annotations

from pathlib import Path

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.given import ZOO
from robustray.subjects import derived, factory, trial, weight_files, weights, zoo
from robustray.subjects.classifier import Classifier


def load(spec: str, *, architecture: str | None, data: DataSource | None, norm: str) -> Classifier:
    """Loads a classifier onto the CPU, in eval mode and frozen.

    Args:
        spec: the folder of a trial or of a derived point, or one of a trial's checkpoints; `zoo:NAME` of RobustBench;
            `package.module:factory` or `file.py:factory`, called without arguments; weights as `.safetensors` or `.pt`, with
            an architecture.
        architecture: for plain weights: a registered model (`small_cnn`, `{name: small_cnn, width: 2}`) or a factory.
        data: the images it will see: they give an architecture of ours its shape and normalisation.
        norm: of the threat, by which RobustBench sorts its models.

    Raises:
        UserError: there is no such thing, or it is not what it seems to be.
    """
    if spec.startswith(ZOO):
        return zoo.model(spec[len(ZOO) :], data, norm)
    path = Path(spec)
    if path.is_dir():
        return in_folder(path)
    if path.is_file() and path.suffix != ".py":
        state = weight_files.read(path)
        return trial.checkpoint(path) if weight_files.whole(state) else weights.model(path, state, architecture, data)
    if ":" in spec:
        return factory.model(spec, data)
    if path.suffix == ".py":
        raise UserError(f"{spec}: say which function makes the network, as in {spec}:make")
    raise UserError(
        f"{spec}: no such file or folder; a model is a trial's folder, a checkpoint (.pt, .safetensors), zoo:NAME, or "
        "package.module:factory"
    )


def in_folder(folder: Path) -> Classifier:
    """The selected model of a trial's folder, or the derived point of one; raises as `load`."""
    return derived.load(folder) if derived.there(folder) else trial.selected(folder)
