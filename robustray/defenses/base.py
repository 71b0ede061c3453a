"""What a defense is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.registry import Part

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses._step import Loss, Step


class Passes(NamedTuple):
    """Passes of one step over a batch: a forward of an image is 1, a backward to the input 1, to the weights 1 more.

    A backward through a gradient to the input, as second-order losses need, counts as a backward of its own: 2.
    """

    perturb: int
    """Making x'."""
    loss: int
    """One loss at x' with its gradient to the weights."""


class Defense(Part):
    """A way to train against an adversary: which images to make of a batch, and which loss to descend on them.

    `prepare` runs once per batch, then `perturb` (parameters frozen), then `loss` (training mode). An update may call
    `loss` several times. A defense knows nothing of updates, curricula, schedules or averaging: they combine freely.
    """

    kind: ClassVar[str] = "defense"
    published_attack: ClassVar[Attack] = Pgd()
    soft_labels: ClassVar[bool] = False  # whether y may be [B, K] probabilities

    def prepare(self, step: Step) -> Step:
        """The step with draws that perturb and loss must share. Most defenses need none."""
        return step

    @abstractmethod
    def perturb(self, step: Step) -> Tensor:
        """x' [B, C, H, W]; `step.x` itself where a defense has no attack."""

    @abstractmethod
    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        """The loss at x', by named parts, with gradients to the weights."""

    @abstractmethod
    def passes(self, attack: Attack, images: int) -> Passes:
        """What one step over a batch of so many images costs."""

    def attack_with(self, wanted: Attack | None) -> Attack:
        """The published attack, with every option that `wanted` sets explicitly put in its place."""
        published = self.published_attack
        if wanted is None:
            return published
        if type(wanted) is not type(published):
            return wanted
        return published.model_copy(update={key: getattr(wanted, key) for key in wanted.model_fields_set})
