"""What a model says of images, the same at every call whatever it draws inside."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


class Copies(nn.Module):
    """A model as attacks ask it: given copies, so that one that writes into an image spoils neither a caller's nor its own
    next answer, and answering in float32, whatever precision it computes in: attacks mix answers with their own numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        """Args: model: maps pixels [B, C, H, W] in [0, 1] to logits [B, K]."""
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, K] in float32; gradients reach x through the copy."""
        logits: Tensor = self.model(x.clone())
        return (logits.clone() if logits.is_inference() else logits).float()  # none that attacks may not write into


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers inside the model, of torch, numpy or Python, are a function of the seed.

    The caller's states are untouched. A generator of the model's own, seeded by nobody, is out of reach: see `identity`.
    """
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 (what models draw from)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002


def classes_of(logits: Tensor) -> Tensor:
    """The class [B] that logits [B, K] say, -1 where one is NaN: `argmax` takes a NaN for the largest, which may be right."""
    return torch.where(logits.isnan().any(1), -1, logits.argmax(1))


def votes(model: nn.Module, x: Tensor, y: Tensor, passes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The class [B] that most passes give, the fraction [B] of passes that give the label y [B], and which images [B] had
    an answer that is not finite in some pass. A NaN is never right; an infinite logit is, where it is the label's.
    """
    broken = torch.zeros_like(y, dtype=torch.bool)
    classes = []
    with seeded(seed, x.device), torch.no_grad():
        for _ in range(passes):
            logits = model(x)
            classes.append(classes_of(logits))
            broken |= ~logits.isfinite().all(1)
    said = torch.stack(classes)
    return said.mode(0).values, (said == y).float().mean(0), broken
