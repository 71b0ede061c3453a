"""Options of networks that others' published weights belong to."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.activations import ActivationName
from robustray.models.convnet import ConvNet

CONSTANTS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "mnist": ((0.5,), (0.5,)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
}
"""Mean and deviation per channel as the authors' code has them; those of the training images differ in the last digit."""


class DeepmindNet(ConvNet):
    """A network of Gowal et al. (2020, arXiv:2010.03593), under the names that its published weights have.

    Those of Gowal et al., Rebuffi et al. (2021, arXiv:2103.01946), SCORE (Pang et al., ICML 2022, arXiv:2202.10103) and
    Wang et al. (ICML 2023, arXiv:2302.04638). Strided 3x3 convolutions are padded on the right and below alone where a side
    is even, and batch norm's running statistics take 1 % of every batch.
    """

    activation: ActivationName = Field("silu", description="activation function; silu, which is Swish, is published")
    statistics: Literal["data", "cifar10", "cifar100", "mnist", "svhn", "tiny_imagenet"] = Field(
        "data",
        description="mean and deviation that pixels are normalised with: of the training images, or the constants of the "
        "authors' code for that data set, which their weights need; mnist: and two black pixels on every side",
    )

    @property
    def knows_pixels(self) -> bool:
        return self.statistics != "data"

    def pixels(self, data: DataSource) -> tuple[list[float], list[float]]:
        if self.statistics == "data":
            return super().pixels(data)
        mean, std = CONSTANTS[self.statistics]
        channels = data.load("train").shape[-1]
        if channels != len(mean):
            raise UserError(
                f"model: {self.name} with statistics: {self.statistics} needs images with {len(mean)} "
                f"channel{'s' if len(mean) > 1 else ''}, but those of {data.name} have {channels}; use statistics: data"
            )
        return list(mean), list(std)

    @abstractmethod
    def layers(self, channels: int, classes: int) -> nn.Sequential:
        """The network that the weights belong to, its layers named as theirs."""

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        network = self.layers(channels, classes)
        if self.statistics != "mnist":
            return network
        (mean,), (std,) = CONSTANTS["mnist"]
        black = nn.ConstantPad2d(2, -mean / std)  # 28x28 pixels become 32x32, in the units behind the normalisation
        return nn.Sequential(OrderedDict([("padding", black), *network.named_children()]))
