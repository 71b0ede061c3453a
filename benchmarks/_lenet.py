"""LeNet for MNIST, as the adversarial training literature uses it: two convolutions, two linear layers."""

from __future__ import annotations

from torch import nn


def lenet() -> nn.Module:
    """Pixels [B, 1, 28, 28] in [0, 1] to logits [B, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )
