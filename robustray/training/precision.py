"""The network as training runs it: its layout in memory, its precision, and whether it is compiled."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from robustray.numerics import bears_channels_last, channels_last, plain_where_needed

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
    sound = bears_channels_last(plain_where_needed(model), x.device)
    # a GPU's fast kernels in float32 are those of the other layout
    if sound and (x.device.type == "cpu" or precision != "fp32"):
        channels_last(model, x)
    wrapped = Autocast(model) if precision == "bf16" else model
    if compiled == "off":
        _forget_others(None)
        return wrapped
    from torch._inductor import list_mode_options

    _forget_others((repr(model), x.shape, x.device, precision, compiled), recorded=compiled == "max")
    tuned = "max-autotune" if goes_back_once else "max-autotune-no-cudagraphs"
    options = list_mode_options(tuned if compiled == "max" else "default", dynamic=False)
    if not sound:  # on a CPU the compiler would take to it by itself
        options["layout_optimization"] = False
    return cast(nn.Module, torch.compile(wrapped, options=options, dynamic=False))


_kept: tuple[object, bool] = None, False  # of which network this process holds programs, and whether as CUDA graphs
_PROGRAMS = 64


def _forget_others(programs: object, *, recorded: bool = False) -> None:
    """Lets torch drop the programs of the network before, unless the next one takes the same; CUDA graphs hold for one alone.

    Torch keeps eight for all networks of a process together, and runs uncompiled without a word what comes after. A network
    takes three to six, by its attack, batch and threads: there is room for many of one. What is dropped comes back from the
    cache on disk. A network without programs (None) drops recorded ones only, for the memory that they keep.
    """
    global _kept
    if programs is None and not _kept[1]:
        return
    import torch._dynamo.config

    torch._dynamo.config.recompile_limit = max(_PROGRAMS, torch._dynamo.config.recompile_limit)
    if _kept[1] or programs != _kept[0]:
        torch._dynamo.reset()
    _kept = programs, recorded
