"""Autocast around the network only: pixels, perturbations and losses stay float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Autocast(nn.Module):
    """Runs a model's layers in bfloat16 and gives its logits back in the images' own type."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.to(x.dtype)
