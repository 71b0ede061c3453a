"""Labels as the loss sees them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def probabilities(y: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Labels [B] as probabilities [B, K]: all mass on one class."""
    return F.one_hot(y, classes).to(dtype)


def noisy(y: Tensor, classes: int, share: float, generator: torch.Generator) -> Tensor:
    """Labels y, [B] or [B, K], of which each is replaced with probability `share` by a class uniform over all K.

    A replaced label is still the true one with probability 1 / K.
    """
    replaced = torch.rand(len(y), generator=generator, device=y.device) < share
    drawn = torch.randint(0, classes, (len(y),), generator=generator, device=y.device)
    if y.ndim == 1:
        return torch.where(replaced, drawn, y)
    return torch.where(replaced[:, None], probabilities(drawn, classes, y.dtype), y)
