"""Accuracy under rotations and translations, and how often they change an answer."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustray._later import Tensor, nn, torch
from robustray.data.device import DeviceImages
from robustray.data.moves import Move, Moves
from robustray.data.splits import Indices
from robustray.measures.accuracy import BATCH, answers, at_rest, changed


def spatial(model: nn.Module, images: DeviceImages, rows: Indices, moves: Moves) -> dict[str, float]:
    """What turns and moves do to a model (Kamath et al., NeurIPS 2021, arXiv:2002.11318; the worst of draws and of a grid:
    Engstrom et al., ICML 2019, arXiv:1712.02779).

    With f(x) the class that is predicted, T_k x the image at draw k of K, and means over images:

        spatial_accuracy        mean over k of [f(T_k x) = y]
        spatial_worst_accuracy  [f(x) = y and f(T_k x) = y for every k]
        spatial_grid_accuracy   the same over all points of the grid, where there is one
        spatial_fooling_rate    mean over k of [f(T_k x) != f(x)], whatever the label

    An answer with a NaN is never right, and always changed. So the fall from clean accuracy to spatial accuracy is at most the
    fooling rate. `moves.passes` forwards per image; batches and calls change nothing, as in `accuracies`.

    Args:
        images: [N]. rows: int64 [N], their rows in the split they are of, which draws depend on.

    Returns:
        Fractions in [0, 1], by the names of their metrics.
    """
    counts: dict[str, Tensor] = {}
    with at_rest(model, images.labels.device), torch.no_grad():
        for begin in range(0, len(images), BATCH):
            part = slice(begin, begin + BATCH)
            x, y = images.batch(part)
            for name, each in moved_answers(model, x, y, rows[part], moves).items():
                if name != "clean_accuracy":  # of what is seen through the disc
                    counts[name] = counts.get(name, torch.zeros_like(each.sum())) + each.sum()
    every = len(images)
    shares = {name: int(count) / every for name, count in counts.items()}
    return {name: share / moves.draws if name in _PER_DRAW else share for name, share in shares.items()}


_PER_DRAW = ("spatial_accuracy", "spatial_fooling_rate")


def moved_answers(model: nn.Module, x: Tensor, y: Tensor, rows: Indices, moves: Moves) -> dict[str, Tensor]:
    """What becomes of each image [B], by metric: a number of draws for means over draws, else whether it stands."""
    plain = answers(model(moves.seen(x)))
    right, fooled, worst = torch.zeros_like(y), torch.zeros_like(y), plain == y
    for draw in range(moves.draws):
        found = answers(model(moves.seen(x, moves.drawn(rows, draw))))
        right += found == y
        fooled += changed(plain, found)
        worst &= found == y
    each = {
        "spatial_accuracy": right,
        "spatial_worst_accuracy": worst,
        "spatial_fooling_rate": fooled,
    }
    if moves.grid is not None:
        stands = plain == y
        for point in _everywhere(moves, len(x)):
            stands &= answers(model(moves.seen(x, point))) == y
        each["spatial_grid_accuracy"] = stands
    return {**each, "clean_accuracy": plain == y}


def _everywhere(moves: Moves, images: int) -> Iterator[Move]:
    for degrees, right, down in moves.points():
        yield Move(np.full(images, degrees), np.tile([right, down], (images, 1)))
