"""How far apart classes are, and how robust the nearest neighbour is, on the digits (Yang et al., NeurIPS 2020, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robustray._later import nn, torch
from robustray.attacks.threats import Threat
from robustray.data.digits import Digits
from robustray.measures.base import Ground, SplitName
from robustray.measures.distances import ROUNDING
from robustray.measures.nearest_neighbour import NearestNeighbour
from robustray.measures.separation import Separation
from robustray.measures.taking import take
from robustray.toys.base import Tables

SPLITS: tuple[SplitName, ...] = ("train", "test")
EPS = 0.12
"""In linf, of what the shipped sweeps on digits defend against."""
STEPS = 61
"""Radii from 0 to 0.6."""


def run(tell: Callable[[float], None] = lambda share: None) -> Tables:
    """`distances`: of every image to a training image of another class, with random labels beside it; `certain`: by radius."""
    data, threat = Digits(), Threat(norm="linf", eps=EPS)
    distances, certain = list[dict[str, object]](), list[dict[str, object]]()
    for done, split in enumerate(SPLITS):
        rows = np.arange(len(data.load(split)))
        ground = Ground(nn.Identity(), data, split, rows, threat, data.classes, torch.device("cpu"))
        apart = take(Separation(), ground).columns
        distances += [
            {"split": split, "distance": float(own), "random_labels": float(random)}
            for own, random in zip(apart["distance"], apart["random_distance"], strict=True)
        ]
        near = take(NearestNeighbour(), ground).columns
        for radius in np.linspace(0, 0.6, STEPS):
            share = near["correct"] & (near["radius"] > radius + ROUNDING)
            certain.append({"split": split, "radius": float(radius), "share": float(share.mean())})
        tell((done + 1) / len(SPLITS))
    return {"distances": distances, "certain": certain}
