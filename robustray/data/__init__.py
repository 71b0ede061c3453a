"""Data sources (one file each), splits, and augmentation on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.data.augment import Augmentation, Crop, Flip
    from robustray.data.base import DataSource, Images
    from robustray.data.digits import Digits
    from robustray.data.npz import Npz

__all__ = ["Augmentation", "Crop", "DataSource", "Digits", "Flip", "Images", "Npz"]

__getattr__ = lazy(
    __name__,
    {
        "Augmentation": "augment",
        "Crop": "augment",
        "DataSource": "base",
        "Digits": "digits",
        "Flip": "augment",
        "Images": "base",
        "Npz": "npz",
    },
)
