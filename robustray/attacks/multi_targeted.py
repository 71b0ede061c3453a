"""The multi-targeted attack."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.ascent import Ascent, given_starts, heard
from robustray.attacks.base import Attack, Objective, Outputs
from robustray.attacks.losses import margin
from robustray.attacks.pgd import StepSize
from robustray.attacks.restarts import Worst, objectives
from robustray.attacks.threats import Threat
from robustray.registry import Count, register


@register
class MultiTargeted(Attack):
    """Projected ascent toward each wrong class in turn (Gowal et al., arXiv:1910.09338).

    A run climbs z_t - z_y, t a wrong class; the first one max_{j != y} z_j - z_y, toward whichever is nearest. Any success
    counts: an image keeps a misclassified x' of any step of any run before others, then the one with the highest margin max_j
    z_j - z_y. As the first run is `pgd`'s with loss `margin`, from the same start, every image that `pgd` breaks in as many
    steps is broken. Classes come in the order of the logits at x, the most likely first; with fewer wrong classes than
    `targets` it goes through them again, from other starts. Attacks that go toward y as well, or that choose among x' by the
    confidence of their target, as published scripts do, waste a run and lose successes.

    The attack's own losses count, whatever a defense's objective is. Passes per image: (targets + 1) * (2 * steps + 1) + 1.
    """

    name: Literal["multi_targeted"] = "multi_targeted"
    steps: Count = Field(20, ge=0, le=100_000, description="gradient steps of each run")
    step_size: StepSize = Field(
        StepSize(of_eps=0.1), description="length of a step: pixels, or {of_eps: fraction of the radius}"
    )
    targets: Count = Field(9, ge=1, le=10_000, description="runs toward one wrong class, the most likely first")
    start: Literal["uniform", "none"] = Field("uniform", description="where each run starts")

    @property
    def passes(self) -> int:
        return (self.targets + 1) * (2 * self.steps + 1) + 1

    def starts(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor | None:
        if self.start == "none":
            return None
        return torch.stack([self._start(x, threat, generator) for _ in range(self.targets + 1)])

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
        labels = y if y.ndim == 1 else y.argmax(1)
        given = given_starts(start, x, self.targets + 1)
        kept, ascent, size = Worst(labels), Ascent(threat), self.step_size.within(threat.eps)

        def hears(x_adv: Tensor, outputs: Outputs) -> Tensor:
            return kept.add(x_adv, outputs.logits, margin(outputs.logits, labels))

        nearest = objectives("margin", model, x, y, labels, 1)
        climbs = [*nearest, *objectives("margin-targeted", model, x, y, labels, self.targets)]
        for number, climb in enumerate(climbs):
            begin = given[number] if number < len(given) else self._start(x, threat, generator)
            x_adv = ascent.run(model, x, labels, begin, [(climb, size)] * self.steps, hears)
            x_adv = heard(model, x_adv, hears)
        return x_adv

    def _start(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor:
        return threat.uniform(x, generator) if self.start == "uniform" else x
