"""Classes of published architectures: networks of one depth and width compare, whatever their activations are."""

from __future__ import annotations

import re

_EXACT = re.compile(r"(?P<kind>ResNet|PreActResNet|DenseNet)-(?P<depth>\d+)")
_WIDE = re.compile(r"WideResNet-(?P<depth>\d+)-(?P<width>\d+)(-PSSiLU)?")
_KINDS = {"ResNet": "resnet", "PreActResNet": "preact_resnet", "DenseNet": "densenet"}
_TRANSFORMERS = ("ViT-", "XCiT-", "Swin-", "DeiT-")
_STEM, _SPARSE = " + ConvStem", "MeanSparse "


def architecture_class(published: str) -> str:
    """The class of an architecture by its published name.

    | published | class |
    |---|---|
    | ResNet-18, ResNet-50 | resnet18, resnet50 |
    | PreActResNet-18 | preact_resnet18 |
    | WideResNet-28-10, WideResNet-28-10-PSSiLU | wide_resnet-28-10: depth and width, of any activation |
    | ViT-B, XCiT-L12, Swin-L, DeiT-S | transformer |
    | ConvNeXt-B | convnext |
    | several joined by +, with a mixing network or without | ensemble |
    | all others, WideResNet-34-R and RaWideResNet-70-16 among them | other |

    What stands before or behind a network and leaves its depth and width counts as the network: a convolutional stem
    (`ViT-B + ConvStem`), sparsified activations (`MeanSparse WideResNet-70-16`). A network with another block in its place is
    another one (`WideResNet-70-16, Neural ODE block`).
    """
    name = published.removeprefix(_SPARSE).removesuffix(_STEM)
    if " + " in name:
        return "ensemble"
    if (wide := _WIDE.fullmatch(name)) is not None:
        return f"wide_resnet-{wide['depth']}-{wide['width']}"
    if (exact := _EXACT.fullmatch(name)) is not None:
        return f"{_KINDS[exact['kind']]}{exact['depth']}"
    if name.startswith(_TRANSFORMERS):
        return "transformer"
    return "convnext" if name.startswith("ConvNeXt") else "other"
