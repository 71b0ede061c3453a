"""Projected gradient descent."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from robustray._later import Tensor, nn, torch
from robustray.attacks.ascent import Ascent, Hears, given_starts, heard
from robustray.attacks.base import Attack, Objective
from robustray.attacks.norms import Rule
from robustray.attacks.restarts import Flipped, Worst, objectives
from robustray.attacks.threats import Projection, Threat
from robustray.registry import Count, Options, Real, register


class StepSize(Options):
    """A step in pixels (a bare number), or as a fraction of eps: `{of_eps: 0.25}`."""

    short: ClassVar[str | None] = "pixels"
    of_eps: Real | None = Field(None, gt=0, description="step as a fraction of eps")
    pixels: Real | None = Field(None, ge=0, description="step in pixels of [0, 1]")

    @model_validator(mode="after")
    def _one(self) -> StepSize:
        if (self.of_eps is None) == (self.pixels is None):
            raise ValueError("give either a number of pixels or {of_eps: fraction}")
        return self

    @model_serializer
    def _short(self) -> Any:
        return self.pixels if self.pixels is not None else {"of_eps": self.of_eps}

    def scaled(self, factor: float) -> StepSize:
        """So many times this step."""
        return StepSize(**{name: factor * value for name, value in self if value is not None})

    def within(self, eps: float) -> float:
        """The step in pixels for a radius eps."""
        return self.pixels if self.pixels is not None else (self.of_eps or 0.0) * eps


@register
class Pgd(Attack):
    """Projected gradient descent (Madry et al., ICLR 2018, arXiv:1706.06083).

    x'_0 = start;   x'_{k+1} = Proj(x'_k + step(grad loss(x'_k))),   Proj onto the eps ball and [0, 1].

    Losses: `ce` cross-entropy; `kl` KL(f(x) || f(x')), the TRADES objective, with f(x) computed once; `margin`
    max_{j != y} z_j - z_y (Carlini and Wagner, 2017); `pm` the same of probabilities (Xie et al., CVPR 2025,
    arXiv:2411.15210), their strongest on 29 robust networks; `dlr` the difference of logits ratio (Croce and Hein, 2020).
    The targeted ones climb toward one wrong class, -CE(f(x'), t), z_t - z_y, or the targeted ratio: the most likely one at x
    in the first restart, the next in the next, and so on in turn.

    Steps, times step_size: `sign` sign(g); `l2` g / ||g||_2; `max_abs` g / max |g|; `sparse` sign(g) / k on the k pixels
    with the largest |g|, kept inside [0, 1] (SLIDE, Tramèr and Boneh, 2019; Croce and Hein, 2021); null: steepest ascent
    in the threat's norm, which is sign in linf, l2 in l2, sparse in l1.

    Projections: `nearest` the nearest point of ball and box, exact in every norm. In l2 the published scripts only come
    near it: `box_ball` clamps to [0, 1], then scales into the ball (TRADES); `ball_box` the other way round (AWP).

    Starts: `uniform` in the ball, inside [0, 1]; `gaussian` x + sigma * n, n standard normal, neither clamped nor
    projected, as TRADES does; `none` x itself. A caller may also give the starting images.

    Of a run is kept, by `keep`: `last` its last x'; `misclassified` of all its x', the start and the last included, one that
    is misclassified before others, and of those the one with the highest loss; `worst` the one with the highest loss, whatever
    its class: a loss that neither more steps nor more restarts lower (the robust loss of Stutz et al., ICCV 2021,
    arXiv:2104.04448). What is kept of all restarts is chosen so too; of last x', misclassified ones first.

    With `tau` an image stops tau steps after its first misclassified x' (`friendly` adversarial training, Zhang et al., ICML
    2020, arXiv:2002.11242). PGD-tau of Stutz et al. (`flipped`) never stops: it keeps a misclassified x' whose loss is higher
    than that of those before, tau + 1 times, and x itself where none is misclassified.

    Passes per image: 2 * steps in each restart (a forward and a gradient to the input each), and one forward more where
    there are several, or where not just the last x' may be kept; kl and the targeted losses one forward for f(x). Images that
    stopped keep their place in the batch.
    """

    name: Literal["pgd"] = "pgd"
    steps: Count = Field(10, ge=0, le=100_000, description="gradient steps")
    step_size: StepSize = Field(
        StepSize(of_eps=0.25), description="length of a step: pixels, or {of_eps: fraction of the radius}"
    )
    step_rule: Rule | None = Field(
        None, description="how a gradient becomes a step; null: steepest ascent in the threat's norm"
    )
    density: Real = Field(0.01, gt=0, le=1, description="fraction of an image's pixels that a sparse step moves")
    projection: Projection = Field(
        "nearest", description="how x' comes back: the nearest point; clamped then scaled; scaled then clamped"
    )
    loss: Literal["ce", "kl", "margin", "pm", "dlr", "ce-targeted", "margin-targeted", "dlr-targeted"] | None = Field(
        None, description="what the attack climbs; null: the defense's own objective, cross-entropy where it has none"
    )
    start: Literal["uniform", "gaussian", "none"] = Field("uniform", description="where the attack starts")
    sigma: Real = Field(0.001, gt=0, description="standard deviation of a gaussian start, in pixels")
    restarts: Count = Field(1, ge=1, le=10_000, description="independent starts, of which each image keeps the worst")
    keep: Literal["last", "misclassified", "worst"] = Field(
        "last",
        description="which x' of all steps: the last; a misclassified one, then by loss; that of the highest loss",
    )
    tau: Count | None = Field(
        None, ge=0, description="steps an image goes on after its first misclassification; null: all"
    )
    tau_rule: Literal["friendly", "flipped"] = Field(
        "friendly",
        description="what tau ends: the steps; or the choice of misclassified x', with x where there is none",
    )

    @model_validator(mode="after")
    def _fits(self) -> Pgd:
        if self.restarts > 1 and self.start == "none" and not self._targeted:
            raise PydanticCustomError(
                "restarts",
                "restarts from one start repeat each other; use start: uniform, restarts: 1 or a targeted loss",
                {"key": "restarts"},
            )
        if self.tau_rule == "flipped" and self.keep != "last":
            raise PydanticCustomError(
                "keep", "tau_rule: flipped says itself which x' is kept; leave keep at last", {"key": "keep"}
            )
        return self

    @property
    def _hears_the_last(self) -> bool:
        """Whether the last x' of a run is asked about too."""
        return self.restarts > 1 or self.keep != "last" or self.tau_rule == "flipped"

    @property
    def _targeted(self) -> bool:
        return self.loss is not None and self.loss.endswith("-targeted")

    @property
    def passes(self) -> int:
        return self.restarts * (2 * self.steps + self._hears_the_last) + (self.loss == "kl" or self._targeted)

    def run(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        objective: Objective | None,
        start: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        given = given_starts(start, x, self.restarts)
        labels = y if y.ndim == 1 else y.argmax(1)
        if objective is None or self.loss is not None:
            climbs = objectives(self.loss, model, x, y, labels, self.restarts)
        else:
            climbs = [objective] * self.restarts
        flipped = self.tau_rule == "flipped"
        ascent = Ascent(threat, self.step_rule, self.density, self.projection, None if flipped else self.tau)
        kept = Flipped(x, labels, self.tau) if flipped else Worst(labels, wrong_first=self.keep != "worst")
        size, all_heard = self.step_size.within(threat.eps), flipped or self.keep != "last"
        for number, climb in enumerate(climbs):
            kept.begin()
            hears = _hears(kept, climb)
            begin = given[number] if number < len(given) else self._start(x, threat, generator)
            x_adv = ascent.run(model, x, labels, begin, [(climb, size)] * self.steps, hears if all_heard else None)
            if self._hears_the_last:
                x_adv = heard(model, x_adv, hears)
        return x_adv

    def starts(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor | None:
        if self.start == "none":
            return None
        return torch.stack([self._start(x, threat, generator) for _ in range(self.restarts)])

    def _start(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor:
        if self.start == "none":
            return x.clone()
        if self.start == "gaussian":
            return x + self.sigma * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return threat.uniform(x, generator)


def _hears(kept: Worst | Flipped, loss: Objective) -> Hears:
    return lambda x_adv, outputs: kept.add(x_adv, outputs.logits, loss(outputs, x_adv))
