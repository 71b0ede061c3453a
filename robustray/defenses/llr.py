"""Local linearity regularisation."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.base import Attack
from robustray.attacks.losses import cross_entropy
from robustray.attacks.mode import attack_mode
from robustray.attacks.pgd import Pgd, StepSize
from robustray.defenses.base import Defense, Demand, has_loss
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Llr(Defense):
    """LLR, local linearity regularisation (Qin et al., NeurIPS 2019, arXiv:1907.02610).

    loss = mean of l(x) + lam * |l(x + d) - l(x) - d . grad l(x)| + mu * |d . grad l(x)|,   l(x) = CE(f(x), y),

    x + d = argmax |l(x + d) - l(x) - d . grad l(x)| inside the threat, all per image. grad l(x) is the gradient to the
    input, differentiated into the weights in its turn. The attack runs in eval mode, two steps of eps / 2 from
    x + 0.001 * n, n standard normal: at x itself its objective has no slope. The two losses of a batch see the same
    dropout masks. Passes per image with K attack steps: 2 + 2K + 9.

    The script of Yang et al. (NeurIPS 2020, arXiv:2003.02460) zeroes grad l before it is used, and then descends the sum
    over a batch of l(x) + lam * l(x + d): RST with lam 4, attacked along g / max |g| in two steps.
    """

    name: Literal["llr"] = "llr"
    lam: Real = Field(4.0, ge=0, description="weight of the deviation from linearity")
    mu: Real = Field(3.0, ge=0, description="weight of the linear term, the slope of the loss along d")

    published_attack: ClassVar[Attack] = Pgd(start="gaussian", steps=2, step_size=StepSize(of_eps=0.5))
    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary", "second_order", "float32"})

    def perturb(self, step: Step) -> Tensor:
        if has_loss(step.bound.attack):
            return step.attack()
        x = step.x.detach().requires_grad_()
        with attack_mode(step.model, step.bound.attack.mode), torch.enable_grad():
            here = cross_entropy(step.model(x), step.attacked, "none")
            (gradient,) = torch.autograd.grad(here.sum(), x)
        here = here.detach()
        return step.attack(
            lambda outputs, x_adv: (
                cross_entropy(outputs.logits, step.attacked, "none") - here - _inner(x_adv - step.x, gradient)
            ).abs()
        )

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        x = step.x.detach().requires_grad_()
        here, there = (step.cross_entropy(logits, "none") for logits in step.pair(x, lambda _: x_adv))
        (gradient,) = torch.autograd.grad(here.sum(), x, create_graph=True)
        linear = _inner(x_adv - step.x, gradient)
        return Loss(
            clean=here.mean(),
            deviation=self.lam * (there - here - linear).abs().mean(),
            slope=self.mu * linear.abs().mean(),
        )


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product per image, [B], of [B, C, H, W]."""
    return (a * b).flatten(1).sum(1)
