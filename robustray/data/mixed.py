"""Labelled images on the device and others in a file, drawn into one batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robustray.data.device import DeviceImages
from robustray.data.images import Images
from robustray.seeding import derive


class MixedImages:
    """Images by row: labelled ones first, then those of the file. Rows are on the host, where the file is."""

    def __init__(self, own: DeviceImages, other: Images) -> None:
        self.own = own
        self.images = torch.from_numpy(other.images)
        self.labels = torch.from_numpy(other.labels)

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """x float32 [B, C, H, W] in [0, 1] and y int64 [B] on the device, of rows int64 [B] on the host."""
        device = self.own.labels.device
        mine = rows < len(self.own)
        x, y = self.own.batch(rows[mine])
        picked = rows[~mine] - len(self.own)
        pixels, labels = self._moved(self.images[picked], device), self._moved(self.labels[picked], device)
        place = self._moved(torch.cat([mine.nonzero()[:, 0], (~mine).nonzero()[:, 0]]).argsort(), device)
        x = torch.cat([x, pixels.permute(0, 3, 1, 2).to(x.dtype).div_(255)])
        return x[place].contiguous(), torch.cat([y, labels])[place]

    def others(self, rows: Tensor) -> Tensor:
        """Boolean [B] on the device: which rows are of the file."""
        return self._moved(rows >= len(self.own), self.own.labels.device)

    @staticmethod
    def _moved(values: Tensor, device: torch.device) -> Tensor:
        """To the device without waiting for it: from pinned memory."""
        return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def mixed_order(
    seed: int, epoch: int, order: Callable[[int], Tensor], *, own: int, other: int, steps: int, size: int, drawn: int
) -> Tensor:
    """Rows of every batch of an epoch, int64 [steps * size]: a function of seed and epoch, so it needs no state.

    Args:
        order: number -> a permutation of the `own` labelled rows; one after the other they make one endless list, which
            epochs read on from where the last one stopped, size - drawn rows per batch.
        other: rows of the file, counted on from the labelled ones; `drawn` per batch, uniform with replacement.
    """
    each = size - drawn
    begin, end = epoch * steps * each, (epoch + 1) * steps * each
    first = begin // own
    listed = torch.cat([order(number) for number in range(first, (end - 1) // own + 1)])
    labelled = listed[begin - first * own : end - first * own].view(steps, each)
    stream = torch.Generator().manual_seed(derive(seed, "mix", epoch))
    others = own + torch.randint(0, other, (steps, drawn), generator=stream)
    rows = torch.cat([labelled, others], 1)
    shuffled = torch.rand(steps, size, generator=stream).argsort(1)  # some defenses split a batch by place
    return rows.gather(1, shuffled).flatten()
