"""The averaged model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

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
