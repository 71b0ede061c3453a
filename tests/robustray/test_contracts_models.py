"""Every architecture keeps its contracts."""

from __future__ import annotations

import torch

from robustray.models import Architecture
from robustray.models.normalise import Normalise
from robustray.registry import parts
from robustray.testing import Contract
from robustray.testing.models import drops
from tests.robustray.made import generator, kept, made


@kept("model")
def test_contract(contract: Contract, part: Architecture) -> None:
    contract(part)


def test_every_architecture_has_dropout() -> None:
    """Its own, or that of the one that it holds."""
    for cls in parts("model").values():
        assert issubclass(cls, Architecture)
        part = made(cls)
        assert drops(getattr(part, "base", part))


def test_normalise_per_channel() -> None:
    x = torch.rand(2, 3, 4, 4, generator=generator())
    mean, std = [0.1, 0.5, 0.9], [1.0, 0.5, 2.0]
    for channel, value in enumerate(Normalise(mean, std)(x).unbind(1)):
        torch.testing.assert_close(value, (x[:, channel] - mean[channel]) / std[channel])
