"""Activation functions by name."""

from __future__ import annotations

from typing import Literal

from robustray._later import nn

ActivationName = Literal["relu", "silu", "gelu", "mish", "softplus", "elu", "leaky_relu", "tanh"]


def activation(name: ActivationName) -> nn.Module:
    """The activation of a name, elementwise.

    silu x * sigmoid(x) (Swish), gelu x * Phi(x), mish x * tanh(log(1 + exp(x))), softplus log(1 + exp(10 x)) / 10, elu
    with alpha 1, leaky_relu with slope 0.1; softplus and leaky_relu as in Pang et al. (ICML 2022, arXiv:2202.10103).
    """
    match name:
        case "relu":
            return nn.ReLU(inplace=True)  # of a normalised copy that nobody else reads; a third of the memory
        case "silu":
            return nn.SiLU()
        case "gelu":
            return nn.GELU()
        case "mish":
            return nn.Mish()
        case "softplus":
            return nn.Softplus(beta=10)
        case "elu":
            return nn.ELU()
        case "leaky_relu":
            return nn.LeakyReLU(0.1)
        case "tanh":
            return nn.Tanh()
