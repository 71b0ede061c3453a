"""Adaptive smoothing: an accurate and a robust classifier, their probabilities mixed, by a fixed share or a network's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.derived.base import Ground, Made, Maker, Numbers, Parent
from robustray.derived.mixing import Mixing
from robustray.registry import Real, register


@register
class Smoothing(Maker):
    """z = log((1 - alpha) softmax(s_g g(x)) + alpha softmax(s_h h(x))) (Bai et al., arXiv:2301.12554, with a constant alpha,
    the form that won in their ablation, or with alpha(x) from a mixing network that is trained against attacks on the whole).
    Above alpha = 1/2 the robust parent's answer stands, whatever the accurate one says,
    where its margin of probabilities is at least (1 - alpha) / alpha.
    """

    name: Literal["smoothing"] = "smoothing"
    mixes: ClassVar[bool] = True

    alpha: tuple[Annotated[Real, Field(ge=0, le=1)], ...] = Field(
        (0.55, 0.65, 0.75, 0.85, 0.95), min_length=1, description="the robust parent's share: one point for each"
    )
    network: Mixing | None = Field(
        None, description="a mixing network that says alpha by the image, in place of the fixed ones; null: none"
    )
    accurate_scale: Real = Field(2.0, gt=0, description="s_g, the accurate parent's inverse temperature")
    robust_scale: Real = Field(1.0, gt=0, description="s_h, the robust parent's inverse temperature")

    def numbers(self, parents: int) -> list[dict[str, Any]]:
        if self.network is not None:
            return [{"alpha_low": self.network.alpha_low, "alpha_span": self.network.alpha_span}]
        return [{"alpha": alpha} for alpha in self.alpha]

    def make(self, parents: Sequence[Parent], numbers: Numbers, ground: Ground) -> Made:
        models = [parent.model for parent in parents]
        if self.network is None:
            return Made(self.build(models, numbers, {}), {})
        from robustray.data.device import DeviceImages
        from robustray.derived import mixing_training

        state, said, passes = mixing_training.trained(parents, self.network, self._scales, ground)
        images = ground.judge.data.load("train").take(np.arange(2))
        state["image"] = DeviceImages(images, ground.device).batch(slice(None))[0]  # by which maps are found again
        return Made(self.build(models, numbers, state), state, said, passes)

    def found(self, said: Mapping[str, Any]) -> str:
        losses = said.get("losses")
        return f"the mixing network's loss went from {losses[0]:.3g} to {losses[-1]:.3g}" if losses else ""

    @property
    def trains(self) -> bool:
        return self.network is not None

    @property
    def _scales(self) -> tuple[float, float]:
        return self.accurate_scale, self.robust_scale

    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, Tensor]) -> nn.Module:
        from robustray.derived.mixture import Mixture, Scale

        if self.network is not None:
            return self._adaptive(parents, self.network, state)
        accurate, robust = parents
        g, h = map(Scale, self._scales)
        device = next((weight.device for weight in robust.parameters()), None)
        return Mixture(accurate, robust, g, h, numbers["alpha"]).to(device).eval().requires_grad_(False)

    def _adaptive(self, parents: Sequence[nn.Module], network: Mixing, state: Mapping[str, Tensor]) -> nn.Module:
        from robustray.derived.mixing_training import assembled

        device = next(parents[1].parameters()).device
        with torch.random.fork_rng(devices=[]):  # building draws weights, which are replaced at once
            mixture = assembled(parents, network, self._scales, state["image"].to(device), training=False)
        learnt = nn.ModuleDict({"network": mixture.network, "norm": mixture.policy.norm})
        learnt.load_state_dict({name: value for name, value in state.items() if name != "image"})
        return mixture.eval().requires_grad_(False)
