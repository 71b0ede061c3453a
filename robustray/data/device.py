"""A split that lives on the device."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.data.base import Images


class DeviceImages:
    """Images uint8 [N, C, H, W] and labels int64 [N] on a device; batches come out as float32 in [0, 1]."""

    def __init__(self, split: Images, device: torch.device) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(split.images.transpose(0, 3, 1, 2))).to(device)
        self.labels = torch.from_numpy(split.labels).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor | NDArray[np.int64] | slice) -> tuple[Tensor, Tensor]:
        """x float32 [B, C, H, W] in [0, 1] and y int64 [B] of the given rows."""
        if isinstance(rows, np.ndarray):
            rows = torch.from_numpy(rows)
        if isinstance(rows, Tensor):
            rows = rows.to(self.images.device, non_blocking=True)
        return self.images[rows].float().div_(255), self.labels[rows]
