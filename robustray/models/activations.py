"""Activation functions by name."""

from __future__ import annotations

from typing import Literal

from robustray._later import nn

ActivationName = Literal[
    "relu",
    "silu",
    "gelu",
    "mish",
    "softplus",
    "elu",
    "leaky_relu",
    "tanh",
    "selu",
    "celu",
    "sigmoid",
    "softsign",
    "leaky_tanh",
]


def activation(name: ActivationName) -> nn.Module:
    """The activation of a name, elementwise.

    silu x * sigmoid(x) (Swish), gelu x * Phi(x), mish x * tanh(log(1 + exp(x))), softplus log(1 + exp(10 x)) / 10, elu
    with alpha 1, leaky_relu with slope 0.1, selu with its published constants, celu with alpha 1.2; softplus, leaky_relu, selu
    and celu as in Pang et al. (ICML 2022, arXiv:2202.10103). softsign x / (1 + |x|); leaky_tanh tanh(x), of which a quarter
    below 0, as Stutz et al. (ICCV 2021, arXiv:2104.04448) call it; their script multiplies it by x once more.
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
        case "selu":
            return nn.SELU()
        case "celu":
            return nn.CELU(1.2)
        case "sigmoid":
            return nn.Sigmoid()
        case "softsign":
            return nn.Softsign()
        case "leaky_tanh":
            return nn.Sequential(nn.Tanh(), nn.LeakyReLU(0.25))
