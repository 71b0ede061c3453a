"""MART."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.divergences import divergence, of_logits
from robustray.attacks.pgd import Pgd
from robustray.defenses.base import Defense, Demand
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Mart(Defense):
    """MART, misclassification-aware adversarial training (Wang et al., ICLR 2020).

    loss = BCE(f(x'), y) + beta * mean of KL(f(x) || f(x')) * (1 - p_y(x)),
    BCE = CE(f(x'), y) - log(1.0001 - max over k != y of p_k(x')),   x' = argmax CE(f(x'), y) inside the threat.

    p = softmax f. 1.0001 in place of 1 is the authors': it keeps the logarithm above -9.2; and so is 1.0000001 in the
    factor. Nothing is detached. Smoothed labels enter the cross-entropy alone. The attack runs in eval mode from
    x + 0.001 * n, n standard normal. Passes per image with K attack steps: 2K + 6.

    No term holds on to clean images, so a narrow network of ReLUs may die early and stay a constant classifier, at a loss of
    log K - log(1.0001 - 1 / K), 2.408 for K = 10: a stationary point. `small_cnn` with `width: 2` on digits at eps 0.12 and a
    learning rate of 0.1 did so with 4 of 6 seeds, whether beta was 5 or 0, as with 3 of 6 under adversarial training; with
    none of 6 under TRADES, which has such a term, nor with `width: 8`.
    """

    name: Literal["mart"] = "mart"
    beta: Real = Field(5.0, ge=0, description="weight of the robust term, which counts less where p_y(x) is high")

    published_attack: ClassVar[Attack] = Pgd(start="gaussian")
    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary", "hard_labels"})

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        clean, robust = step.logits(step.x), step.logits(x_adv)
        p, q = of_logits(clean), of_logits(robust)
        y = step.labels
        wrong = q.p.scatter(1, y[:, None], 0).amax(1)
        doubt = 1.0000001 - p.p.gather(1, y[:, None])[:, 0]
        return Loss(
            boosted=step.cross_entropy(robust) - (1.0001 - wrong).log().mean(),
            robust=self.beta * (divergence("kl", p, q) * doubt).mean(),
        )
