"""LeNet-5 (LeCun et al., 1998) with ReLU and max-pooling: the network that small MNIST studies use."""

from __future__ import annotations

from torch import nn


def lenet() -> nn.Module:
    """Pixels [B, 1, 28, 28] in [0, 1] to logits [B, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
