"""One batch as an update sees it, on models of one's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.defenses.step import Loss
from robustray.training.randomness import Randomness
from robustray.training.updates import Minibatch

THREAT = Threat(eps=0.1)


def minibatch(
    model: nn.Module,
    x: Tensor,
    value: Callable[[Tensor], Tensor],
    *,
    attack: Callable[[], Tensor] | None = None,
    descend: Callable[[], None] | None = None,
    threat: Threat = THREAT,
    seed: int = 0,
) -> Minibatch:
    """A batch whose loss at x' is `value(x')`, a scalar, and whose x' is x unless an attack makes another."""
    randomness = Randomness(seed, torch.device("cpu"))

    def gradient(x_adv: Tensor) -> Loss:
        model.zero_grad(set_to_none=True)
        loss = Loss(robust=value(x_adv))
        loss.total.backward()  # type: ignore[no-untyped-call]
        return loss

    return Minibatch(
        x,
        threat,
        attack=attack or (lambda: x),
        gradient=gradient,
        descend=descend or (lambda: None),
        rolled_back=lambda: randomness.rolled_back(model),
        generator=randomness.streams["update"],
    )


def cross_entropy(model: nn.Module, y: Tensor) -> Callable[[Tensor], Tensor]:
    """Images -> mean cross-entropy, the model in whatever mode it is in."""
    return lambda images: F.cross_entropy(model(images), y)


def slopes(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that are there now."""
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
