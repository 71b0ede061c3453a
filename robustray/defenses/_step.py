"""What a defense sees of one batch, and what it gives back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustray.attacks._guard import attack_mode
from robustray.attacks.base import BoundAttack, Objective


class Loss:
    """The parts of a training loss by name, each a scalar; `total` is their sum, and is what is descended."""

    def __init__(self, **parts: Tensor) -> None:
        if not parts:
            raise ValueError("a loss needs at least one part")
        self.parts = parts

    @property
    def total(self) -> Tensor:
        """The sum of all parts, a scalar."""
        return torch.stack(list(self.parts.values())).sum()


class Step:
    """One batch of one training step.

    Args:
        model: maps pixels in [0, 1], [B, C, H, W], to logits [B, K].
        x: images [B, C, H, W] in [0, 1]. y: labels [B], or soft labels [B, K] where a defense takes them.
        attack: the attack bound to the threat of this moment.
        generator: this step's own stream of random numbers; torch's global one when None.
        start: where attacks start, [B, C, H, W] or with restarts [R, B, C, H, W]; drawn by the attack when None.
        violations: boolean scalar on the device that collects attacks' broken promises; with None they raise at once.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        attack: BoundAttack,
        *,
        generator: torch.Generator | None = None,
        start: Tensor | None = None,
        violations: Tensor | None = None,
    ) -> None:
        self.model = model
        self.x = x
        self.y = y
        self.bound = attack
        self.generator = generator
        self.start = start
        self.violations = violations

    def frozen_probabilities(self) -> Tensor:
        """softmax f(x) [B, K] in the attack's mode, a constant: what an attack compares with, computed once."""
        with attack_mode(self.model, self.bound.attack.mode), torch.no_grad():
            return torch.softmax(self.model(self.x), dim=1)

    def attack(self, objective: Objective | None = None) -> Tensor:
        """x' [B, C, H, W], with parameters frozen.

        Args:
            objective: (outputs, x') -> what to climb, per image [B] or one scalar where images are coupled. An attack
                whose `loss` is set climbs that instead.
        """
        return self.bound(
            self.model,
            self.x,
            self.y,
            start=self.start,
            generator=self.generator,
            objective=objective,
            violations=self.violations,
        )

    def logits(self, x: Tensor) -> Tensor:
        """f(x) [B, K] in training mode, with gradients to the weights."""
        if not self.model.training:
            self.model.train()
        logits: Tensor = self.model(x)
        return logits
