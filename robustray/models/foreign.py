"""Networks of other libraries, made to take the images at hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from robustray.errors import UserError
from robustray.plain import line


class Dropped(nn.Linear):
    """A linear layer before which features are dropped in training; a state dict holds it as the layer it is."""

    def __init__(self, layer: nn.Linear, p: float) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.p = p
        self.weight = layer.weight
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, self.p, self.training))


def tried(network: nn.Module, shape: tuple[int, int, int], what: str) -> nn.Module:
    """The network, once it has run on an image of a shape (channels, height, width) alone, without numbers.

    Args:
        what: its name, for the message.

    Raises:
        UserError: images of that size are too small for it, or of another size than the only one that it takes.
    """
    held = (*network.named_parameters(), *network.named_buffers())
    shapes = {name: each.to("meta") for name, each in held}
    network.eval()
    try:
        functional_call(network, shapes, (torch.empty(1, *shape, device="meta"),))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"model: {what} does not take images of {shape[1]}x{shape[2]} pixels ({line(error)}); use others, or a model for "
            "small images"
        ) from None
    return network.train()


def with_dropout(network: nn.Module, p: float) -> nn.Module:
    """The network with dropout before its last linear layer."""
    if p:
        name, last = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Linear)][-1]
        network.set_submodule(name, Dropped(last, p))
    return network


def with_channels(network: nn.Module, channels: int) -> nn.Module:
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
