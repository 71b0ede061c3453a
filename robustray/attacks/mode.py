"""The state a model is in while it is attacked, and its safe return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from robustray._later import nn


@contextmanager
def attack_mode(model: nn.Module, mode: str) -> Iterator[None]:
    """Parameters frozen, every module in the attack's mode; all flags come back per module, also after an exception.

    Freezing keeps autograd from forming weight gradients: a backward pass to the input costs one forward, not two.

    Args:
        model: the model under attack.
        mode: `eval`; `train_frozen` (batch statistics, running statistics untouched); `train` (they move).
    """
    flags = [(module, module.training) for module in model.modules()]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tracked = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        model.train(mode != "eval")
        if mode == "train_frozen":
            for norm in tracked:
                norm.track_running_stats = False
        yield
    finally:
        for norm in tracked:
            norm.track_running_stats = True
        for module, training in flags:
            module.training = training
        for parameter in trainable:
            parameter.requires_grad_(True)
