"""What a defense is."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.registry import Part, Real

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses.step import Loss, Step


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
    second_order: ClassVar[bool] = False  # whether its loss differentiates a gradient to the input into the weights
    goes_back_twice: ClassVar[bool] = False  # whether its loss asks one pass for two gradients, one after the other
    aux_outputs: ClassVar[int] = 0  # what it trains of a model beside the classes

    label_smoothing: Real = Field(
        0.0, ge=0, lt=1, description="mass s that the loss moves off the true class; attacks see labels as they are"
    )
    smoothed_onto: Literal["all", "others"] = Field(
        "all", description="who shares that mass: all K classes (the true one keeps 1 - s + s/K), or the K - 1 others"
    )

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

    def largest_drop(self) -> float | None:
        """By how much PGD accuracy on training images may fall in an epoch before training ends; None: it never does."""
        return None

    def attack_with(self, wanted: Attack | None) -> Attack:
        """The published attack, with every option that `wanted` sets explicitly put in its place."""
        published = self.published_attack
        if wanted is None:
            return published
        if type(wanted) is not type(published):
            return wanted
        return published.model_copy(update={key: getattr(wanted, key) for key in wanted.model_fields_set})

    def targets(self, step: Step, logits: Tensor) -> Tensor:
        """What the loss descends to: the step's targets, smoothed as the options say; [B], or [B, K] as logits."""
        from robustray.attacks.losses import smoothed

        if not self.label_smoothing:
            return step.targets
        return smoothed(step.targets, logits, self.label_smoothing, self.smoothed_onto)


def has_loss(attack: Attack) -> bool:
    """Whether an attack climbs a loss of the user's own, so that what a defense's objective needs is not computed."""
    return getattr(attack, "loss", None) is not None
