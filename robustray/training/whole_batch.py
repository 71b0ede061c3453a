"""What in a pass through a network looks at the whole batch: statistics of batch norm, and random draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DROPS = frozenset({
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, F.rrelu,
})  # fmt: skip
_LIKE = frozenset({torch.rand_like, torch.randn_like, torch.randint_like, torch.bernoulli})
_FILLS = frozenset({
    Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.random_, Tensor.exponential_,
})  # fmt: skip
_MADE = frozenset({torch.rand, torch.randn})


class Sharing(Protocol):
    """Processes that share a batch, as one of them sees it."""

    size: int

    def own(self, images: int) -> slice:
        """The rows of a batch of so many images that this process computes."""
        ...

    def add_up(self, tensor: Tensor) -> None:
        """Puts the sum over all processes in the tensor's place."""
        ...

    def collect(self, own: Tensor, images: int) -> Tensor:
        """[images, ...], of which every process gives its own rows."""
        ...


class WholeBatch(TorchFunctionMode):
    """Inside the block a network that is called on this process's rows of a batch does to them what it would do to them among
    all: batch norm in training mode takes its statistics over the batch, and dropout and other draws are made for the batch, of
    which the rows are taken. Running statistics and generators so move alike in all processes, and as in one that has it all.

    Whatever the layers are: what is looked at are torch's own functions, on tensors whose first dimension is that of the rows.

    Args:
        images: of the whole batch.
        own: this process's rows; where there are none, the network is called on one that is another's.
    """

    def __init__(self, group: Sharing, images: int, own: slice) -> None:
        super().__init__()
        self._group = group
        self._images = images
        self._counts = own.stop > own.start
        self._rows = max(1, own.stop - own.start)
        begin = min(own.start, images - self._rows)
        self._own = slice(begin, begin + self._rows)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func is F.batch_norm:
            return self._batch_norm(*args, **named)
        if func in _DROPS:
            return self._drawn(func, args, named) if named.get("training", True) else func(*args, **named)
        if func in _LIKE:
            return self._drawn(func, args, named)
        if func in _FILLS and self._is_own(args[0]):
            return args[0].copy_(func(self._whole(args[0]), *args[1:], **named)[self._own])
        if func in _MADE:
            return self._made(func, args, named)
        return func(*args, **named)

    def _is_own(self, value: object) -> bool:
        return isinstance(value, Tensor) and value.ndim > 0 and len(value) == self._rows

    def _whole(self, rows: Tensor) -> Tensor:
        """[images, ...] in the same layout, zero where the rows are others'."""
        around = self._own.start, self._images - self._own.stop
        return F.pad(rows, [0, 0] * (rows.ndim - 1) + list(around))

    def _drawn(self, func: Callable[..., Tensor], args: Sequence[Any], named: dict[str, Any]) -> Tensor:
        if not self._is_own(args[0]):
            return func(*args, **named)
        return func(self._whole(args[0]), *args[1:], **named)[self._own]

    def _made(self, func: Callable[..., Tensor], args: Sequence[Any], named: dict[str, Any]) -> Tensor:
        size = args[0] if args and isinstance(args[0], Sequence) else args
        if not size or size[0] != self._rows:
            return func(*args, **named)
        return func((self._images, *size[1:]), **named)[self._own]

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """torch's `batch_norm`, its statistics over the rows of all processes.

        Each one's mean and variance are exact to float32; n, n * mean and n * (variance + mean^2) are added up in float64,
        where the difference of the last two loses nothing of that. All of it is differentiable as often as one likes.
        """
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        own = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        var, mean = torch.var_mean(own, [0, *range(2, x.ndim)], correction=0)
        var, mean = var.double(), mean.double()
        count = x.numel() // x.shape[1] if self._counts else 0
        moments = torch.cat([count * mean, count * (var + mean.square()), mean.new_tensor([count])])
        sums: Tensor = _Sum.apply(moments, self._group)
        total = sums[-1].detach()
        mean, square = (sums[:-1] / total).chunk(2)
        var = (square - mean.square()).clamp_min(0)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((var * (total / (total - 1))).to(running_var.dtype), momentum)
        scale = (var + eps).rsqrt()
        shift = -mean * scale
        if weight is not None:
            scale, shift = scale * weight, shift * weight
        if bias is not None:
            shift = shift + bias
        shape = [1, -1, *[1] * (x.ndim - 2)]
        return torch.addcmul(shift.to(own.dtype).view(shape), own, scale.to(own.dtype).view(shape)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes, each of which goes on with it to its own rows: back, gradients are added up too."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Sharing) -> Tensor:
        ctx.group = group
        total = own.clone()
        group.add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(gradients[0], ctx.group), None
