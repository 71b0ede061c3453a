"""What a defense sees of one batch, and what it gives back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, Self

from robustray._later import F, Tensor, nn, torch
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

    Labels are there three times. `targets`, [B] classes or [B, K] probabilities, is what a loss descends to, noise on labels
    and their smoothing included: `step.cross_entropy(logits)` is the cross-entropy with them. `attacked`, [B] or [B, K], is
    what attacks climb away from, without noise or smoothing. `labels`, [B], is the classes of the targets before smoothing.

    Args:
        model: maps pixels in [0, 1], [B, C, H, W], to logits [B, K].
        x: images [B, C, H, W] in [0, 1]. y: labels [B], or probabilities [B, K]: `attacked`.
        attack: the attack bound to the threat of this moment.
        generator: this step's own stream of random numbers; torch's global one when None.
        start: where attacks start, [B, C, H, W] or with restarts [R, B, C, H, W]; drawn by the attack when None.
        violations: boolean scalar on the device that collects attacks' broken promises; with None they raise at once.
        targets: y when None.
        labels: the likeliest classes of the targets when None.
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
        labels: Tensor | None = None,
        pseudo: Tensor | None = None,
        view: Callable[[], tuple[Tensor, Tensor]] | None = None,
    ) -> None:
        self.model = model
        self.x = x
        self.attacked = y
        self.bound = attack
        self.generator = generator
        self.start = start
        self.violations = violations
        self.targets = y if targets is None else targets
        self.labels = classes(self.targets) if labels is None else labels
        self.pseudo = pseudo
        self.view = view or (lambda: (x, y))

    def but(self, **changes: Any) -> Self:
        """The same step with some of its attributes changed."""
        other = copy.copy(self)
        vars(other).update(changes)
        return other

    def part(self, rows: slice) -> Self:
        """The step of some of its images, of which it draws other views."""

        def view() -> tuple[Tensor, Tensor]:
            x, y = self.view()
            return x[rows], y[rows]

        return self.but(
            view=view,
            x=self.x[rows],
            attacked=self.attacked[rows],
            targets=self.targets[rows],
            labels=self.labels[rows],
            pseudo=None if self.pseudo is None else self.pseudo[rows],
            start=None if self.start is None else self.start[..., rows, :, :, :],
        )

    def cross_entropy(self, logits: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        """-log softmax(logits) at the targets, mean over the batch or per image [B]. logits [B, K]."""
        targets = self.targets if self.targets.ndim == 1 else self.targets.to(logits.dtype)
        return F.cross_entropy(logits, targets, reduction=reduction)

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
            self.attacked,
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


def classes(y: Tensor) -> Tensor:
    """Labels y, [B] or probabilities [B, K], as classes [B]: the most likely ones."""
    return y if y.ndim == 1 else y.argmax(1)


def _random_state(device: torch.device) -> Tensor:
    """Where the global stream stands that layers on a device draw from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
