"""Options of a mixing network: its form, how it is trained, and what is made of what it says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from robustray.registry import Count, Options, Real


class Mixing(Options):
    """A mixing network and its training (Bai et al., arXiv:2301.12554). Both parents stay as they are."""

    form: Literal["v3", "v4"] = Field(
        "v4", description="how late maps are added: as they are, or through a 1x1 convolution"
    )
    widths: tuple[Count, Count, Count] | None = Field(
        None,
        description="filters after each stage; null: as published by the width of the early maps, doubling for others",
    )
    gamma_scale: Real = Field(2.0, gt=0, description="gamma = BN(raw) gamma_scale + gamma_bias when it answers")
    gamma_bias: Real = Field(
        1.0, description="larger: more of the robust parent; 1.0 to 1.3 are published, 20 for ResNet-18"
    )
    alpha_span: Real = Field(
        0.15, ge=0, le=1, description="alpha = sigmoid(gamma) alpha_span + alpha_low when it answers"
    )
    alpha_low: Real = Field(0.84, ge=0, le=1, description="the least share of the robust parent")
    detached: bool = Field(
        False, description="attacks see alpha as a constant, as the originals' fast form does: unsafe, and flagged"
    )

    epochs: Count = Field(3, ge=1, description="passes over the training images")
    size: Count = Field(40, ge=2, description="training images attacked per step")
    targets: Count = Field(
        9, ge=0, description="targeted copies of each, at its runner-up classes, beside the untargeted one"
    )
    parts: Count = Field(20, ge=1, description="parts that a step's clean and attacked images are shuffled into")
    parts_per_descent: Count = Field(4, ge=1, description="parts whose gradients one optimiser step gathers")
    lr: Real = Field(
        1e-4, gt=0, description="AdamW's rate, under a cosine with an exponential warm-up over 1/25 of all steps"
    )
    weight_decay: Real = Field(1e-5, ge=0, description="AdamW's decay")
    max_norm: Real = Field(10.0, gt=0, description="the gradient's norm is clipped to this")
    bce: Real = Field(1.0, ge=0, description="weight of BCE(gamma, attacked or not)")
    ce: Real = Field(0.5, ge=0, description="weight of the mixture's cross-entropy")
    product: Real = Field(0.1, ge=0, description="weight of the product of the two, which looks at what both get wrong")
    clean_weight: Real = Field(2.0, gt=0, description="weight of a clean image, that of an attacked one being 1")
    iterations: Count = Field(75, ge=1, description="mean of APGD's iterations, which are drawn from chi squared")
    eps: tuple[Real, Real] = Field((0.4, 1.1), description="range of each image's radius, in units of the threat's")
    aware: Real = Field(
        0.4,
        ge=0,
        lt=1,
        description="largest weight of BCE(gamma, attacked) in the attack, which hides from the network",
    )
    train_scale: Real = Field(2.0, gt=0, description="gamma_scale while it is trained")
    train_bias: Real = Field(0.4, description="gamma_bias while it is trained")
    seed: Count = Field(20220304, ge=0, le=2**53, description="of weights, batches and attacks")
    minutes: Real = Field(5.0, gt=0, description="a checkpoint at least this often")

    @model_validator(mode="after")
    def _inside(self) -> Mixing:
        if self.alpha_low + self.alpha_span > 1 + 1e-9:
            raise ValueError(
                f"alpha_low and alpha_span add up to {self.alpha_low + self.alpha_span:g}, but alpha ends at 1"
            )
        if not 0 < self.eps[0] <= self.eps[1]:
            raise ValueError("eps must be a range above 0, such as [0.4, 1.1]")
        return self
