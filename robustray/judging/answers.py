"""What a model says of images, the same at every call whatever it draws inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.training.checkpoints import weights_hash


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers inside the model are a function of the seed; the caller's state is untouched."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def votes(model: nn.Module, x: Tensor, y: Tensor, passes: int, seed: int) -> tuple[Tensor, Tensor]:
    """The class [B] that most passes give, and the fraction [B] of passes that give the label y [B]."""
    with seeded(seed, x.device), torch.no_grad():
        classes = torch.stack([model(x).argmax(1) for _ in range(passes)])
    return classes.mode(0).values, (classes == y).float().mean(0)


def answers_hash(model: nn.Module, x: Tensor) -> str:
    """A hash of what a model says of the first few images, to two decimals: equal weights need not be equal functions."""
    with attack_mode(model, "eval"), seeded(0, x.device), torch.no_grad():
        return weights_hash({"logits": model(x[:8].float()).double().round(decimals=2)})
