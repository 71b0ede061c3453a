"""The averaged model."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustray.attacks.mode import attack_mode
from robustray.training.averaging import Averaging, NoAveraging


class Average:
    """A model and the running average of its weights; without averaging they are one and the same object."""

    def __init__(self, model: nn.Module, rule: Averaging) -> None:
        self.rule = rule
        self.live = model
        self.model = model if isinstance(rule, NoAveraging) else copy.deepcopy(model).requires_grad_(False)
        self._weights: list[Tensor] = list(self.model.parameters())
        self._live_weights: list[Tensor] = list(model.parameters())
        # statistics in one launch; counters of batches, of another type, would make all of them go one by one
        kinds = {buffer.dtype for buffer in model.buffers()}
        self._buffers = [
            tuple([buffer for buffer in each.buffers() if buffer.dtype == kind] for each in (self.model, model))
            for kind in kinds
        ]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights of optimiser step 1, 2, ... (counted after the step) into the average; buffers are copied."""
        if self.model is self.live:
            return
        torch._foreach_lerp_(self._weights, self._live_weights, 1 - self.rule.decay_at(step))
        for kept, now in self._buffers:
            torch._foreach_copy_(kept, now)

    @property
    def estimates(self) -> bool:
        """Whether there are statistics to `estimate`, and the rule asks for it."""
        return self.rule.estimates and bool(self._norms())

    @torch.no_grad()
    def estimate(self, batches: Iterable[Tensor], network: nn.Module | None = None) -> None:
        """Sets batch norm's running statistics to their means over batches of images, [B, C, H, W] each, all of one size.

        Dropout is off, as it will be where the statistics are used.

        Args:
            network: what to call in the model's place, whose weights are the model's; the model itself when None.
        """
        called = network or self.model
        norms = self._norms()
        momenta = [norm.momentum for norm in norms]
        calls = dict.fromkeys(norms, 0)

        def count(norm: _BatchNorm, _: object) -> None:
            calls[norm] += 1
            # a cumulative mean; for None each layer would ask the device for the number
            norm.momentum = 1 / calls[norm]

        hooks = [norm.register_forward_pre_hook(count) for norm in norms]
        try:
            with attack_mode(self.model, "eval"):
                for norm in norms:
                    norm.reset_running_stats()
                    norm.train()
                for x in batches:
                    called(x)
        finally:
            for hook, norm, momentum in zip(hooks, norms, momenta, strict=True):
                hook.remove()
                norm.momentum = momentum

    def _norms(self) -> list[_BatchNorm]:
        return [m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
