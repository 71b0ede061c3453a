"""Architectures, one file each: options here, the `nn.Module` beside them in a file that starts with an underscore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.models.base import Architecture
    from robustray.models.small_cnn import SmallCnn

__all__ = ["Architecture", "SmallCnn"]

__getattr__ = lazy(__name__, {"Architecture": "base", "SmallCnn": "small_cnn"})
