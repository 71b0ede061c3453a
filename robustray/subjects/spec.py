"""Loads any classifier from a few words: a trial, an export, a checkpoint, a factory, plain weights, a published model."""

from __future__ import annotations

from pathlib import Path

from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.given import ZOO
from robustray.subjects import derived, exported, factory, libraries, trial, weight_files, weights, zoo
from robustray.subjects.classifier import Classifier


def load(
    spec: str | Path, *, architecture: str | None = None, data: DataSource | None = None, norm: str = "linf"
) -> Classifier:
    """Loads a classifier onto the CPU, in eval mode and frozen.

    Args:
        spec: the folder of a trial, of a derived point or of an export, or one of a trial's checkpoints; `zoo:NAME` of
            RobustBench; `torchvision:NAME` or `timm:NAME` with the weights that come with them; `package.module:factory` or
            `file.py:factory`, called without arguments; weights as `.safetensors` or `.pt`, with an architecture.
        architecture: for plain weights: a registered model (`small_cnn`, `{name: small_cnn, width: 2}`) or a factory.
        data: the images it will see: they give an architecture of ours its shape and normalisation.
        norm: of the threat, by which RobustBench sorts its models.

    Raises:
        UserError: there is no such thing, or it is not what it seems to be.
    """
    spec = str(spec)
    if spec.startswith(ZOO):
        return zoo.model(spec[len(ZOO) :], data, norm)
    if spec.startswith(libraries.PREFIXES):
        return libraries.model(spec)
    path = Path(spec)
    if path.is_dir():
        return in_folder(path, data)
    if path.is_file() and path.suffix != ".py":
        state = weight_files.read(path)
        return trial.checkpoint(path) if weight_files.whole(state) else weights.model(path, state, architecture, data)
    if ":" in spec:
        return factory.model(spec, data)
    if path.suffix == ".py":
        raise UserError(f"{spec}: say which function makes the network, as in {spec}:make")
    raise UserError(
        f"{spec}: no such file or folder; a model is a trial's folder, an export's, a checkpoint (.pt, .safetensors), "
        "zoo:NAME, torchvision:NAME, timm:NAME, or package.module:factory"
    )


def in_folder(folder: Path, data: DataSource | None = None) -> Classifier:
    """The selected model of a trial's folder, or the one of a derived point's or an export's; raises as `load`.

    Args:
        data: as in `load`, for an export, which may have left the images of its trial behind.
    """
    if exported.there(folder):
        return exported.load(folder, data)
    return derived.load(folder) if derived.there(folder) else trial.selected(folder)
