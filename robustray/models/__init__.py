"""Architectures, one file each: options here, the `nn.Module` beside them in a file that starts with an underscore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.models.base import Architecture
    from robustray.models.cnn1 import Cnn1
    from robustray.models.cnn2 import Cnn2
    from robustray.models.deepmind_preact_resnet import DeepmindPreactResnet
    from robustray.models.deepmind_wide_resnet import DeepmindWideResnet
    from robustray.models.noise_smoothed import NoiseSmoothed
    from robustray.models.p4_cnn import P4Cnn
    from robustray.models.p4_resnet18 import P4Resnet18
    from robustray.models.preact_resnet18 import PreactResnet18
    from robustray.models.preact_resnet34 import PreactResnet34
    from robustray.models.resnet18 import Resnet18
    from robustray.models.resnet50 import Resnet50
    from robustray.models.small_cnn import SmallCnn
    from robustray.models.timm_models import Timm
    from robustray.models.torchvision_models import Torchvision
    from robustray.models.vgg16 import Vgg16
    from robustray.models.wide_resnet import WideResnet

__all__ = [
    "Architecture",
    "Cnn1",
    "Cnn2",
    "DeepmindPreactResnet",
    "DeepmindWideResnet",
    "NoiseSmoothed",
    "P4Cnn",
    "P4Resnet18",
    "PreactResnet18",
    "PreactResnet34",
    "Resnet18",
    "Resnet50",
    "SmallCnn",
    "Timm",
    "Torchvision",
    "Vgg16",
    "WideResnet",
]

__getattr__ = lazy(
    __name__,
    {
        "Architecture": "base",
        "Cnn1": "cnn1",
        "Cnn2": "cnn2",
        "DeepmindPreactResnet": "deepmind_preact_resnet",
        "DeepmindWideResnet": "deepmind_wide_resnet",
        "NoiseSmoothed": "noise_smoothed",
        "P4Cnn": "p4_cnn",
        "P4Resnet18": "p4_resnet18",
        "PreactResnet18": "preact_resnet18",
        "PreactResnet34": "preact_resnet34",
        "Resnet18": "resnet18",
        "Resnet50": "resnet50",
        "SmallCnn": "small_cnn",
        "Timm": "timm_models",
        "Torchvision": "torchvision_models",
        "Vgg16": "vgg16",
        "WideResnet": "wide_resnet",
    },
)
