"""What a defense is."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.defenses.step import Loss, Step
from robustray.registry import Part

Demand = Literal["an_adversary", "hard_labels", "second_order", "two_backwards", "float32"]
"""What a defense asks of the trial around it; `robustray.trial` has the rules.

an_adversary     it trains on images that an attack made: the trial's attack and threat are for it.
hard_labels      its loss needs one class per image: no augmentation may mix labels.
second_order     its loss differentiates a gradient to the input into the weights.
two_backwards    its loss asks one forward pass for two gradients, one after the other.
float32          a term of its loss is lost in rounding where the network computes in less.
"""


class Defense(Part):
    """A way to train against an adversary: which images to make of a batch, and which loss to descend on them.

    `prepare` runs once per batch, then `perturb` (parameters frozen), then `loss` (training mode). An update may call
    `loss` several times. A defense knows nothing of updates, curricula, schedules, averaging, noise on labels or their
    smoothing: they combine freely.
    """

    kind: ClassVar[str] = "defense"
    published_attack: ClassVar[Attack] = Pgd()
    published_smoothing: ClassVar[Literal["all", "others"]] = "all"
    """Who shares the mass that `batch.label_smoothing` takes, where the trial does not say: as its paper has it."""
    published_collapse: ClassVar[float] = 1.0
    """`checkpoints.collapse` where the trial does not say."""
    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary"})
    perturbs_by: ClassVar[frozenset[str]] = frozenset()
    """Options that `perturb` alone reads: an update that makes x' by itself would ignore them."""
    aux_outputs: ClassVar[int] = 0
    """Outputs that it trains of a model beside the classes."""

    def prepare(self, step: Step) -> Step:
        """The step with draws that perturb and loss must share. Most defenses need none."""
        return step

    @abstractmethod
    def perturb(self, step: Step) -> Tensor:
        """x' [B, C, H, W]; `step.x` itself where a defense has no attack."""

    @abstractmethod
    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        """The loss at x', by named parts, with gradients to the weights."""

    def attack_with(self, wanted: Attack | None) -> Attack:
        """The published attack, with every option that `wanted` sets explicitly put in its place."""
        published = self.published_attack
        if wanted is None:
            return published
        if type(wanted) is not type(published):
            return wanted
        return published.model_copy(update={key: getattr(wanted, key) for key in wanted.model_fields_set})


def has_loss(attack: Attack) -> bool:
    """Whether an attack climbs a loss of the user's own, so that what a defense's objective needs is not computed."""
    return getattr(attack, "loss", None) is not None
