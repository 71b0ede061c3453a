"""What contracts are tried on: a small network, images, a count of passes, a model that fails."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustray.models.heads import ClassLogits


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(
    *, classes: int = 5, dtype: torch.dtype = torch.float64, smooth: bool = False, seed: int = 0, aux_outputs: int = 0
) -> nn.Sequential:
    """A small network for [B, 2, 6, 6] with batch norm, whose running statistics are not those of any batch."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Softplus(beta=4) if smooth else nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * 36, classes + aux_outputs),
            *([ClassLogits(classes)] if aux_outputs else []),
        )
        norm = model[1]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    return model.to(dtype)


def batch(n: int = 6, *, classes: int = 5, dtype: torch.dtype = torch.float64, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Images [n, 2, 6, 6] with pixels all over [0, 1], both ends included, and labels [n]."""
    stream = generator(seed)
    x = (torch.rand(n, 2, 6, 6, generator=stream, dtype=dtype) * 1.2 - 0.1).clamp(0, 1)
    return x, torch.randint(0, classes, (n,), generator=stream)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Sequential:
    """A linear classifier of images [B, 1, 1, D]: logits = x @ weight.T + bias."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return nn.Sequential(nn.Flatten(), layer)


def state(model: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def flags(model: nn.Module) -> list[object]:
    """Everything about a model that an attack changes and must give back."""
    modules: list[object] = [(m.training, getattr(m, "track_running_stats", None)) for m in model.modules()]
    return modules + [parameter.requires_grad for parameter in model.parameters()]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Passes:
    """Counts passes per image through a model: a forward 1, a backward to the input 1, to the weights 1 more.

    A backward through a gradient (`second_order` of them) is a backward of its own, 2.
    """

    def __init__(self, model: nn.Module) -> None:
        self.images = 0
        self.second_order = 0
        self._reached = 0  # images whose gradient is on its way to the weights, or to the input alone
        model.register_forward_hook(self._forward)
        for last in [weight for weight in model.parameters() if weight.requires_grad][-1:]:
            last.register_hook(lambda _: self._weights())  # type: ignore[no-untyped-call]

    def _forward(self, model: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        images = len(inputs[0])
        self.images += images
        self._reached = 0
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._backward(images, gradient))  # type: ignore[no-untyped-call]

    def _backward(self, images: int, gradient: Tensor) -> None:
        self.images += images
        if gradient.requires_grad:
            gradient.register_hook(lambda _: self._again(images))  # type: ignore[no-untyped-call]
        else:
            self._reached += images

    def _weights(self) -> None:
        self.images += self._reached
        self._reached = 0

    def _again(self, images: int) -> None:
        self.second_order += 1
        self.images += 2 * images


class Boom(Exception):
    """What `Fails` raises."""


class Fails(nn.Module):
    """A model that raises at its forward number `at`, counted from 0."""

    def __init__(self, model: nn.Sequential, at: int) -> None:
        super().__init__()
        self.model = model
        self.left = at

    def forward(self, x: Tensor) -> Tensor:
        if self.left == 0:
            raise Boom
        self.left -= 1
        logits: Tensor = self.model(x)
        return logits
