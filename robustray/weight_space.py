"""Places in weight space: which tensors are weights proper, moves away from them, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from robustray._later import Tensor, nn, torch


def normalises(module: nn.Module) -> bool:
    """Whether it is a normalisation layer: of a batch, an instance, a group or a layer."""
    batch_or_instance = nn.modules.batchnorm._NormBase
    return isinstance(module, (batch_or_instance, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm))


def scales(model: nn.Module) -> set[nn.Parameter]:
    """What normalisation layers multiply with."""
    found = [getattr(module, "weight", None) for module in model.modules() if normalises(module)]
    return {weight for weight in found if isinstance(weight, nn.Parameter)}


def split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The trainable parameters as (weights, rest): biases and what belongs to normalisation layers are the rest.

    In whatever parametrisation: of a scale of 1 + w, the w is no weight either.
    """
    rest = {parameter for name, parameter in model.named_parameters() if _is_bias(name)}
    for module in model.modules():
        if normalises(module):
            rest.update(module.parameters())
    trainable = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trainable if p not in rest], [p for p in trainable if p in rest]


def _is_bias(name: str) -> bool:
    """Also where torch keeps what a bias is made of: `parametrizations.bias.original`."""
    parts = name.split(".")
    return parts[-1] == "bias" or parts[-3:-1] == ["parametrizations", "bias"]


def layers(model: nn.Module) -> list[nn.Parameter]:
    """The weights with more than one dimension: what is perturbed layer by layer."""
    return [weight for weight in split(model)[0] if weight.ndim > 1]


@contextmanager
def kept(weights: Sequence[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Gives copies of the weights as they are, and puts them back, bit for bit, also after an exception."""
    home = [weight.detach().clone() for weight in weights]
    try:
        yield home
    finally:
        with torch.no_grad():
            for weight, value in zip(weights, home, strict=True):
                weight.copy_(value)


class Clamp:
    """Keeps trainable parameters in [-reach, reach], what normalisation layers multiply with in 1 +- reach."""

    def __init__(self, model: nn.Module, reach: float) -> None:
        around = scales(model)
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.intervals: list[tuple[list[Tensor], float, float]] = [
            ([p for p in trainable if p not in around], -reach, reach),
            ([p for p in trainable if p in around], 1 - reach, 1 + reach),
        ]

    def __call__(self) -> None:
        with torch.no_grad():
            for parameters, low, high in self.intervals:
                if parameters:
                    torch._foreach_clamp_min_(parameters, low)
                    torch._foreach_clamp_max_(parameters, high)


def unit(direction: Tensor) -> Tensor:
    """direction / ||direction||_2 of a whole tensor; zero stays zero, and a NaN stays a NaN."""
    length: Tensor = torch.linalg.vector_norm(direction)
    return direction / length.clamp_min(torch.finfo(direction.dtype).tiny)
