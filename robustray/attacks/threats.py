"""The set of perturbed images an adversary may choose from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from robustray._later import Tensor, torch
from robustray.attacks import norms
from robustray.attacks.norms import Norm, Rule
from robustray.registry import Options, Real

Projection = Literal["nearest", "box_ball", "ball_box"]
"""How an image comes back into ball and box; `Threat.project` says."""

LARGEST: dict[Norm, tuple[float, str]] = {"linf": (1, "8/255"), "l2": (50, "0.5"), "l1": (1000, "12")}
"""The largest radius of each norm and a usual one, in pixels of [0, 1]. Beyond it somebody counted grey levels."""
TOLERANCE = 1e-6
"""How far a length computed in float32 may lie beyond eps: times eps where eps is above 1."""
ULP = 2.0**-24
"""Spacing of float32 just below 1: how far storing x' may carry one pixel."""


class Threat(Options):
    """All x' with ||x' - x|| <= eps and x' in [0, 1], the norm taken over all pixels and channels of an image."""

    norm: Norm = Field("linf", description="norm of the perturbation")
    eps: Real = Field(
        ge=0, description="radius in pixels of [0, 1]: 8/255 in linf, 0.5 in l2, 12 in l1 are usual on CIFAR"
    )

    @field_validator("eps")
    @classmethod
    def _sane(cls, value: float, info: ValidationInfo) -> float:
        norm = info.data.get("norm", "l1")  # a wrong norm has an error of its own
        largest, usual = LARGEST[norm]
        if value > largest:
            raise PydanticCustomError(
                "radius",
                "must be at most {largest}, not {value}: {norm} is measured in pixels of [0, 1], for example {usual}",
                {"largest": largest, "value": f"{value:g}", "norm": norm, "usual": usual},
            )
        return value

    def project(self, x_adv: Tensor, x: Tensor, rule: Projection = "nearest") -> Tensor:
        """A point inside the ball around x and inside [0, 1], [B, C, H, W].

        Args:
            x_adv: any images [B, C, H, W]; x: clean images in [0, 1].
            rule: `nearest`: the nearest such point, exact in every norm. `box_ball`: clamped to [0, 1], then scaled
                toward x into the ball. `ball_box`: scaled toward x into the ball, then clamped.
        """
        if rule == "nearest":
            return norms.nearest(x_adv, x, self.norm, self.eps)
        if rule == "box_ball":
            x_adv = x_adv.clamp(0, 1)
        return (x + norms.scaled(x_adv - x, self.norm, self.eps)).clamp(0, 1)

    def ascend(
        self,
        x_adv: Tensor,
        gradient: Tensor,
        step_size: float,
        *,
        rule: Rule | None = None,
        density: float = 0.01,
    ) -> Tensor:
        """x' after one step of length step_size that the gradient asks for.

        Args:
            x_adv, gradient: [B, C, H, W]. A zero gradient makes no step; one that is not finite makes x' NaN.
            step_size: in pixels, in the norm that the rule belongs to.
            rule: `sign`, `l2`, `max_abs` or `sparse`, as `norms.step` says; None is steepest ascent in this norm (linf
                sign, l2 l2), in l1 the sparse step of SLIDE.
            density: fraction of the pixels that a sparse step moves, unless some of them meet the end of [0, 1].
        """
        return x_adv + norms.step(gradient, x_adv, step_size, rule or norms.STEEPEST[self.norm], density)

    def uniform(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A random start inside the ball and [0, 1], [B, C, H, W]; how it is drawn in each norm `norms.uniform` says."""
        return norms.uniform(x, self.norm, self.eps, generator)

    def inside(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Per image [B]: x' is in the ball, in [0, 1], and finite.

        The ball is wider by what float32 cannot help: every one of D pixels stored one ULP away changes the p-norm by
        D^(1/p) ULP at most, and a length is summed up to a TOLERANCE.
        """
        pixels = x[0].numel() if len(x) else 1
        allowed = self.eps + TOLERANCE * max(1, self.eps) + ULP * pixels ** (1 / norms.ORDER[self.norm])
        boxed: Tensor = ((x_adv >= 0) & (x_adv <= 1)).flatten(1).all(1)  # a NaN compares false: it is outside
        return boxed.logical_and(norms.length(x_adv - x, self.norm) <= allowed)

    def violated(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """A boolean scalar on the device: some x' is outside the ball (beyond rounding), outside [0, 1], or not finite."""
        return self.inside(x_adv, x).all().logical_not()


def in_255ths(eps: float) -> str:
    """A radius as papers write it: `0.5` where that is all of it, else `8/255` where it is one, else the number."""
    steps = round(eps * 255)
    return f"{steps}/255" if float(f"{eps:g}") != eps and abs(steps / 255 - eps) < 1e-9 else f"{eps:g}"
