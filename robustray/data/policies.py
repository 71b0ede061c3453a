"""Augmentation policies: AutoAugment, RandAugment, TrivialAugment, drawn per image."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.data.augment import Augmentation
from robustray.data.image_ops import OPS, SIGNED, apply, strengths
from robustray.registry import Count, register


@register
class AutoAugment(Augmentation):
    """AutoAugment (Cubuk et al., CVPR 2019, arXiv:1805.09501): one of 25 learnt pairs of operations, drawn per image.

    Each operation of the pair has its own probability and level; the sign of its strength is drawn. The policies are
    torchvision's. A crop and a flip come before it, a cutout after it.
    """

    name: Literal["autoaugment"] = "autoaugment"
    policy: Literal["cifar10", "svhn", "imagenet"] = Field("cifar10", description="the data it was learnt on")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        ops, likely, levels = _learnt(self.policy, x.device)
        table = strengths(10, *x.shape[2:], False, x.device)
        picked = torch.randint(0, len(ops), (len(x),), generator=generator, device=x.device)
        happens = torch.rand(2, len(x), generator=generator, device=x.device)
        for number in range(2):
            op = torch.where(happens[number] <= likely[picked, number], ops[picked, number], 0)
            x = apply(x, op, _signed(table[op, levels[picked, number]], op, generator))
        return x


@register
class RandAugment(Augmentation):
    """RandAugment (Cubuk et al., NeurIPS 2020, arXiv:1909.13719): a few operations of one level, drawn per image."""

    name: Literal["randaugment"] = "randaugment"
    operations: Count = Field(2, ge=1, le=100, description="operations per image, one after the other")
    level: Count = Field(9, ge=0, le=30, description="how strong they are, of 30")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        table = strengths(31, *x.shape[2:], False, x.device)
        for _ in range(self.operations):
            op = torch.randint(0, len(table) - 1, (len(x),), generator=generator, device=x.device)  # none inverts
            x = apply(x, op, _signed(table[op, self.level], op, generator))
        return x


@register
class TrivialAugment(Augmentation):
    """TrivialAugment, wide (Müller and Hutter, ICCV 2021, arXiv:2103.10158): one operation of any strength per image."""

    name: Literal["trivialaugment"] = "trivialaugment"

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        table = strengths(31, *x.shape[2:], True, x.device)
        op = torch.randint(0, len(table) - 1, (len(x),), generator=generator, device=x.device)  # none inverts
        level = torch.randint(0, 31, (len(x),), generator=generator, device=x.device)
        return apply(x, op, _signed(table[op, level], op, generator))


def _signed(strength: Tensor, op: Tensor, generator: torch.Generator) -> Tensor:
    """Strengths [B] with a drawn sign, where the operation has one."""
    minus = torch.rand(len(strength), generator=generator, device=strength.device) < 0.5
    return torch.where(minus & (op < SIGNED), -strength, strength)


@lru_cache(maxsize=8)  # made once: what is copied from the host makes it wait
def _learnt(policy: str, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Operations, probabilities and levels of a learnt policy, [25, 2] each."""
    from torchvision.transforms import autoaugment  # type: ignore[import-untyped]

    pairs: list[Any] = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy)).policies
    ops = torch.tensor([[OPS.index(op) for op, _, _ in pair] for pair in pairs])
    likely = torch.tensor([[probability for _, probability, _ in pair] for pair in pairs])
    levels = torch.tensor([[level or 0 for _, _, level in pair] for pair in pairs])
    return ops.to(device), likely.to(device), levels.to(device)
