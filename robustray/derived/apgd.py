"""APGD with a radius and a number of iterations of each image's own: what mixing networks are trained against."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from robustray.attacks.norms import Norm, length, per_image

Loss = Callable[[Tensor], Tensor]
"""What is climbed: x' [B, C, H, W] to [B]."""
_MOMENTUM, _RISES = 0.75, 0.75
_FIRST, _LESS, _LEAST = 0.22, 0.03, 0.06


def apgd(loss: Loss, x: Tensor, eps: Tensor, iterations: int, norm: Norm, generator: torch.Generator) -> Tensor:
    """x' [B, C, H, W] where the loss was largest: Auto-PGD (Croce and Hein, ICML 2020, arXiv:2003.01690, Algorithm 1).

    From a random point of the ball, step 2 eps, halved per image at checkpoints where fewer than three quarters of the steps
    since the last one rose, or where neither step nor maximum changed; it then goes on from the best point.

    Args:
        x: clean images in [0, 1]. eps: radii [B]. iterations: at least 1, of all images.
        norm: linf or l2.
    """
    if norm == "l1":
        raise ValueError("this APGD knows linf and l2")
    radius = per_image(eps, x)
    draw = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
    start = draw / per_image(length(draw, norm), x).clamp_min(1e-12) * radius
    here = best = before = (x + start).clamp(0, 1)
    value, slope = _asked(loss, here)
    best_value, best_slope = value, slope
    size = 2 * radius
    marks = _checkpoints(iterations)
    rises, since = torch.zeros_like(eps), 0
    halved, best_then = torch.ones_like(eps, dtype=torch.bool), best_value
    for step in range(iterations):
        ahead = _project(here + size * _direction(slope, norm), x, radius, norm)
        kept = _MOMENTUM if step else 1.0
        after = _project(here + kept * (ahead - here) + (1 - kept) * (here - before), x, radius, norm)
        before, here = here, after
        new, slope = _asked(loss, here)
        rises, since = rises + (new > value), since + 1
        value = new
        better = value > best_value
        best = torch.where(per_image(better, x), here, best)
        best_value = torch.where(better, value, best_value)
        best_slope = torch.where(per_image(better, x), slope, best_slope)
        if step + 1 in marks:
            few = rises < _RISES * since
            stuck = ~halved & (best_value <= best_then)
            halved, best_then = few | stuck, best_value
            size = torch.where(per_image(halved, x), size / 2, size)
            here = torch.where(per_image(halved, x), best, here)
            slope = torch.where(per_image(halved, x), best_slope, slope)
            rises, since = torch.zeros_like(eps), 0
    return best.detach()


def _asked(loss: Loss, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        values = loss(x)
        (slope,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), slope


def _direction(slope: Tensor, norm: Norm) -> Tensor:
    return slope.sign() if norm == "linf" else slope / per_image(length(slope, "l2"), slope).clamp_min(1e-12)


def _project(moved: Tensor, x: Tensor, radius: Tensor, norm: Norm) -> Tensor:
    if norm == "linf":
        return torch.minimum(torch.maximum(moved, x - radius), x + radius).clamp(0, 1)
    delta = moved.clamp(0, 1) - x
    away = per_image(length(delta, norm), x).clamp_min(1e-12)
    return (x + delta * (radius / away).clamp_max(1)).clamp(0, 1)


def _checkpoints(iterations: int) -> set[int]:
    """After how many steps sizes are looked at: shares .22, .41, .57, ... of all, at least .06 apart."""
    places, share, gap = set[int](), 0.0, _FIRST
    while share < 1:
        share += gap
        places.add(math.ceil(round(share * iterations, 9)))  # .57 of 100 is 57
        gap = max(gap - _LESS, _LEAST)
    return places
