"""Weights between weights: interpolation, batch norm's statistics anew, the loss on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.data.device import DeviceImages

_BATCH = 256
_MEASURED = 2000
"""Training images that a loss is taken on."""


def interpolated(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """sum of w_i theta_i, in float64, by name; whole numbers (counters) are the first one's.

    A share of one gives that state bit for bit, and so does a soup of equal ones: x + w (y - x) is exact there.
    """
    mixed = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            mixed[name] = first.clone()
            continue
        base = first.double()
        total = base.clone()
        for weight, state in zip(weights[1:], states[1:], strict=True):
            total += weight * (state[name].double() - base)
        mixed[name] = total.to(first.dtype)
    return mixed


@torch.no_grad()
def refresh(model: nn.Module, images: DeviceImages, batches: int) -> float:
    """Takes batch norm's running statistics anew: the plain mean over so many batches of training images, as they are.

    Returns:
        Forward passes; none where the network has no batch norm.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return 0.0
    kept = [norm.momentum for norm in norms]
    model.eval()  # dropout and the like stay off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
        norm.train()
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    seen = 0
    for begin in range(0, min(len(rows), batches * _BATCH), _BATCH):
        taken = rows[begin : begin + _BATCH]
        if len(taken) > 1 or begin == 0:
            model(images.batch(taken)[0])
            seen += len(taken)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()
    return float(seen)


def learnt_alike(model: nn.Module, mixed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether a mixture is one of its parents again: then the parent's statistics are its own."""
    return all(torch.equal(mixed[name], state[name]) for name, _ in model.named_parameters())


def shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def seen(images: DeviceImages) -> int:
    return min(len(images), _MEASURED)


@torch.no_grad()
def loss(model: nn.Module, images: DeviceImages) -> float:
    """Mean cross-entropy on the first 2,000 training images."""
    model.eval()
    total, count = 0.0, seen(images)
    for begin in range(0, count, _BATCH):
        x, y = images.batch(slice(begin, min(begin + _BATCH, count)))
        total += float(F.cross_entropy(model(x), y, reduction="sum"))
    return total / count
