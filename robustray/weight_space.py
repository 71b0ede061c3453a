"""Places in weight space: which tensors are weights proper, moves away from them, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from robustray._later import Tensor, nn, torch

Draw = Literal["ball", "sphere", "radius"]
"""How a random move is drawn; `drawn` says."""
Alike = Literal["filter", "layer", "none"]
"""What of a direction gets the length of the weights there; `alike` says."""
_INPUT_SCALING = re.compile("normali[sz]|whiten|standardi[sz]", re.IGNORECASE)
_CHANNELS = 4  # of an image at most


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


def tensors(model: nn.Module) -> list[nn.Parameter]:
    """Every parameter but those of normalisation layers, and the few numbers of a layer named after scaling the input.

    Each is a layer of its own, a bias too: the neighbourhoods of Stutz et al. (ICCV 2021, arXiv:2104.04448). Whether a
    parameter was trained is not asked: a model that is measured is frozen.
    """
    rest: set[nn.Parameter] = set()
    for module in model.modules():
        if normalises(module):
            rest.update(module.parameters())
        elif _INPUT_SCALING.search(type(module).__name__):
            rest.update(each for each in module.parameters(recurse=False) if each.numel() <= _CHANNELS)
    return [parameter for parameter in model.parameters() if parameter not in rest]


def drawn(home: Sequence[Tensor], xi: float, how: Draw, generator: torch.Generator) -> list[Tensor]:
    """A random move nu with ||nu^(l)||_2 <= xi ||w^(l)||_2 for every tensor in `home`, as `move` makes it.

    Drawn on the CPU: the same on every device.
    """
    found = []
    for weight in home:
        noise = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        u = torch.rand((), generator=generator, dtype=weight.dtype)
        found.append(move(noise.to(weight.device), u.to(weight.device), weight, xi, how))
    return found


def move(noise: Tensor, u: Tensor, weight: Tensor, xi: float, how: Draw) -> Tensor:
    """nu of one tensor of n entries, in the direction of standard normal noise: that is uniform.

    Its length over xi ||w|| is 1 for `sphere`, u^(1/n) for `ball` (nu is uniform in the ball) and u for `radius`, u a uniform
    number in [0, 1).
    """
    share = {"sphere": torch.ones_like(u), "ball": u ** (1 / weight.numel()), "radius": u}[how]
    found: Tensor = unit(noise) * (share * xi * torch.linalg.vector_norm(weight))
    return found


def projected(nu: Sequence[Tensor], home: Sequence[Tensor], xi: float) -> list[Tensor]:
    """The nearest move with ||nu^(l)||_2 <= xi ||w^(l)||_2 for every tensor: nu^(l) min(1, xi ||w^(l)|| / ||nu^(l)||)."""
    found = []
    for move, weight in zip(nu, home, strict=True):
        length, most = torch.linalg.vector_norm(move), xi * torch.linalg.vector_norm(weight)
        found.append(torch.where(length > most, move * (most / length), move))
    return found


def ascended(
    nu: Sequence[Tensor], gradients: Sequence[Tensor | None], home: Sequence[Tensor], step: float
) -> list[Tensor]:
    """nu^(l) + step ||w^(l)||_2 g^(l) / ||g^(l)||_2: steepest ascent, lengths relative to the weights of each tensor."""
    return [
        move if gradient is None else move + step * torch.linalg.vector_norm(weight) * unit(gradient)
        for move, gradient, weight in zip(nu, gradients, home, strict=True)
    ]


def alike(direction: Sequence[Tensor], home: Sequence[Tensor], what: Alike) -> list[Tensor]:
    """A direction with l2 lengths like those of the weights: nu ||w|| / ||nu||.

    Taken for each filter (Li et al., NeurIPS 2018, arXiv:1712.09913; a row of a matrix; a vector as a whole), for each
    `layer`, or once for all tensors together (`none`: their proportions stay as they are).
    """
    if what == "none":
        length = torch.stack([torch.linalg.vector_norm(weight) for weight in home]).norm()
        whole = torch.stack([torch.linalg.vector_norm(move) for move in direction]).norm()
        return [move * (length / whole.clamp_min(torch.finfo(move.dtype).tiny)) for move in direction]
    found = []
    for move, weight in zip(direction, home, strict=True):
        over = tuple(range(1, move.ndim)) if what == "filter" and move.ndim > 1 else tuple(range(move.ndim))
        length, of = (torch.linalg.vector_norm(each, dim=over, keepdim=True) for each in (weight, move))
        found.append(move * (length / of.clamp_min(torch.finfo(move.dtype).tiny)))
    return found


def place(weights: Sequence[nn.Parameter], home: Sequence[Tensor], nu: Sequence[Tensor], scale: float = 1.0) -> None:
    """Puts the weights at home + scale * nu."""
    with torch.no_grad():
        for weight, at, move in zip(weights, home, nu, strict=True):
            weight.copy_(at + scale * move)
