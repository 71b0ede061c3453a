"""Data sources (one file each), splits, mixes, and augmentation on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.data.augment import Augmentation, Crop, Cutout, Flip
    from robustray.data.base import DataSource
    from robustray.data.cifar10 import Cifar10
    from robustray.data.cifar100 import Cifar100
    from robustray.data.cutmix import CutMix
    from robustray.data.digits import Digits
    from robustray.data.fashion_mnist import FashionMnist
    from robustray.data.image_folder import ImageFolder
    from robustray.data.images import Images
    from robustray.data.mix import Generated, Mix, PseudoLabelled
    from robustray.data.mnist import Mnist
    from robustray.data.npz import Npz
    from robustray.data.policies import AutoAugment, RandAugment, TrivialAugment
    from robustray.data.restricted_imagenet import RestrictedImageNet
    from robustray.data.spatial import Rotation, Translation
    from robustray.data.svhn import Svhn
    from robustray.data.tiny_imagenet import TinyImageNet

__all__ = [
    "Augmentation",
    "AutoAugment",
    "Cifar10",
    "Cifar100",
    "Crop",
    "CutMix",
    "Cutout",
    "DataSource",
    "Digits",
    "FashionMnist",
    "Flip",
    "Generated",
    "ImageFolder",
    "Images",
    "Mix",
    "Mnist",
    "Npz",
    "PseudoLabelled",
    "RandAugment",
    "RestrictedImageNet",
    "Rotation",
    "Svhn",
    "TinyImageNet",
    "Translation",
    "TrivialAugment",
]

__getattr__ = lazy(
    __name__,
    {
        "Augmentation": "augment",
        "AutoAugment": "policies",
        "Cifar10": "cifar10",
        "Cifar100": "cifar100",
        "Crop": "augment",
        "CutMix": "cutmix",
        "Cutout": "augment",
        "DataSource": "base",
        "Digits": "digits",
        "FashionMnist": "fashion_mnist",
        "Flip": "augment",
        "Generated": "mix",
        "ImageFolder": "image_folder",
        "Images": "images",
        "Mix": "mix",
        "Mnist": "mnist",
        "Npz": "npz",
        "PseudoLabelled": "mix",
        "RandAugment": "policies",
        "RestrictedImageNet": "restricted_imagenet",
        "Rotation": "spatial",
        "Svhn": "svhn",
        "TinyImageNet": "tiny_imagenet",
        "Translation": "spatial",
        "TrivialAugment": "policies",
    },
)
