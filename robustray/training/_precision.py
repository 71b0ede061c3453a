"""The network as training runs it: its layout in memory, its precision, and whether it is compiled."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from robustray._numerics import bears_channels_last, channels_last

Compile = Literal["off", "default", "max"]


class Autocast(nn.Module):
    """Runs a model's layers in bfloat16 and gives its logits back in the images' own type.

    Around the network only: pixels, perturbations and losses stay float32. Casts of weights are not kept: each is used once,
    and inside a caller's autocast they would outlive a step of the optimiser.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16, cache_enabled=False):
            logits: Tensor = self.model(x)
        return logits.to(x.dtype)


def network(
    model: nn.Module,
    precision: str,
    compiled: Compile,
    x: Tensor,
    *,
    goes_back_once: bool = True,
    passes: object = None,
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
        passes: what decides which passes there will be, and of how many images: a trial alike needs no program of its own.
    """
    sound = bears_channels_last(model, x.device)
    if sound and (
        x.device.type == "cpu" or precision != "fp32"
    ):  # a GPU's fast float32 kernels are of the other layout
        channels_last(model, x)
    wrapped = Autocast(model) if precision == "bf16" else model
    if compiled == "off":
        return wrapped
    _forget_others((repr(model), x.shape, precision, compiled, passes), recorded=compiled == "max")
    from torch._inductor import list_mode_options

    tuned = "max-autotune" if goes_back_once else "max-autotune-no-cudagraphs"
    options = list_mode_options(tuned if compiled == "max" else "default", dynamic=False)
    if not sound:  # on a CPU the compiler would take to it by itself
        options["layout_optimization"] = False
    return cast(nn.Module, torch.compile(wrapped, options=options, dynamic=False))


_last: object = None


def _forget_others(programs: object, *, recorded: bool) -> None:
    """Lets torch drop the programs of networks that this process ran before, but for one that takes the same.

    It keeps eight for all networks together, two to four of each, and would run the third one uncompiled without a word. What
    is dropped comes back from the cache on disk. CUDA graphs are dropped always: each keeps memory, and holds for one network.
    """
    global _last
    if recorded or programs != _last:
        import torch._dynamo

        torch._dynamo.reset()
    _last = programs
