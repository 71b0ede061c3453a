"""Distances between two predictions, as Pang et al. (ICML 2022, arXiv:2202.10103) compare them."""

from __future__ import annotations

import math
from typing import NamedTuple

from robustray._later import F, Tensor, torch

LOG_OF_ZERO = math.log(1e-12)
"""What stands for the logarithm of a label's zeros. Only `rkl` sees it, which is infinite there without."""


class Distribution(NamedTuple):
    """Probabilities of the classes and their logarithms, [B, K] each."""

    p: Tensor
    log_p: Tensor


def of_logits(logits: Tensor) -> Distribution:
    """softmax(logits); a logarithm stays finite where its probability underflows."""
    log_p = F.log_softmax(logits, dim=1)
    return Distribution(log_p.exp(), log_p)


def of_labels(p: Tensor) -> Distribution:
    """Constant probabilities [B, K], zeros among them."""
    return Distribution(p, torch.where(p > 0, p.clamp_min(torch.finfo(p.dtype).tiny).log(), LOG_OF_ZERO))


def divergence(name: str, target: Distribution, output: Distribution, order: float = 1) -> Tensor:
    """D(output, target) per image, [B]. With p the target, q the output and m = (p + q) / 2:

    lse        sum (p - q)^2, the squared error of SCORE; at most 2.
    kl, rkl    KL(p || q) = sum p log(p / q), and KL(q || p).
    js         (KL(p || m) + KL(q || m)) / 2; at most log 2.
    l1_square  (sum |p - q|)^2.
    l2, linf   ||p - q|| in that norm; lp: in the norm of the given order.
    NAME_sqrt  the square root of NAME, its gradient 0 where it is 0; a metric for js.

    Gradients flow through both.
    """
    if name.endswith("_sqrt"):
        value = divergence(name.removesuffix("_sqrt"), target, output, order)
        tiny = torch.finfo(value.dtype).tiny
        return torch.where(value > tiny, value.clamp_min(tiny).sqrt(), 0)
    if name == "kl":
        return _kl(target, output)
    if name == "rkl":
        return _kl(output, target)
    if name == "js":
        middle = Distribution(target.p, torch.logaddexp(target.log_p, output.log_p) - math.log(2))  # p is not used
        return (_kl(target, middle) + _kl(output, middle)) / 2
    gap = output.p - target.p
    if name == "lse":
        return gap.square().sum(1)
    if name == "l1_square":
        return gap.abs().sum(1).square()
    norm: Tensor = torch.linalg.vector_norm(gap, {"l2": 2, "linf": math.inf, "lp": order}[name], dim=1)
    return norm


def _kl(p: Distribution, q: Distribution) -> Tensor:
    return (p.p * (p.log_p - q.log_p)).sum(1)
