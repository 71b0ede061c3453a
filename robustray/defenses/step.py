"""What a defense sees of one batch, and what it gives back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustray.attacks.base import BoundAttack, Objective
from robustray.attacks.mode import attack_mode


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
        x: images [B, C, H, W] in [0, 1]. y: labels [B], or soft labels [B, K] where a defense takes them: what an attack
            climbs away from.
        attack: the attack bound to the threat of this moment.
        generator: this step's own stream of random numbers; torch's global one when None.
        start: where attacks start, [B, C, H, W] or with restarts [R, B, C, H, W]; drawn by the attack when None.
        violations: boolean scalar on the device that collects attacks' broken promises; with None they raise at once.
        targets: what the loss descends to, as y; y itself when None. Noise put on labels is for the loss alone.
        pseudo: boolean [B], images whose label a model gave; none when None.
        view: draws another augmentation of the same images, (x, y); the same images again when None.
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
        targets: Tensor | None = None,
        pseudo: Tensor | None = None,
        view: Callable[[], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.model = model
        self.x = x
        self.y = y
        self.bound = attack
        self.generator = generator
        self.start = start
        self.violations = violations
        self.targets = y if targets is None else targets
        self.pseudo = pseudo
        self.view = view or (lambda: (x, y))

    @property
    def labels(self) -> Tensor:
        """y as classes [B]: of soft labels the most likely."""
        return self.y if self.y.ndim == 1 else self.y.argmax(1)

    def but(self, **changes: Any) -> Self:
        """The same step with some of its attributes changed."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def part(self, rows: slice) -> Self:
        """The step of some of its images."""
        return self.but(
            x=self.x[rows],
            y=self.y[rows],
            targets=self.targets[rows],
            pseudo=None if self.pseudo is None else self.pseudo[rows],
            start=None if self.start is None else self.start[..., rows, :, :, :],
        )

    def frozen_logits(self, mode: str | None = None) -> Tensor:
        """f(x) [B, K], a constant, in the attack's mode or in another one that `attack_mode` knows."""
        with attack_mode(self.model, mode or self.bound.attack.mode), torch.no_grad():
            logits: Tensor = self.model(self.x)
            return logits

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

    def pair(self, x: Tensor, other: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """f(x) and f(other(f(x))), [B, K] each, as `logits`, both with the same dropout masks.

        A difference of two passes with masks of their own is noise, which a small step size would blow up.
        """
        masks = _random_state(x.device)
        first = self.logits(x)
        images = other(first)
        _set_random_state(x.device, masks)
        return first, self.logits(images)


def _random_state(device: torch.device) -> Tensor:
    """Where the global stream stands that layers on a device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
