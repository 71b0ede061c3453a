"""Exact distances between images of whole grey levels, and each image's nearest in another set of labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, torch
from robustray.attacks.norms import Norm
from robustray.data.images import Images
from robustray.data.splits import Indices

FAR = np.iinfo(np.int64).max
"""Distance where no image is allowed."""
ROUNDING = 1e-9
"""In pixels: 2 * 8/255 and sixteen grey levels are the same."""
LOOK = 256
"""Pixels that are seen before most pairs are out."""
_SPAN = 128
"""As many differences of 255 fit into an int16."""
_TILE = {"cpu": 2**18, "cuda": 2**24}
"""Distances computed at once: on a CPU they stay in its cache."""
_FEW = 256
"""Pairs that are met one by one, in few large operations."""
_PAIRS = 2**23
"""Grey levels of pairs in memory at once."""
_BLOCK = 2**25
"""Grey levels of the reference in memory at once."""


@dataclass(frozen=True)
class Allowed:
    """Which images of the reference an image may meet: those of its own label, or those of another.

    own: int64 [M], labels of the images; theirs: int64 [N], labels of the reference.
    """

    own: NDArray[np.int64]
    theirs: NDArray[np.int64]
    same: bool


@dataclass(frozen=True)
class Found:
    """[G, M] each: the distance to the nearest allowed image and its row in the reference; FAR and -1 where there is none.

    Distances are whole: grey levels in linf and l1, squares of them in l2.
    """

    distance: NDArray[np.int64]
    row: NDArray[np.int64]

    def pixels(self, norm: Norm) -> NDArray[np.float64]:
        """In pixels of [0, 1], inf where there is none."""
        whole = np.where(self.distance == FAR, np.inf, self.distance.astype(np.float64))
        return (np.sqrt(whole) if norm == "l2" else whole) / 255


def nearest(
    images: Images,
    reference: Images,
    allowed: Sequence[Allowed],
    norm: Norm,
    device: torch.device,
    *,
    tile: int | None = None,
    block: int | None = None,
) -> Found:
    """The nearest of the reference, exactly, of equally near ones the first; G answers, one for each of `allowed`.

    Every pair is met, `block` images of the reference and `tile` pairs at a time, which changes no value. In linf the pixels
    that have been seen bound a distance from below: they come in a fixed random order, and after LOOK of them pairs that
    cannot be nearest are out. In l2 distances are |a|^2 + |b|^2 - 2 a.b in float64, where whole numbers up to 2^53 are exact.
    """
    pixels = int(np.prod(images.shape))
    tile = tile or _TILE.get(device.type, _TILE["cuda"]) * (8 if norm == "l2" else 1)
    block = block or max(1, min(_BLOCK // pixels, 4096))
    order = torch.randperm(pixels, generator=torch.Generator().manual_seed(0)).to(device)
    asked = _levels(images, slice(None), device)[:, order]
    labels = [(_there(each.own, device), _there(each.theirs, device), each.same) for each in allowed]
    shape = (len(labels), len(images))
    best, row = torch.full(shape, FAR, device=device), torch.full(shape, -1, device=device)
    some = np.unique(np.linspace(0, len(reference) - 1, min(len(reference), 512)).astype(np.int64))
    for first in (True, False):  # a look at a few bounds the rest
        for rows in [some] if first else _blocks(len(reference), block):
            there = _levels(reference, rows, device)[:, order]
            turned, at = there.T.contiguous(), _there(np.arange(len(reference))[rows], device)
            for part in _blocks(len(images), max(1, tile // len(at))):
                met = torch.stack([(own[part, None] == theirs[at]) == same for own, theirs, same in labels])
                far = torch.where(met, _apart(asked[part], there, turned, met, best[:, part], norm), FAR)
                which = far.argmin(2, keepdim=True)
                value, where = far.gather(2, which)[..., 0], at[which[..., 0]]
                closer = value < best[:, part]
                best[:, part] = torch.where(closer, value, best[:, part])
                row[:, part] = torch.where(closer, where, row[:, part])
        if first:  # the first of equally near ones may come later
            best = torch.where(best < FAR, best + 1, best)
            row.fill_(-1)
    return Found(best.cpu().numpy(), row.cpu().numpy())


def _apart(a: Tensor, b: Tensor, turned: Tensor, met: Tensor, best: Tensor, norm: Norm) -> Tensor:
    """Distances int64 [m, n] of a [m, D] to b [n, D], exact wherever they are less than `best` [G, m] of a pair in `met`.

    turned: b [D, n], a row for each pixel. met: bool [G, m, n], which pairs count.
    """
    if norm == "l2":
        wide, other = a.double(), turned.double()
        return (wide.square().sum(1)[:, None] + other.square().sum(0) - 2 * (wide @ other)).long()
    if met[0].numel() <= _FEW:
        return _pairs(a, b, torch.ones_like(met[0]).nonzero(), norm).view(met[0].shape)
    mine, theirs = a.T[:, :, None].contiguous(), turned[:, None, :]  # [D, m, 1], [D, 1, n]
    if norm == "l1":
        total = torch.zeros(len(a), len(b), dtype=torch.int32, device=b.device)
        for span in _blocks(len(mine), _SPAN):
            total += _sum(mine[span], theirs[span])
        return total.long()
    seen = _largest(mine[:LOOK], theirs[:LOOK], torch.zeros(len(a), len(b), dtype=torch.uint8, device=b.device))
    if len(mine) > LOOK:
        left = ((seen < best[:, :, None]) & met).any(0).nonzero()
        if 16 * len(left) > seen.numel():  # a pair alone costs more than one among many
            return _largest(mine[LOOK:], theirs[LOOK:], seen).long()
        seen[left[:, 0], left[:, 1]] = _pairs(a, b, left, norm).byte()
    return seen.long()


def _pairs(a: Tensor, b: Tensor, pairs: Tensor, norm: Norm) -> Tensor:
    """Distances int64 [p] of pairs [p, 2] of rows, in linf or l1."""
    found = [torch.empty(0, dtype=torch.int64, device=b.device)]
    for some in (pairs[part] for part in _blocks(len(pairs), max(1, _PAIRS // a.shape[1]))):
        one, other = a[some[:, 0]], b[some[:, 1]]
        apart = torch.maximum(one, other) - torch.minimum(one, other)
        found.append(apart.amax(1).long() if norm == "linf" else apart.sum(1))
    return torch.cat(found)


def _largest(mine: Tensor, theirs: Tensor, seen: Tensor) -> Tensor:
    """max(seen, |a - b|) over some pixels, in uint8: |a - b| = max(a, b) - min(a, b)."""
    high, low = torch.empty_like(seen), torch.empty_like(seen)
    for a, b in zip(mine, theirs, strict=True):
        torch.maximum(a, b, out=high)
        torch.minimum(a, b, out=low)
        torch.maximum(seen, high.sub_(low), out=seen)
    return seen


def _sum(mine: Tensor, theirs: Tensor) -> Tensor:
    """The sum of |a - b| over at most _SPAN pixels, in int16."""
    apart = torch.empty(mine.shape[1], theirs.shape[2], dtype=torch.int16, device=theirs.device)
    total = torch.zeros_like(apart)
    for a, b in zip(mine.short(), theirs.short(), strict=True):
        torch.sub(a, b, out=apart)
        total.add_(apart.abs_())
    return total


def _blocks(count: int, size: int) -> Iterator[slice]:
    yield from (slice(start, start + size) for start in range(0, count, size))


def _levels(images: Images, rows: slice | Indices, device: torch.device) -> Tensor:
    """Grey levels uint8 [n, H W C] of some images."""
    stored = images.stored[rows if images.rows is None else images.rows[rows]]
    return torch.from_numpy(np.ascontiguousarray(stored)).to(device).flatten(1)


def _there(array: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
