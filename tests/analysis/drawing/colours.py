"""How colours look: in CIELAB, in grey, to eyes that lack a cone, and against each other."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
VISION: Mapping[str, Array] = {
    name: np.array(rows).reshape(3, 3)
    for name, rows in {
        "normal": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        "protanopia": [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
        "deuteranopia": [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.011820, 0.042940, 0.968881],
        "tritanopia": [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.303900],
    }.items()
}
"""Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009: severity 1, for linear RGB. Rows sum to 1, so grey stays grey."""
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
"""Of linear sRGB, white at D65."""


def rgb(colour: str) -> tuple[Array, float]:
    """`#2b5c8f`, `rgb(43, 92, 143)` or `rgba(43, 92, 143, 0.5)` as sRGB [3] in [0, 1], and its opacity."""
    if colour.startswith("#"):
        return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255, 1.0
    numbers = [float(each) for each in re.findall(r"[\d.]+", colour)]
    assert len(numbers) in (3, 4), f"no colour: {colour}"
    return np.array(numbers[:3]) / 255, numbers[3] if len(numbers) == 4 else 1.0


def linear(srgb: Array) -> Array:
    """sRGB's gamma taken off."""
    result: Array = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return result


def lab(colour: str, seen: str = "normal") -> Array:
    """CIELAB [3] of a colour as an eye sees it."""
    light = np.clip(VISION[seen] @ linear(rgb(colour)[0]), 0, 1)
    t = (_XYZ @ light) / _XYZ.sum(axis=1)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one: str, other: str, seen: str = "normal") -> float:
    """Their distance in CIELAB; about 2 can just be told apart side by side."""
    return float(np.linalg.norm(lab(one, seen) - lab(other, seen)))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio, from 1 to 21."""
    low, high = sorted(float(_XYZ[1] @ linear(rgb(each)[0])) for each in (one, other))
    return (high + 0.05) / (low + 0.05)
