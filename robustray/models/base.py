"""What an architecture is: options that build a network from pixels in [0, 1] to logits."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from typing import ClassVar

from pydantic import Field

from robustray._later import nn
from robustray.data.base import DataSource
from robustray.errors import UserError
from robustray.models.given import Given


class Architecture(Given):
    """A network architecture. Normalisation is its first layer, so eps and attacks live in pixels of [0, 1].

    Its constants are frozen (Stutz et al., ICCV 2021, arXiv:2104.04448, whiten so); without `whiten` they are 0 and 1, and the
    network sees the pixels as they are, as TRADES does. Weights of the one fit the other, constants included.
    """

    kind: ClassVar[str] = "model"
    whiten: bool = Field(
        True,
        description="whether pixels are first brought to mean 0 and deviation 1 per channel of the training images",
    )
    smallest: ClassVar[int] = 1  # pixels that either side of an image needs
    randomised: ClassVar[bool] = (
        False  # whether logits in eval mode are drawn anew in every pass, from torch's generator
    )

    package: ClassVar[str | None] = None
    """What is to be installed beside robustray: an extra of its own name."""

    @property
    def available(self) -> bool:
        """Whether the package that it needs is installed."""
        return self.package is None or importlib.util.find_spec(self.package) is not None

    def check(self) -> None:
        """Looks whether it can be built, building nothing.

        Raises:
            UserError: a package is not installed.
        """
        if not self.available:
            raise UserError(
                f"model: {self.name} needs the package {self.package}: pip install 'robustray[{self.package}]'"
            )

    @abstractmethod
    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        """The network behind the normalisation: [B, channels, height, width] to logits [B, classes].

        Weights are drawn from torch's global generator, which the caller seeds.
        """

    @property
    def knows_pixels(self) -> bool:
        """Whether what pixels are normalised with is said by the options, and not by the data."""
        return False

    def pixels(self, data: DataSource) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel that pixels in [0, 1] are normalised with."""
        return data.statistics()

    def build(self, data: DataSource, aux_outputs: int = 0) -> nn.Module:
        """The whole model for a data source: x [B, C, H, W] in [0, 1] to logits [B, classes].

        Args:
            aux_outputs: further outputs of the last layer, for a defense that trains an auxiliary head.

        Raises:
            UserError: the images are too small for this architecture.
        """
        from robustray.models.heads import ClassLogits
        from robustray.models.normalise import Normalise

        height, width, channels = data.load("train").shape
        if min(height, width) < self.smallest:
            raise UserError(
                f"model: {self.name} needs images of at least {self.smallest}x{self.smallest} pixels, but those of "
                f"{data.name} have {height}x{width}; use a model for small images, such as small_cnn"
            )
        mean, std = self.pixels(data) if self.whiten else ([0.0] * channels, [1.0] * channels)
        network = self.network(channels, height, width, data.classes + aux_outputs)
        return nn.Sequential(Normalise(mean, std), network, *([ClassLogits(data.classes)] if aux_outputs else []))
