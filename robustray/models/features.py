"""Feature maps from inside any network: what a second network may look at beside the logits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.models.normalise import Normalise


class Places(NamedTuple):
    """Names of two modules of a network, as in `named_modules`, whose outputs are its feature maps."""

    early: str
    late: str


class Featured(nn.Module):
    """A network that also gives its feature maps. As a module it is the network: x [B, C, H, W] to logits [B, K].

    Args:
        model: any network. x: a few images [B, C, H, W] that it takes, by which the maps are found; not kept.
        places: which modules' outputs, where `places` would choose others.

    Raises:
        ValueError: no two modules of the network give maps, or there is no module of a name.
    """

    def __init__(self, model: nn.Module, x: Tensor | None = None, places: Places | None = None) -> None:
        super().__init__()
        if places is None:
            if x is None:
                raise ValueError("give some images, or the places of the maps")
            places = found(model, x)
        known = dict(model.named_modules())
        missing = [name for name in places if name not in known]
        if missing:
            raise ValueError(f"the network has no module {missing[0]!r}")
        self.model = model
        self.places = places

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return logits

    def features(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits [B, K], those of `forward` bit for bit, and `early` and `late`, [B, C', H', W'] each.

        Gradients flow through all three, to the weights and to x. Of a module that runs several times, the last output counts.

        Raises:
            RuntimeError: a module did not run.
        """
        maps = dict[str, Tensor]()
        modules = dict(self.model.named_modules())
        with _watched([modules[name] for name in self.places]) as outputs:
            logits: Tensor = self.model(x)
        for key, name in self.places._asdict().items():
            if modules[name] not in outputs:
                raise RuntimeError(f"{name} did not run, so there is no {key} feature map")
            maps[key] = outputs[modules[name]]
        return logits, maps


def found(model: nn.Module, x: Tensor) -> Places:
    """Where the feature maps of a network are: early at the size it begins with, late at half of it.

    Maps are looked for among the parts of which the network is a sequence: its blocks where it has blocks, its layers
    otherwise. `early` is the last of those before the size falls to half, `late` the last before it falls to half again: the
    ends of the first and the second stage of a residual network, as in Bai et al. (2023, arXiv:2301.12554).

    Args:
        x: a few images [B, C, H, W] that the network takes. They go through it once in eval mode, and leave no trace.

    Raises:
        ValueError: no two modules give maps.
    """
    with attack_mode(model, "eval"), torch.no_grad(), _watched(list(model.modules())) as outputs:
        model(x)
    sides = {module: max(map_.shape[-2:]) for module, map_ in outputs.items() if map_.ndim >= 4}
    names = {module: name for name, module in model.named_modules()}
    parts = _sequence(model, sides)
    if len(parts) < 2:
        raise ValueError("the network has no two modules that give maps [B, C, H, W]")
    early = _before_half(parts, [sides[part] for part in parts])
    rest = parts[parts.index(early) + 1 :]
    late = _before_half(rest, [sides[part] for part in rest]) if rest else early
    return Places(names[early], names[late])


def _sequence(node: nn.Module, sides: dict[nn.Module, int]) -> list[nn.Module]:
    """The parts of a network that give maps, in the order in which they ran, from the level at which sizes change."""
    ran = {module: number for number, module in enumerate(sides)}
    parts = sorted(
        (part for part in node.children() if part in sides and not _keeps_or_ends(part)), key=ran.__getitem__
    )
    blocks = [part for part in parts if next(part.children(), None) is not None and _learns(part)]
    for some in (blocks, parts):
        if len({sides[part] for part in some if _learns(part)}) > 1:
            return some
    deeper = [_sequence(child, sides) for child in node.children()]
    return max([parts, *deeper], key=lambda found: (len({sides[part] for part in found}), len(found)))


def _keeps_or_ends(part: nn.Module) -> bool:
    """Whether a map of it says nothing of the image's content: its normalisation, or one number for all of it."""
    return isinstance(part, (Normalise, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))


def _learns(part: nn.Module) -> bool:
    return next(part.parameters(), None) is not None


def _before_half(parts: Sequence[nn.Module], sides: Sequence[int]) -> nn.Module:
    """The last part before sides are at most half, rounded up, of the first one's."""
    fallen = next((place for place, side in enumerate(sides) if 2 * side <= sides[0] + 1), len(parts))
    return parts[max(fallen, 1) - 1]


@contextmanager
def _watched(modules: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """What modules give inside the block, in the order in which they end: those that give one tensor."""
    outputs = dict[nn.Module, Tensor]()

    def keep(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.pop(module, None)
            outputs[module] = output

    hooks = [module.register_forward_hook(keep) for module in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
