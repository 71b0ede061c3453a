"""SCORE: distances between probabilities in place of cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.divergences import Distribution, divergence, of_labels, of_logits
from robustray.attacks.losses import smoothed
from robustray.attacks.pgd import Pgd
from robustray.defenses.base import Defense, has_loss
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register

Divergence = Literal["lse", "kl", "js", "js_sqrt", "kl_sqrt", "rkl_sqrt", "l1_square", "l2", "linf", "lp"]


class _Score(Defense):
    """What both forms share: a divergence D, labels as distributions, and a bound under which D counts as 0."""

    divergence: Divergence = Field("lse", description="distance of two predictions; lse: squared l2 of probabilities")
    order: Real = Field(1.0, ge=1, description="the p of the norm lp")
    clip: Real = Field(
        0.0, ge=0, lt=1, description="losses count down to that of a prediction with this mass off its label"
    )

    published_attack: ClassVar[Attack] = Pgd(mode="train_frozen")
    published_smoothing: ClassVar[Literal["all", "others"]] = "others"

    def _distance(self, target: Distribution, output: Distribution) -> Tensor:
        return divergence(self.divergence, target, output, self.order)

    def _climbed(self, step: Step, target: Callable[[Tensor], Distribution]) -> Tensor:
        """x' that is far from a target, a constant that is made knowing logits.

        A square root is left out: it turns no gradient, and its own is lost in rounding where x' is near x.
        """

        name = self.divergence.removesuffix("_sqrt")
        return step.attack(
            lambda outputs, _: divergence(name, target(outputs.logits), of_logits(outputs.logits), self.order)
        )

    def _label(self, y: Tensor, logits: Tensor) -> Distribution:
        """Labels y, [B] or [B, K], as a distribution over the classes of logits [B, K]."""
        return of_labels(smoothed(y, logits, 0, "all"))

    def _bounded(self, distances: Tensor, logits: Tensor) -> Tensor:
        """Mean of max(D - b, 0), b = D((1 - c, c / (K - 1), ...), e_y): c^2 K / (K - 1) in lse, -log(1 - c) in kl."""

        if not self.clip:
            return distances.mean()
        first = logits.argmax(1)[:1]  # any class: the bound is the same for all
        one, short = (of_labels(smoothed(first, logits, mass, "others")) for mass in (0.0, self.clip))
        return (distances - self._distance(one, short)).clamp_min(0).mean()


@register
class Score(_Score):
    """SCORE in the form of TRADES (Pang et al., ICML 2022, arXiv:2202.10103).

    loss = D(p(x), t) + beta * max(D(p(x'), p(x)) - b, 0),   x' = argmax D(p(x'), p(x)) inside the threat.

    p = softmax f, t the label, smoothed, D the squared error of probabilities by default; b is given by `clip`. With
    `clips: total` it is max(D(p(x), t) + beta * D(p(x'), p(x)) - b, 0), per image, as in the authors' experiments without
    extra data. Gradients flow through both arguments of D; of kl with hard labels this is TRADES. The attack starts
    uniformly and uses batch statistics. Passes per image with K attack steps: 1 + 2K + 6.
    """

    name: Literal["score"] = "score"
    beta: Real = Field(4.0, ge=0, description="weight of the robust term: more trades clean accuracy for robustness")
    clips: Literal["robust", "total"] = Field(
        "robust", description="what the bound is taken off: the robust term, or all"
    )

    def perturb(self, step: Step) -> Tensor:
        if has_loss(step.bound.attack):
            return step.attack()
        clean = of_logits(step.frozen_logits())
        return self._climbed(step, lambda _: clean)

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        logits = step.logits(step.x)
        clean, robust = of_logits(logits), of_logits(step.logits(x_adv))
        to_label = self._distance(self._label(step.targets, logits), clean)
        to_clean = self._distance(clean, robust)
        if self.clips == "total":
            return Loss(clipped=self._bounded(to_label + self.beta * to_clean, logits))
        return Loss(clean=to_label.mean(), robust=self.beta * self._bounded(to_clean, logits))


@register
class ScorePgd(_Score):
    """SCORE in the form of adversarial training (Pang et al., ICML 2022, arXiv:2202.10103).

    loss = max(D(p(x'), t) - b, 0),   x' = argmax D(p(x'), y) inside the threat.

    p = softmax f, y the label, t the label smoothed, D the squared error of probabilities by default; b is given by `clip`.
    Of kl with hard labels this is adversarial training. The attack starts uniformly and uses batch statistics; in the
    authors' script it also moves the running ones (`mode: train`). Passes per image with K attack steps: 2K + 3.
    """

    name: Literal["score_pgd"] = "score_pgd"

    def perturb(self, step: Step) -> Tensor:
        return self._climbed(step, lambda logits: self._label(step.attacked, logits))

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        logits = step.logits(x_adv)
        label = self._label(step.targets, logits)
        return Loss(robust=self._bounded(self._distance(label, of_logits(logits)), logits))
