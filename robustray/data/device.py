"""A split that lives on the device."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, torch
from robustray.data.images import Images


class DeviceImages:
    """Images uint8 and labels int64 [N] on a device; batches come out as float32 in [0, 1].

    Those that are mapped from a file stay in it where the device is the CPU, and their rows are fetched batch by batch;
    everywhere else they are copied to the device, a piece at a time.
    """

    def __init__(self, split: Images, device: torch.device) -> None:
        self.labels = torch.from_numpy(split.labels).to(device)
        self._rows: Tensor | None = None  # of the file
        self._filed = split.mapped and device.type == "cpu"
        if self._filed:
            self._images = torch.from_numpy(split.stored)  # [M, H, W, C]
            self._rows = None if split.rows is None else torch.from_numpy(split.rows)
        else:
            height, width, channels = split.shape
            self._images = torch.empty((len(split), channels, height, width), dtype=torch.uint8, device=device)
            if (
                channels == 1
            ):  # strides (., 1, W, 1), as a permuted map has them: by them torch picks kernels, and so bits
                self._images = self._images.view(-1, height, width, 1).permute(0, 3, 1, 2)
            done = 0
            for piece in split.pieces():
                self._images[done : done + len(piece)] = torch.from_numpy(piece).permute(0, 3, 1, 2)
                done += len(piece)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor | NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """x float32 [B, C, H, W] in [0, 1] and y int64 [B] of the given rows."""
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows)
        if isinstance(rows, Tensor):
            rows = rows.to(self.labels.device, non_blocking=True)
        if self._filed:
            pixels = self._images[rows if self._rows is None else self._rows[rows]].permute(0, 3, 1, 2)
        else:
            pixels = self._images[rows]
        kept = torch.preserve_format if pixels.is_contiguous() else torch.contiguous_format
        return pixels.to(torch.float32, memory_format=kept).div_(255), self.labels[rows]
