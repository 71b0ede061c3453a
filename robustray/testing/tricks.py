"""Classifiers that seem more robust than they are, each by a trick that was published in earnest, and honest ones beside them.

A judge is tried on them: it flags a trick, or its attacks see through it. All are functions from pixels [B, C, H, W] in
[0, 1] to logits [B, K], by a classifier that was trained without the trick.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class DummyClasses(nn.Module):
    """Twice as many logits as classes, where class k is said by logit k or by its dummy k + K (DUCAT, Wang et al.,
    arXiv:2410.12671).

    z_k = max(u_k, u_{k + K}) for u = body(x) [B, 2 K]. Adversarial images are trained towards the dummy, so a step from a class
    leads into its own dummy, where nothing is won (the weighted attack of arXiv:2603.29182 brings 58.6 % down to 29.5 %).
    """

    def __init__(self, body: nn.Module, classes: int) -> None:
        """Args: body: gives [B, 2 K]. classes: K."""
        super().__init__()
        self.body = body
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return torch.maximum(logits[:, : self.classes], logits[:, self.classes :])


class Sparsified(nn.Module):
    """An activation without the part that is near its mean (MeanSparse, Amini et al., arXiv:2406.05927).

    a_i where |a_i - m_i| > alpha s_i, else m_i, with m, s mean and standard deviation [D] over training images: it is
    constant, and its gradient zero, wherever a small change of x would have moved it.
    """

    def __init__(self, mean: Tensor, deviation: Tensor, alpha: float) -> None:
        super().__init__()
        self.mean: Tensor
        self.threshold: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("threshold", alpha * deviation)

    def forward(self, a: Tensor) -> Tensor:
        return torch.where((a - self.mean).abs() > self.threshold, a, self.mean)

    @classmethod
    def of(cls, layers: Sequence[nn.Module], x: Tensor, alpha: float) -> nn.Sequential:
        """Layers in a row, with one of these before every ReLU; statistics are those of training images x [B, C, H, W]."""
        found: list[nn.Module] = []
        with torch.no_grad():
            for layer in layers:
                if isinstance(layer, nn.ReLU):
                    found.append(cls(x.mean(0), x.std(0), alpha))
                    x = found[-1](x)
                found.append(layer)
                x = layer(x)
        return nn.Sequential(*found)


class Quantised(nn.Module):
    """Pixels in steps of 1 / levels (thermometer and bit-depth defenses; broken by Athalye et al., ICML 2018,
    arXiv:1802.00420): a staircase, whose gradient is zero.
    """

    def __init__(self, model: nn.Module, levels: int) -> None:
        super().__init__()
        self.model = model
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x * self.levels).round() / self.levels)
        return logits


class Saturated(nn.Module):
    """Logits times a scale, as defensive distillation leaves them (broken by Carlini and Wagner, arXiv:1607.04311).

    Same classes, but where logits are about 90 apart and more, softmax in float32 is exactly one and zero, and cross-entropy
    has no gradient.
    """

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits * self.scale


class Noisy(nn.Module):
    """Gaussian noise on the pixels, drawn anew at every pass: an attack climbs one function and is asked about another."""

    def __init__(self, model: nn.Module, sigma: float) -> None:
        super().__init__()
        self.model = model
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x + self.sigma * torch.randn_like(x))
        return logits


class Stepped(nn.Module):
    """Logits in steps: nothing has a slope, but answers still tell which way to go."""

    def __init__(self, model: nn.Module, step: float) -> None:
        super().__init__()
        self.model = model
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return (logits / self.step).round() * self.step
