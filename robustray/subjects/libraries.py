"""Models that libraries publish with weights of their own: torchvision's and timm's, by name."""

from __future__ import annotations

import importlib.util
from typing import Any

from torch import nn

from robustray.errors import UserError, nearest
from robustray.models.normalise import Normalise
from robustray.plain import line
from robustray.subjects.classifier import Classifier

TORCHVISION, TIMM = "torchvision:", "timm:"
PREFIXES = TORCHVISION, TIMM
_IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
"""ImageNet's mean and deviation per channel, with which torchvision's weights were trained that say no other."""


def model(spec: str) -> Classifier:
    """`torchvision:NAME[@WEIGHTS]` or `timm:NAME`, with the weights that come with it and the normalisation they want.

    Pixels in [0, 1] are normalised by the first layer; they are not resized: images must have the size that they are to be
    judged at. The library itself fetches weights where they are not there yet. torchvision has several for many networks
    (`resnet50@IMAGENET1K_V2`); the best known ones by its own account are taken where none are named, and timm names them
    in its names (`resnet50.a1_in1k`).

    Raises:
        UserError: the library is not installed, has no such model or weights, or they cannot be fetched.
    """
    library = spec.partition(":")[0]
    if importlib.util.find_spec(library) is None:
        raise UserError(f"{spec}: needs the package {library}: pip install {library}")
    name = spec.partition(":")[2]
    network, (mean, std) = _torchvision(spec, name) if spec.startswith(TORCHVISION) else _timm(spec, name)
    return Classifier.of(nn.Sequential(Normalise(mean, std), network), name, type(network).__name__)


def _torchvision(spec: str, name: str) -> tuple[nn.Module, tuple[list[float], list[float]]]:
    from torchvision import models  # type: ignore[import-untyped]

    name, _, wanted = name.partition("@")
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(f"{spec}: torchvision has no such classifier; {nearest(name, known)}")
    published = models.get_model_weights(name)
    if wanted and wanted not in published.__members__:
        raise UserError(f"{spec}: {name} has no weights {wanted!r}; {nearest(wanted, published.__members__)}")
    weights = published[wanted or "DEFAULT"]
    try:
        network = models.get_model(name, weights=weights)
    except Exception as error:  # a download
        raise UserError(
            f"{spec}: torchvision could not fetch its weights ({type(error).__name__}: {line(error)})"
        ) from None
    steps: Any = weights.transforms()
    return network, (list(getattr(steps, "mean", _IMAGENET[0])), list(getattr(steps, "std", _IMAGENET[1])))


def _timm(spec: str, name: str) -> tuple[nn.Module, tuple[list[float], list[float]]]:
    import timm

    if ":" not in name and not timm.is_model(name.partition(".")[0]):  # hf-hub:NAME and local-dir:PATH are timm's own
        near = nearest(name.partition(".")[0], timm.list_models())
        raise UserError(f"{spec}: timm has no such model; {near if near.startswith('did') else 'timm.list_models()'}")
    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # a download, or a network without weights
        raise UserError(f"{spec}: timm could not give its weights ({type(error).__name__}: {line(error)})") from None
    wanted = network.pretrained_cfg
    return network, (list(wanted["mean"]), list(wanted["std"]))
