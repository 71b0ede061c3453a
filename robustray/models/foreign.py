"""Networks of other libraries, made to take the images at hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from robustray.errors import UserError, line


class Dropped(nn.Linear):
    """A linear layer before which features are dropped in training; a state dict holds it as the layer it is."""

    def __init__(self, layer: nn.Linear, p: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.p = p
        self.weight = layer.weight
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, self.p, self.training))


def adapted(make: Callable[[], nn.Module], what: str, shape: tuple[int, int, int], dropout: float) -> nn.Module:
    """A network for images of a shape (channels, height, width), with dropout before its last linear layer.

    Args:
        make: the network for three channels. what: its name, for the message.

    Raises:
        UserError: images of that size are too small for it.
    """
    network = _with_channels(make(), shape[0])
    try:
        _tried(network, shape)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"model: {what} does not take images of {shape[1]}x{shape[2]} pixels ({line(error)}); use larger ones, or a "
            "model for small images"
        ) from None
    if dropout:
        name, last = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Linear)][-1]
        network.set_submodule(name, Dropped(last, dropout))
    return network


def _tried(network: nn.Module, shape: tuple[int, int, int]) -> None:
    """Runs a network on an image of shapes alone, without numbers; raises what its layers raise."""
    held = (*network.named_parameters(), *network.named_buffers())
    network.eval()
    functional_call(network, {name: each.to("meta") for name, each in held}, (torch.empty(1, *shape, device="meta"),))
    network.train()


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with a first convolution of so many channels."""
    name, first = next((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d))
    if first.in_channels != channels:
        other = nn.Conv2d(
            channels,
            first.out_channels,
            first.kernel_size,  # type: ignore[arg-type]
            first.stride,  # type: ignore[arg-type]
            first.padding,  # type: ignore[arg-type]
            bias=first.bias is not None,
        )
        nn.init.kaiming_normal_(other.weight, mode="fan_out", nonlinearity="relu")
        if other.bias is not None:
            nn.init.zeros_(other.bias)
        network.set_submodule(name, other)
    return network
