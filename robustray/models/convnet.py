"""Options that the published convolutional networks share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray.models.activations import ActivationName
from robustray.models.base import Architecture
from robustray.registry import Real

NormName = Literal["bn", "rebn", "gn", "fixed", "fixed_gn", "none"]
"""`robustray.models.normalisation` has them."""


class ConvNet(Architecture):
    """A convolutional network with normalisation, a global mean over pixels and one linear layer at the end.

    Convolutions have no biases, which normalisation would cancel, but where there is none; those start at 0. They are drawn
    from N(0, 2 / (k^2 * out)), Kaiming's fan-out (He et al., ICCV 2015) with the gain of relu, whatever the activation; the
    last layer keeps PyTorch's weights, and its bias starts at 0.
    """

    activation: ActivationName = Field("relu", description="activation function")
    norm: NormName = Field(
        "bn",
        description="normalisation: bn, of the batch; rebn, that with scales 1 + w, where decay and clipping act on w; gn, of "
        "groups of channels; fixed and fixed_gn, bn and gn without scales and shifts; none",
    )
    dropout: Real = Field(0.0, ge=0, lt=1, description="probability that a feature is dropped, where said above")
    head_bias: bool = Field(True, description="whether the last linear layer has biases")
