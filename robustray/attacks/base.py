"""What an attack is, and an attack bound to a threat."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.mode import attack_mode
from robustray.attacks.threats import Threat
from robustray.errors import NotFinite
from robustray.registry import Part


class Outputs(NamedTuple):
    """What a model says of a batch: logits [B, classes]."""

    logits: Tensor


Objective = Callable[[Outputs, Tensor], Tensor]
"""What an attack climbs: (outputs at x', x') -> per image [B], or one scalar for the batch where images are coupled.

Attacks that compare images, as restarts do, need the first. Steps ask for the gradient of the sum.
"""


class Attack(Part):
    """Looks for images inside a threat on which a model does badly.

    Calling an attack is safe by construction: parameters are frozen (no weight gradients), mode and flags come back per
    module, batch-norm buffers stay as they were, and the result is checked (inside the ball, inside [0, 1], finite).
    """

    kind: ClassVar[str] = "attack"
    default: ClassVar[str | None] = "pgd"
    mode: Literal["eval", "train_frozen", "train"] = Field(
        "eval", description="the model's mode during the attack; train_frozen uses batch statistics, moves none"
    )

    @abstractmethod
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
        """The attack itself. `model` is frozen and in the attack's mode. Returns x' [B, C, H, W]."""

    def starts(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor | None:
        """All that an attack draws for a batch: images that `start` takes, [R, B, C, H, W]; None where it draws nothing.

        Who draws them image by image makes x' a function of the image alone, whatever the batch.
        """
        return None

    @property
    @abstractmethod
    def passes(self) -> int:
        """Forwards plus input gradients per image, its own loss included; a defense adds what its objective needs."""

    def __call__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
        objective: Objective | None = None,
        violations: Tensor | None = None,
    ) -> Tensor:
        """Attacks a batch.

        Args:
            model: maps pixels in [0, 1], [B, C, H, W], to logits [B, classes].
            x: clean images [B, C, H, W] in [0, 1]; y: labels [B].
            threat: the norm and eps (pixels of [0, 1]).
            start: the images where the attack starts, [B, C, H, W]; with restarts also [R, B, C, H, W] for the first
                R of them. What is not given is drawn as the options say.
            generator: where random starts come from; torch's global one when None.
            objective: what to climb instead of the attack's own loss.
            violations: a boolean scalar on the device that collects broken promises; with None they raise at once.

        Raises:
            ValueError: x is outside [0, 1], there are more starts than restarts, or the result is outside the ball or
                outside [0, 1].
            UserError: the loss does not fit: too few classes, or one number for a batch that restarts must tell apart.
            NotFinite: the result is not finite, as the model or its gradients are not.
        """
        if violations is None and not bool(((x >= 0) & (x <= 1)).all()):  # a NaN is outside
            raise ValueError("images must be pixels in [0, 1]: put normalisation into the model's first layer")
        with attack_mode(model, self.mode):
            x_adv = self.run(model, x, y, threat, objective=objective, start=start, generator=generator).detach()
        broken = threat.violated(x_adv, x)
        if violations is not None:
            violations |= broken
        elif broken:
            if not bool(x_adv.isfinite().all()):
                raise NotFinite(f"{self.name}: the model or its gradients are not finite")
            raise ValueError(f"{self.name} left the {threat.norm} ball of eps {threat.eps:g} or [0, 1]")
        return x_adv

    def bind(self, threat: Threat) -> BoundAttack:
        """This attack inside a threat."""
        return BoundAttack(self, threat)


@dataclass(frozen=True)
class BoundAttack:
    """An attack and the threat it works in: `bound(model, x, y, ...)`, arguments as in `Attack.__call__`."""

    attack: Attack
    threat: Threat

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, **options: Any) -> Tensor:
        return self.attack(model, x, y, self.threat, **options)
