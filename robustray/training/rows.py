"""A network of whose batches each process computes its own rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustray.training.whole_batch import Sharing, WholeBatch


class Rows(nn.Module):
    """A network f that gives all logits [B, K] of all images [B, C, H, W] to every process, each of which computes some rows.

    All processes run one and the same program on the whole batch: attack, defense, update and loss know nothing of this, and
    losses may couple images as they like. What is dear, passes through the network and back, is shared: rows of x go in, their
    logits are collected; on the way back rows of the logits' gradient go in, and the images' gradients are collected. The
    weights' gradients are each process's own, N times the part that its rows have in the whole, so that their mean over N
    processes (`Group.average_gradients`) is the gradient, also where a loss has terms of the weights besides.

    Of the passes between, batch norm and random draws look over all processes (`WholeBatch`).
    """

    def __init__(self, network: nn.Module, group: Sharing) -> None:
        super().__init__()
        self.network = network
        self.group = group
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        own = self.group.own(len(x))
        rows: Tensor = _Own.apply(x, self.group)
        count = len(rows)
        if not count:  # fewer images than processes: networks need not bear batches of none
            rows = torch.cat([rows, x[:1].detach()])
        with WholeBatch(self.group, len(x), own):
            logits: Tensor = self.network(rows)
        every: Tensor = _Every.apply(logits[:count], len(x), self.group)
        return every


class _Own(torch.autograd.Function):
    """This process's rows of what all have; back, 1/N times the gradients of all rows. It and `_Every` are each other's way
    back, so gradients can be differentiated."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, group: Sharing) -> Tensor:
        ctx.group, ctx.images = group, len(whole)
        return whole[group.own(len(whole))].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Every.apply(gradients[0], ctx.images, ctx.group) / ctx.group.size, None


class _Every(torch.autograd.Function):
    """The rows of all processes, of which this one has its own; back, N times its rows of the gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, images: int, group: Sharing) -> Tensor:
        ctx.group = group
        return group.collect(own, images)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Own.apply(gradients[0], ctx.group) * ctx.group.size, None, None
