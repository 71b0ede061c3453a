"""Looks at a model before it is attacked: AutoAttack's checks, on every image and as names instead of log lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

REPEATS = 5
DRIFT = 1e-4  # largest distance between two answers of unit length
BATCH_DRIFT = 1e-3  # other kernels are chosen for another batch, and a network may compute in bfloat16 inside
ROUNDING = 1e-5


def flags(model: nn.Module, x: Tensor) -> list[str]:
    """`randomised`, `dynamic`, `probabilities`, `batch_dependent`: what holds of the model's answers to x [B, C, H, W].

    Randomised: two of five passes differ by more than 1e-4 after scaling each answer to unit length, or in a class.
    Dynamic: the forward pass calls autograd. Probabilities: all answers lie in [0, 1] and sum to one.
    Batch dependent: an image alone is answered otherwise than beside the others, by more than 1e-3 of unit length; not told
    of a randomised model, which draws anew. A batch of one is compared with itself beside its negative.
    """
    watch = _Autograd()
    with watch, torch.no_grad():
        answers = [model(x.clone()).float() for _ in range(REPEATS)]
    units = torch.stack([_unit(a) for a in answers])
    apart = (units[:, None] - units[None]).norm(dim=3).amax() > DRIFT
    moved = any(not torch.equal(answers[0].argmax(1), other.argmax(1)) for other in answers[1:])
    first = answers[0]
    randomised = bool(apart) or moved
    a_distribution = (
        (first.min() > -ROUNDING) & (first.max() < 1 + ROUNDING) & ((first.sum(1) - 1).abs() < ROUNDING).all()
    )
    told = {
        "randomised": randomised,
        "dynamic": watch.seen,
        "probabilities": bool(a_distribution),
        "batch_dependent": not randomised and _depends_on_batch(model, x, first),
    }
    return [name for name, holds in told.items() if holds]


def _unit(answers: Tensor) -> Tensor:
    """Answers [B, K] of length one; those that are not finite are zero, so that they are compared with nothing."""
    finite = answers.isfinite().all(1, keepdim=True)
    answers = torch.where(finite, answers, 0.0)
    length: Tensor = answers.norm(dim=1, keepdim=True)
    return answers / (length + 1e-10)


@torch.no_grad()
def _depends_on_batch(model: nn.Module, x: Tensor, together: Tensor) -> bool:
    """Whether the first or the last image of x [B, C, H, W] has another answer alone than in `together` [B, K]."""
    if len(x) == 1:
        alone = [together]
        together = model(torch.cat([x, 1 - x])).float()[:1]
    else:
        alone = [model(x[:1].clone()).float(), model(x[-1:].clone()).float()]
        together = together[[0, -1]]
    apart = (_unit(torch.cat(alone)) - _unit(together)).norm(dim=1).amax()
    return bool(apart > BATCH_DRIFT)


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
