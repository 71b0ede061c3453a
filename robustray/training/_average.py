"""The averaged model."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from robustray.attacks._guard import attack_mode
from robustray.training.averaging import Averaging, NoAveraging


class Average:
    """A model and the running average of its weights; without averaging they are one and the same object."""

    def __init__(self, model: nn.Module, rule: Averaging) -> None:
        self.rule = rule
        self.live = model
        self.model = model if isinstance(rule, NoAveraging) else copy.deepcopy(model).requires_grad_(False)
        self._weights: list[Tensor] = list(self.model.parameters())
        self._live_weights: list[Tensor] = list(model.parameters())
        self._buffers: list[Tensor] = list(self.model.buffers())
        self._live_buffers: list[Tensor] = list(model.buffers())

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights of optimiser step 1, 2, ... (counted after the step) into the average; buffers are copied."""
        if self.model is self.live:
            return
        torch._foreach_lerp_(self._weights, self._live_weights, 1 - self.rule.decay_at(step))
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._live_buffers)

    @property
    def estimates(self) -> bool:
        """Whether there are statistics to `estimate`, and the rule asks for it."""
        return self.rule.estimates and bool(self._norms())

    @torch.no_grad()
    def estimate(self, batches: Iterable[Tensor]) -> None:
        """Sets batch norm's running statistics to their means over batches of images, [B, C, H, W] each, all of one size.

        Dropout is off, as it will be where the statistics are used.
        """
        norms = self._norms()
        momenta = [norm.momentum for norm in norms]
        with attack_mode(self.model, "eval"):
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a cumulative mean
                norm.train()
            for x in batches:
                self.model(x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def _norms(self) -> list[_BatchNorm]:
        return [m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
