"""The network as training runs it: its layout in memory, its precision, and whether it is compiled."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from robustray._numerics import channels_last

Compile = Literal["off", "default", "max"]


class Autocast(nn.Module):
    """Runs a model's layers in bfloat16 and gives its logits back in the images' own type.

    Around the network only: pixels, perturbations and losses stay float32.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.to(x.dtype)


def network(
    model: nn.Module, precision: str, compiled: Compile, x: Tensor, *, goes_back_once: bool = True
) -> nn.Module:
    """What training calls in the model's place; its weights are the model's own.

    Weights go into channels_last where convolutions are fastest in it; activations follow. Compiled, there is one program for
    attacks, whose parameters are frozen before it is traced, so that it forms no weight gradients, and one for training;
    shapes are fixed. With `max` kernels are tuned, and on CUDA each program is recorded as CUDA graphs and replayed: a few
    launches a pass instead of hundreds.

    Args:
        x: a few images, [B, C, H, W], on the model's device.
        goes_back_once: whether each pass has at most one backward pass. A graph's results, activations included, lie where
            those of the next pass will, from its backward pass on; without this nothing is recorded.
    """
    if x.device.type == "cpu" or precision != "fp32":  # a GPU's fast kernels in float32 are those of the other layout
        channels_last(model, x)
    wrapped = Autocast(model) if precision == "bf16" else model
    if compiled == "off":
        return wrapped
    tuned = "max-autotune" if goes_back_once else "max-autotune-no-cudagraphs"
    return cast(nn.Module, torch.compile(wrapped, mode=tuned if compiled == "max" else "default", dynamic=False))
