"""Randomised smoothing: a classifier trained with Gaussian noise, and its majority vote."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from robustray._later import nn, torch
from robustray.data.base import DataSource
from robustray.models.base import Architecture
from robustray.models.small_cnn import SmallCnn
from robustray.registry import Count, Real, Registered, register


@register
class NoiseSmoothed(Architecture):
    """Randomised smoothing (Cohen et al., ICML 2019, arXiv:1902.02918): what most noisy copies of an image are said to be.

    In training mode each image has Gaussian noise of `sigma` added after its augmentations, not clipped, drawn anew in every
    pass; Cohen et al. train with `defense: natural`. In eval mode the class is that of most of `samples` noisy copies, ties by
    their mean probability; logits are logs of shares of votes. Votes have no gradient, so that of the mean probability stands
    in for theirs, as Salman et al. (NeurIPS 2019, arXiv:1906.04584) attack. A pass in eval mode is `samples` of the base.

    The noise comes from torch's generator, so the same image gets different answers: a judgement finds the model to be
    randomised, and only version `rand` judges it.
    """

    name: Literal["noise_smoothed"] = "noise_smoothed"
    base: Annotated[Architecture, Registered("model", but=("noise_smoothed",))] = Field(
        SmallCnn(), description="the network that votes"
    )
    sigma: Real = Field(
        0.25, gt=0, le=10, description="deviation of the noise in pixels of [0, 1]; 0.12, 0.25, 0.5 and 1 are published"
    )
    samples: Count = Field(16, ge=1, le=100_000, description="noisy copies of each image that vote")

    randomised: ClassVar[bool] = True

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        """The vote over inputs that are pixels themselves."""
        from robustray.models.noise import NoiseVote

        inner = self.base.network(channels, height, width, classes)
        return NoiseVote(inner, torch.full((channels, 1, 1), float(self.sigma)), self.samples, classes)

    def build(self, data: DataSource, aux_outputs: int = 0) -> nn.Module:
        """The base's model for a data source, its network voting; raises as that of the base."""
        from robustray.models.noise import NoiseVote
        from robustray.models.normalise import Normalise

        model = self.base.build(data, aux_outputs)
        assert isinstance(model, nn.Sequential)
        normalise, inner = model[0], model[1]
        assert isinstance(normalise, Normalise)
        model[1] = NoiseVote(inner, self.sigma / normalise.std, self.samples, data.classes)
        return model

    @property
    def knows_pixels(self) -> bool:
        return self.base.knows_pixels
