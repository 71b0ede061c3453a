"""The geometry of linf, l2 and l1 in images: lengths, steps, projections, random starts.

Everything works per image, without a look at the device's values from the host. A NaN stays a NaN: torch's sign of NaN
is 0, which would hide a broken model behind unharmed images.
"""

from __future__ import annotations

import math
from typing import Literal

from robustray._later import Tensor, torch

Norm = Literal["linf", "l2", "l1"]
Rule = Literal["sign", "l2", "max_abs", "sparse"]
"""How a gradient becomes a step; `step` has the formulas."""

ORDER: dict[Norm, float] = {"linf": math.inf, "l2": 2, "l1": 1}
STEEPEST: dict[Norm, Rule] = {"linf": "sign", "l2": "l2", "l1": "sparse"}


def length(delta: Tensor, norm: Norm) -> Tensor:
    """||delta|| per image, [B], of [B, C, H, W]."""
    lengths: Tensor = torch.linalg.vector_norm(delta.flatten(1), ORDER[norm], dim=1)
    return lengths


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """[B] in a shape that broadcasts over [B, C, H, W]."""
    return values.view(-1, *(1 for _ in images.shape[1:]))


def step(gradient: Tensor, x_adv: Tensor, size: float, rule: Rule, density: float) -> Tensor:
    """The step that a gradient g asks for at x_adv, [B, C, H, W]; zero where the gradient is zero.

    sign     size * sign(g), length `size` in linf: steepest ascent there.
    l2       size * g / ||g||_2, steepest ascent in l2.
    max_abs  size * g / ||g||_inf.
    sparse   sign(g) * size / k on the k pixels with the largest |g|, length `size` in l1. Steepest ascent in l1 would move
             one pixel; SLIDE (Tramèr and Boneh, NeurIPS 2019, arXiv:1904.13000) moves a fraction `density` of all. What
             a pixel cannot take, as it meets the end of [0, 1], goes to the next: that is steepest ascent in ball and box
             (Croce and Hein, ICML 2021, arXiv:2103.01208), no pixel moved by more than size / k. Without it, steps are
             spent on pixels that are at their end.
    """
    if rule == "sign":
        return size * gradient.sign().add(gradient, alpha=0)
    if rule in ("l2", "max_abs"):
        tiny = torch.finfo(gradient.dtype).tiny
        unit = gradient / per_image(length(gradient, "linf"), gradient).clamp_min(tiny)  # squares must not underflow
        return size * (unit if rule == "max_abs" else unit / per_image(length(unit, "l2"), unit).clamp_min(tiny))
    slopes, room = gradient.flatten(1), torch.where(gradient > 0, 1 - x_adv, x_adv).flatten(1).clamp_min(0)
    order = slopes.abs().argsort(dim=1, descending=True)
    most = room.gather(1, order).clamp_max(size / math.ceil(density * slopes.shape[1]))
    way = (size - (most.cumsum(1) - most)).clamp_min(0).minimum(most)
    moved = torch.zeros_like(slopes).scatter(1, order, way) * slopes.sign()
    return moved.view_as(gradient).add(gradient, alpha=0)


def scaled(delta: Tensor, norm: Norm, eps: float) -> Tensor:
    """delta * min(1, eps / ||delta||): toward the centre until it is inside the ball."""
    lengths = length(delta, norm)
    shrunk = eps / lengths.clamp_min(torch.finfo(delta.dtype).tiny)  # 0 / 0 where denormals count as zero
    return delta * per_image(torch.where(lengths > eps, shrunk, 1 + 0 * lengths), delta)


def nearest(x_adv: Tensor, x: Tensor, norm: Norm, eps: float) -> Tensor:
    """The point of ball and box nearest to x_adv in the Euclidean distance, [B, C, H, W].

    With d = x_adv - x and r the way a pixel has from x to the end of [0, 1] on d's side:

    linf  |z - x| = min(|d|, eps, r).
    l2    |z - x| = min(t |d|, r), the t in [0, 1] at which the length is eps.
    l1    |z - x| = min(max(|d| - t, 0), r), the t >= 0 at which it is (Croce and Hein, ICML 2021, arXiv:2103.01208).

    The two t are exact, from sorted break points; where box and ball already hold, x_adv comes back bit for bit.
    """
    if norm == "linf":
        return x_adv.clamp(x - eps, x + eps).clamp(0, 1)
    boxed = x_adv.clamp(0, 1)
    delta = x_adv - x
    size, room = delta.abs().flatten(1), torch.where(delta > 0, 1 - x, x).flatten(1)
    if norm == "l2":
        size = torch.minimum(_radial(size, room, eps)[:, None] * size, room)
    else:
        size = torch.minimum((size - _threshold(size, room, eps)[:, None]).clamp_min(0), room)
    moved = delta.sign() * size.view_as(delta)
    inside = (x + scaled(moved, norm, eps)).clamp(0, 1)  # scaled by what the sums of a float32 leave, no more
    return torch.where(per_image(length(boxed - x, norm) <= eps, x), boxed, inside)


def _radial(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The largest t <= 1, [B], with sum min(t size, room)^2 <= eps^2; size and room [B, D], not negative.

    Sorted by where a pixel meets its end, t = room / size: between two such t the sum is filled + t^2 * rest.
    """
    meets, order = torch.where(size > 0, room / size, torch.inf).sort(dim=1)
    squares = size.gather(1, order).square()
    start = torch.zeros_like(meets[:, :1])
    filled = torch.cat([start, room.gather(1, order).square().cumsum(1)], 1)
    rest = torch.cat([squares.flip(1).cumsum(1).flip(1), start], 1)  # summed from its small end: no cancellation
    lowest = torch.cat([start, meets], 1)
    value = filled + torch.where(rest > 0, lowest.square() * rest, 0)
    last = (value <= eps**2).sum(1, keepdim=True) - 1
    left, rest = eps**2 - filled.gather(1, last), rest.gather(1, last)
    return torch.where(rest > 0, (left / rest).sqrt(), torch.inf)[:, 0].clamp_max(1)


def _threshold(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The smallest t >= 0, [B], with sum min(max(size - t, 0), room) <= eps; size and room [B, D], not negative.

    The sum is linear in t between break points: a pixel leaves 0 at t = size and meets its end at t = size - room. It is
    followed from the largest t down, so that rounding is relative to eps and not to the sum at t = 0.
    """
    points = torch.cat([size, (size - room).clamp_min(0)], 1)
    points, order = points.sort(dim=1, descending=True)
    moving = torch.where(order < size.shape[1], 1, -1).cumsum(1)  # pixels on their way below each break point
    value = torch.zeros_like(points)
    value[:, 1:] = (moving[:, :-1] * (points[:, :-1] - points[:, 1:])).cumsum(1)
    last = (value <= eps).sum(1, keepdim=True) - 1
    left = eps - value.gather(1, last)
    return (points.gather(1, last) - left / moving.gather(1, last).clamp_min(1))[:, 0].clamp_min(0)


def uniform(x: Tensor, norm: Norm, eps: float, generator: torch.Generator | None) -> Tensor:
    """A random point of ball and box, [B, C, H, W].

    linf  uniform in the ball, clamped to [0, 1] (Madry et al., ICLR 2018).
    l2    a uniform direction and a radius uniform in [0, eps], clamped to [0, 1] (Rice et al., ICML 2020).
    l1    x + n, n standard normal, projected onto ball and box (Croce and Hein, ICML 2021).
    """
    if norm == "linf":
        noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return (x + eps * (2 * noise - 1)).clamp(0, 1)
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    if norm == "l1":
        return nearest(x + noise, x, norm, eps)
    radius = eps * torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
    return (x + per_image(radius / length(noise, norm), x) * noise).clamp(0, 1)
