"""How near further training images are to test images: copies of test images in what a model is trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, torch
from robustray.data.images import Images
from robustray.errors import UserError

RMS, LINF = 0.05, 16 / 255
"""Below either a pair is told: a root mean square of 13 of 255 levels, or twice the usual radius of an attack at every value.

Smooth images, a ship before a plain sky, have neighbours below `RMS` that are no copies: look at the pairs.
"""
WITHIN = 32 / 255
"""How far linf neighbours are looked for by the command; beyond it the bound by l2 leaves most pairs in."""
_TESTS, _OTHERS, _PAIRS = 1024, 2048, 4096
"""Images and pairs at a time: 16 MiB of distances."""


@dataclass(frozen=True)
class Nearest:
    """The nearest of other images to each image, by one norm; of several equally near the first."""

    index: NDArray[np.int64]  # [T], -1 where none lies within the radius that was asked for
    distance: NDArray[np.float64]  # [T], in pixels of [0, 1]; infinite there


def nearest(
    images: Images, others: Images, *, device: torch.device | None = None, within: float | None = None
) -> dict[str, Nearest]:
    """The nearest neighbours of `images` [T, H, W, C] among `others` [N, H, W, C], by `l2` and by `linf`, both exact.

    Squared l2 distances are whole numbers of levels, by one matrix product for a piece of each, exact in float64. A pair of
    linf distance r has l2 at most r sqrt(HWC), so that linf is looked at for those pairs alone that can beat the nearest one
    so far. Only pieces are in memory, and `others` may lie in a file.

    Args:
        device: where it is computed; None: the CPU.
        within: look for linf neighbours no further than this, in pixels of [0, 1]; None: however far. l2 is not limited.

    Raises:
        UserError: the images are of another shape.
    """
    if images.shape != others.shape:
        raise UserError(
            f"images of {'x'.join(map(str, images.shape))} cannot be compared with {'x'.join(map(str, others.shape))}"
        )
    place = device or torch.device("cpu")
    many, size = len(others), math.prod(images.shape)
    limit = 255 if within is None else math.floor(within * 255 + 1e-9)
    # A distance in levels and an index are one number, so that of equal distances the first image has the least.
    l2 = torch.full((len(images),), np.iinfo(np.int64).max, dtype=torch.int64, device=place)
    linf = torch.full((len(images),), (limit + 1) * max(many, 1), dtype=torch.int64, device=place)
    for start, other in _pieces(others, _OTHERS, place):
        wide = other.double()
        of_others = wide.square().sum(1)
        for at, image in _pieces(images, _TESTS, place):
            own = image.double()
            squares = own.square().sum(1)[:, None] + of_others - 2 * own @ wide.T
            rows, first = slice(at, at + len(image)), squares.argmin(1)
            nearer = squares.gather(1, first[:, None])[:, 0].long() * many + start + first
            l2[rows] = torch.minimum(l2[rows], nearer)
            every = torch.arange(len(image), device=place)
            linf[rows] = _beaten(linf[rows], image, other, every, first, start, many)
            reach = (linf[rows] // many).double().square() * size
            may = squares <= reach[:, None]
            for pairs in torch.split(may.nonzero(), _PAIRS):
                linf[rows] = _beaten(linf[rows], image, other, pairs[:, 0], pairs[:, 1], start, many)
    return {
        "l2": _found(l2, many, 255**2 * size, 0.5),
        "linf": _found(linf, many, limit, 1.0),
    }


def _pieces(images: Images, size: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Images flattened, int16 [n, HWC] so many at a time, and where each piece begins."""
    for start in range(0, len(images), size):
        rows = images.take(np.arange(start, min(start + size, len(images))))
        yield start, torch.from_numpy(rows.images).to(device, torch.int16).flatten(1)


def _beaten(best: Tensor, own: Tensor, other: Tensor, i: Tensor, j: Tensor, start: int, many: int) -> Tensor:
    """The least of distance and index as one number [T], once the pairs (i, j) have been looked at."""
    levels = (own[i] - other[j]).abs().amax(1).long()
    return best.scatter_reduce(0, i, levels * many + start + j, "amin")


def _found(best: Tensor, many: int, limit: int, power: float) -> Nearest:
    numbers = best.cpu().numpy()
    levels, index = np.divmod(numbers, max(many, 1))
    there = levels <= limit
    distance = np.where(there, levels.astype(np.float64) ** power / 255, np.inf)
    return Nearest(np.where(there, index, -1), distance)


def lines(images: Images, others: Images, found: dict[str, Nearest], what: str, shown: int = 10) -> Iterator[str]:
    """What is to be told of the neighbours of test images: the closest pairs, and a warning where there may be copies.

    Args:
        found: as `nearest` gives it. what: the others, in words. shown: how many pairs, the closest by l2 first.
    """
    size = math.sqrt(math.prod(images.shape))
    l2, linf = found["l2"], found["linf"]
    order = np.argsort(l2.distance, kind="stable")[:shown]
    for row in order:
        other = int(l2.index[row])
        same = "same label" if images.labels[row] == others.labels[other] else "another label"
        apart = f"{linf.distance[row]:.4f} (image {linf.index[row]})" if linf.index[row] >= 0 else "further away"
        distance = l2.distance[row]
        yield f"test {row}: image {other} at l2 {distance:.4f}, {distance / size:.4f} a value, {same}; by linf {apart}"
    near = (l2.distance / size < RMS) | (linf.distance < LINF)
    exact = int((l2.distance == 0).sum())
    if near.any():
        yield (
            f"warning: {int(near.sum())} of {len(images)} test images have an image in {what} nearer than {RMS:g} a value (l2) "
            f"or {round(255 * LINF)}/255 (linf), {exact} of them a copy: look at the pairs, and leave copies out, or test is "
            "trained on"
        )
