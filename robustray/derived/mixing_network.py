"""The network that says, image by image, how much of the robust classifier to take (Bai et al., arXiv:2301.12554)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.derived.mixture import Mixed, mix
from robustray.models.features import Featured
from robustray.models.preactivation import PreActivation

Form = Literal["v3", "v4"]
PLANES: dict[int, tuple[int, int, int, int]] = {
    64: (64, 128, 256, 512),
    160: (160, 320, 512, 768),
    256: (256, 256, 384, 512),
    512: (512, 256, 384, 512),
}
"""The published widths of one base's share of the network's stages, by the width of its early map."""
SMALLEST = 1e-7
"""alpha stays so far from 0 and 1, where its logarithm would be infinite; float32 knows no 1 - alpha below."""


def planes(early: Sequence[int]) -> tuple[int, int, int, int]:
    """Filters between the stages, the sum over both bases: as published, and doubling from the width of any other base.

    Args:
        early: channels of each base's early map.
    """
    own = [PLANES.get(width, (width, 2 * width, 4 * width, 8 * width)) for width in early]
    first, second, third, fourth = (sum(widths) for widths in zip(*own, strict=True))
    return first, second, third, fourth


class MixingNetwork(nn.Module):
    """Two feature maps of each base to one number per image [B].

    Three stages of two pre-activation blocks, each of stride 2; the late maps are added after the first stage, in form v3 as
    they are, in v4 through a 1x1 convolution; the mean over pixels, and one linear layer without bias. Maps of other sizes
    than they are to meet are averaged to them.

    Args:
        early, late: channels of each base's maps. form: v3 or v4.
        widths: filters before the first stage (the early maps' channels) and after each; null in effect: `planes`.

    Raises:
        ValueError: form v3, and the late maps have other channels than the first stage gives.
    """

    def __init__(
        self, early: Sequence[int], late: Sequence[int], form: Form, widths: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        stem = sum(early)
        after = widths or planes(early)[1:]
        if form == "v3" and sum(late) != after[0]:
            raise ValueError(
                f"form v3 adds late maps of {sum(late)} channels to {after[0]} filters; use v4, or other widths"
            )
        before = [stem, *after[:-1]]
        self.stages = nn.ModuleList(
            nn.Sequential(PreActivation(a, b, 2, "relu", 0.0), PreActivation(b, b, 1, "relu", 0.0))
            for a, b in zip(before, after, strict=True)
        )
        self.meets = nn.Conv2d(sum(late), after[0], 1, bias=False) if form == "v4" else nn.Identity()
        self.norm = nn.BatchNorm2d(after[-1])
        self.last = nn.Linear(after[-1], 1, bias=False)

    def forward(self, early: Sequence[Tensor], late: Sequence[Tensor]) -> Tensor:
        first, *others = self.stages
        y = first(_together(early, min(min(map_.shape[-2:]) for map_ in early)))
        y = y + self.meets(torch.cat([F.adaptive_avg_pool2d(_flat(map_), y.shape[-2:]) for map_ in late], 1))
        for stage in others:
            y = stage(y)
        numbers: Tensor = self.last(F.relu(self.norm(y)).mean((2, 3)))[:, 0]
        return numbers


def _together(maps: Sequence[Tensor], side: int) -> Tensor:
    flat = [_flat(map_) for map_ in maps]
    if len({map_.shape[-2:] for map_ in flat}) > 1:
        flat = [F.adaptive_avg_pool2d(map_, side) for map_ in flat]
    return torch.cat(flat, 1)


def _flat(maps: Tensor) -> Tensor:
    """Maps over a group [B, C, G, H, W] as channels."""
    return maps if maps.ndim == 4 else maps.flatten(1, -3)


class Policy(nn.Module):
    """Raw numbers [B] to shares alpha [B] of the robust classifier, and gamma [B] before the sigmoid.

    gamma = BN(raw) scale + bias, alpha = sigmoid(gamma); batch norm of one feature without affine part, momentum 0.01. In
    training raw numbers are first clamped to mean +- 0.6 standard deviations of the batch (unbiased); in evaluation alpha is
    put into the range from `low` to `low + span`, which must lie in [0, 1].
    """

    CLAMP = 0.6
    numbers: Tensor  # scale, bias, span, low

    def __init__(self, scale: float, bias: float, span: float, low: float) -> None:
        super().__init__()
        if not (low >= 0 and span >= 0 and low + span <= 1 + 1e-9):
            raise ValueError(f"alpha from {low} to {low + span} leaves [0, 1]")
        self.norm = nn.BatchNorm1d(1, affine=False, momentum=0.01)
        self.register_buffer("numbers", torch.tensor([scale, bias, span, low], dtype=torch.float64))

    def forward(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        scale, bias, span, low = self.numbers.to(raw.dtype)
        if self.training:
            mean, spread = raw.mean(), raw.std()
            raw = raw.clamp(mean - self.CLAMP * spread, mean + self.CLAMP * spread)
        gamma = self.norm(raw[:, None])[:, 0] * scale + bias
        alpha = gamma.sigmoid()
        return (alpha if self.training else alpha * span + low), gamma


class AdaptiveMixture(Mixed):
    """A mixture whose alpha is what a mixing network says of the image.

    Attributes:
        detached: the network's inputs pass no gradient, so attacks see alpha as a constant: published as an option, and unsafe.
    """

    def __init__(
        self,
        accurate: Featured,
        robust: Featured,
        accurate_map: nn.Module,
        robust_map: nn.Module,
        network: MixingNetwork,
        policy: Policy,
        *,
        detached: bool = False,
    ) -> None:
        super().__init__(accurate, robust, accurate_map, robust_map)
        self.network, self.policy = network, policy
        self.detached = detached

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x)[0].to(x.dtype)

    def answer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, K] of the mixture, and gamma [B]."""
        (g, of_g), (h, of_h) = (base.features(x) for base in self._bases())
        pairs = [[maps[name] for maps in (of_g, of_h)] for name in ("early", "late")]
        early, late = ([map_.detach() for map_ in maps] if self.detached else maps for maps in pairs)
        alpha, gamma = self.policy(self.network(early, late))
        return mix(self.accurate_map(g), self.robust_map(h), alpha.clamp(SMALLEST, 1 - SMALLEST)[:, None]), gamma

    def _bases(self) -> Iterator[Featured]:
        for base in (self.accurate, self.robust):
            assert isinstance(base, Featured)
            yield base
