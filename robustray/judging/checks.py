"""Looks at a model before it is attacked: AutoAttack's checks, on every image and as names instead of log lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

REPEATS = 5
DRIFT = 1e-4  # largest distance between two answers of unit length
ROUNDING = 1e-5


def flags(model: nn.Module, x: Tensor) -> list[str]:
    """`randomised`, `dynamic`, `probabilities`: what holds of the model's answers to x [B, C, H, W].

    Randomised: two of five passes differ by more than 1e-4 after scaling each answer to unit length, or in a class.
    Dynamic: the forward pass calls autograd. Probabilities: all answers lie in [0, 1] and sum to one.
    """
    watch = _Autograd()
    with watch, torch.no_grad():
        answers = [model(x).float() for _ in range(REPEATS)]
    units = torch.stack([a / (a.norm(dim=1, keepdim=True) + 1e-10) for a in answers])
    apart = (units[:, None] - units[None]).norm(dim=3).amax() > DRIFT
    moved = any(not torch.equal(answers[0].argmax(1), other.argmax(1)) for other in answers[1:])
    first = answers[0]
    a_distribution = (
        (first.min() > -ROUNDING) & (first.max() < 1 + ROUNDING) & ((first.sum(1) - 1).abs() < ROUNDING).all()
    )
    told = {"randomised": bool(apart) or moved, "dynamic": watch.seen, "probabilities": bool(a_distribution)}
    return [name for name, holds in told.items() if holds]


class _Autograd(TorchFunctionMode):
    """Notices calls into autograd. AutoAttack traces every Python call instead, which debuggers and coverage do not like,
    and its counter is never reset, so that one dynamic model makes every later one of the process dynamic."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.seen |= getattr(function, "__name__", "") in {"grad", "backward"}
        return function(*args, **(kwargs or {}))
