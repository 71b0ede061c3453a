"""The probability margin attack."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.ascent import Ascent, given_starts, heard
from robustray.attacks.base import Attack, Objective, Outputs
from robustray.attacks.losses import margin
from robustray.attacks.restarts import Worst
from robustray.attacks.threats import Threat
from robustray.registry import Count, register


@register
class Pma(Attack):
    """The probability margin attack (Xie et al., CVPR 2025, arXiv:2411.15210).

    The two stages of the margin decomposition attack (Ma et al., Machine Learning 2023, arXiv:2006.13726), on probabilities
    p = softmax(z):

        first half    climbs -p_y in the first run, max_{j != y} p_j in the second, and so on in turn;
        second half   climbs max_{j != y} p_j - p_y.

    The two terms of a margin can differ by orders of magnitude in their gradients, and the larger one hides the other. Steps
    fall from 2 eps to 0 in each half, eps (1 + cos(pi k / n)) at step k of n. `margin` has logits in place of probabilities,
    which is the margin decomposition attack. An image keeps a misclassified x' of any step before others, then the one with
    the highest margin.

    Nearly as strong as AutoAttack for a fraction of its passes: from above, it tells what a judgement will find, but is none.
    The released script begins each run with a step that raises the true class; this one does not.

    The attack's own loss counts, whatever a defense's objective is. Passes per image: restarts * (2 * steps + 1).
    """

    name: Literal["pma"] = "pma"
    steps: Count = Field(100, ge=2, le=100_000, description="gradient steps of each run, half of them in each stage")
    restarts: Count = Field(
        2, ge=1, le=10_000, description="runs from starts of their own, of which an image keeps the worst"
    )
    loss: Literal["pm", "margin"] = Field("pm", description="a margin of probabilities, or of logits")

    @property
    def passes(self) -> int:
        return self.restarts * (2 * self.steps + 1)

    def starts(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor | None:
        return torch.stack([threat.uniform(x, generator) for _ in range(self.restarts)])

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
        given = given_starts(start, x, self.restarts)
        kept, ascent = Worst(labels), Ascent(threat)

        def hears(x_adv: Tensor, outputs: Outputs) -> Tensor:
            return kept.add(x_adv, outputs.logits, margin(self._scores(outputs), labels))

        for number in range(self.restarts):
            begin = given[number] if number < len(given) else threat.uniform(x, generator)
            x_adv = ascent.run(model, x, labels, begin, self._steps(labels, threat.eps, number), hears)
            x_adv = heard(model, x_adv, hears)
        return x_adv

    def _scores(self, outputs: Outputs) -> Tensor:
        return outputs.logits.softmax(1) if self.loss == "pm" else outputs.logits

    def _steps(self, labels: Tensor, eps: float, run: int) -> Iterator[tuple[Objective, float]]:
        """What each step climbs, and its length."""

        def both(outputs: Outputs, _: Tensor) -> Tensor:
            return margin(self._scores(outputs), labels)

        def one(outputs: Outputs, _: Tensor) -> Tensor:
            scores = self._scores(outputs)
            of_label = scores.gather(1, labels[:, None])[:, 0]
            return margin(scores, labels) + of_label if run % 2 else -of_label

        first = self.steps // 2
        for climb, count in ((one, first), (both, self.steps - first)):
            for number in range(count):
                yield climb, eps * (1 + math.cos(math.pi * number / count))
