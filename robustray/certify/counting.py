"""What a classifier says of many noisy copies of each image: counts that bounds are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustray.judging.answers import Copies, classes_of, seeded
from robustray.numerics import numerics
from robustray.seeding import derive
from robustray.shards import Store

BLOCK = 100
"""Copies whose noise is drawn from one seed, that of the image's row and of the block: no batch size changes it."""
SEED = 0
STORE = Store(
    pa.schema(
        [
            ("image", pa.int32()),  # row of the image in its split
            ("label", pa.int16()),
            ("top", pa.int16()),  # the class that most of the first copies are said to be
            ("votes", pa.int32()),  # how many of the other copies are said to be of it
            ("second", pa.int32()),  # the largest number that are said to be of another
        ]
    )
)


class Noise(NamedTuple):
    """How many noisy copies of an image there are."""

    sigma: float  # deviation in pixels of [0, 1]; copies are not clipped
    first: int  # copies that the top class is picked from
    samples: int  # others, that are counted


class Count(NamedTuple):
    """What was counted of one image: `top` was picked from other copies than `votes` and `second` were counted of."""

    top: int
    votes: int
    second: int


@torch.no_grad()
def count(model: nn.Module, x: Tensor, row: int, noise: Noise, batch: int) -> Count:
    """Picks the top class of an image and counts it.

    An answer that is not finite is counted for no class, which makes bounds wider and keeps them right.

    Args:
        model: maps pixels [B, C, H, W] to logits [B, K], in eval mode on x's device. x: [C, H, W] in [0, 1].
        row: of the image in its split, which seeds its noise. batch: copies at a time; more take more memory.
    """
    with numerics(), seeded(derive(SEED, "certify", row), x.device):  # a model may draw numbers of its own
        asked = Copies(model)
        picked = _votes(asked, x, row, "pick", noise.sigma, noise.first, batch)
        votes = _votes(asked, x, row, "count", noise.sigma, noise.samples, batch)
    top = int(picked.argmax())
    return Count(top, int(votes[top]), int(np.delete(votes, top).max()))


def _votes(
    model: nn.Module, x: Tensor, row: int, purpose: str, sigma: float, copies: int, batch: int
) -> NDArray[np.int64]:
    """[K] how many copies are said to be of each class."""
    counts = []
    for piece in noise_of(x.shape, row, purpose, copies, batch):
        logits = model(x + sigma * piece.to(x.device))
        said = classes_of(logits)
        counts.append(torch.bincount(said[said >= 0], minlength=logits.shape[1]))
    votes: NDArray[np.int64] = torch.stack(counts).sum(0).cpu().numpy()
    return votes


def noise_of(shape: torch.Size, row: int, purpose: str, copies: int, batch: int) -> Iterator[Tensor]:
    """N(0, 1) for each copy, at most `batch` of them at a time. Drawn on the CPU: the same numbers for every device."""
    blocks, at_once = -(-copies // BLOCK), max(1, batch // BLOCK)
    for begin in range(0, blocks, at_once):
        seeds = (derive(SEED, "certify", purpose, row, block) for block in range(begin, min(begin + at_once, blocks)))
        drawn = [torch.randn(BLOCK, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        yield from torch.split(torch.cat(drawn)[: copies - begin * BLOCK], batch)
