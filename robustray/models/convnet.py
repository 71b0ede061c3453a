"""Options that the published convolutional networks share."""

from __future__ import annotations

from pydantic import Field

from robustray.models.activations import ActivationName
from robustray.models.base import Architecture
from robustray.registry import Real


class ConvNet(Architecture):
    """A convolutional network with batch norm, a global mean over pixels and one linear layer at the end.

    Convolutions have no biases, which batch norm would cancel. They are drawn from N(0, 2 / (k^2 * out)), Kaiming's fan-out
    (He et al., ICCV 2015) with the gain of relu, whatever the activation; the last layer keeps PyTorch's weights, and
    its bias starts at 0.
    """

    activation: ActivationName = Field("relu", description="activation function")
    dropout: Real = Field(0.0, ge=0, lt=1, description="probability that a feature is dropped, where said above")
    head_bias: bool = Field(True, description="whether the last linear layer has biases")
