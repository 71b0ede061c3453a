"""Adaptive smoothing with a fixed share: an accurate and a robust classifier, their probabilities mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, nn
from robustray.derived.base import Ground, Made, Maker, Numbers, Parent
from robustray.registry import Real, register


@register
class Smoothing(Maker):
    """z = log((1 - alpha) softmax(s_g g(x)) + alpha softmax(s_h h(x))) (Bai et al., arXiv:2301.12554, with a constant alpha,
    the form that won in their ablation). Above alpha = 1/2 the robust parent's answer stands, whatever the accurate one says,
    where its margin of probabilities is at least (1 - alpha) / alpha.
    """

    name: Literal["smoothing"] = "smoothing"
    mixes: ClassVar[bool] = True

    alpha: tuple[Annotated[Real, Field(ge=0, le=1)], ...] = Field(
        (0.55, 0.65, 0.75, 0.85, 0.95), min_length=1, description="the robust parent's share: one point for each"
    )
    accurate_scale: Real = Field(2.0, gt=0, description="s_g, the accurate parent's inverse temperature")
    robust_scale: Real = Field(1.0, gt=0, description="s_h, the robust parent's inverse temperature")

    def numbers(self, parents: int) -> list[dict[str, Any]]:
        return [{"alpha": alpha} for alpha in self.alpha]

    def make(self, parents: Sequence[Parent], numbers: Numbers, ground: Ground) -> Made:
        return Made(self.build([parent.model for parent in parents], numbers, {}), {})

    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, Tensor]) -> nn.Module:
        from robustray.derived.mixture import Mixture, Scale

        accurate, robust = parents
        scales = Scale(self.accurate_scale), Scale(self.robust_scale)
        device = next((weight.device for weight in robust.parameters()), None)
        return Mixture(accurate, robust, *scales, numbers["alpha"]).to(device).eval().requires_grad_(False)
