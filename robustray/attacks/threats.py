"""The set of perturbed images an adversary may choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from robustray.registry import Options, Real

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-6
"""How far rounding in float32 may carry a perturbation beyond eps, in pixels."""


class Threat(Options):
    """All x' with ||x' - x|| <= eps and x' in [0, 1]."""

    norm: Literal["linf"] = Field("linf", description="norm of the perturbation")
    eps: Real = Field(ge=0, le=1, description="radius in pixels of [0, 1], for example 8/255")

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The nearest point to x_adv [B, C, H, W] inside the ball around x and inside [0, 1]."""
        return x_adv.clamp(x - self.eps, x + self.eps).clamp(0, 1)

    def ascend(self, x_adv: Tensor, gradient: Tensor, step_size: float) -> Tensor:
        """One steepest-ascent step of length `step_size` (pixels) in this norm: x' + step_size * sign(gradient).

        torch's sign of NaN is 0, which would hide a broken model behind unharmed images: a gradient that is not finite
        makes x' NaN instead.
        """
        return x_adv + step_size * gradient.sign().add(gradient, alpha=0)

    def violated(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """A boolean scalar on the device: some x' is outside the ball (beyond rounding), outside [0, 1], or not finite."""
        inside = ((x_adv - x).abs() <= self.eps + TOLERANCE) & (x_adv >= 0) & (x_adv <= 1)
        return ~inside.all()  # a NaN compares false, so it counts as outside
