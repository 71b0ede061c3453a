"""What several restarts of an attack climb, and which of their images is kept."""

from __future__ import annotations

from robustray._later import Tensor, nn, torch
from robustray.attacks import losses
from robustray.attacks.base import Objective
from robustray.attacks.norms import per_image
from robustray.errors import UserError


def objectives(
    loss: str | None, model: nn.Module, x: Tensor, y: Tensor, labels: Tensor, restarts: int
) -> list[Objective]:
    """One of an attack's own losses for each restart, each per image [B]; None is cross-entropy.

    Args:
        loss: as `Pgd.loss`. A targeted loss climbs toward the wrong classes at x in turn, the most likely first.
        x: clean images [B, C, H, W]; y: labels [B] or soft labels [B, K]; labels: [B].
    """
    if loss is None or loss == "ce":
        return [lambda outputs, _: losses.cross_entropy(outputs.logits, y, "none")] * restarts
    if loss == "margin":
        return [lambda outputs, _: losses.margin(outputs.logits, labels)] * restarts
    if loss == "pm":
        return [lambda outputs, _: losses.probability_margin(outputs.logits, labels)] * restarts
    if loss == "dlr":
        return [lambda outputs, _: losses.dlr(outputs.logits, labels)] * restarts
    with torch.no_grad():
        clean = model(x)
    if loss == "kl":
        p = clean.softmax(1)
        return [lambda outputs, _: losses.kl(p, outputs.logits, "none")] * restarts
    targets = losses.wrong_classes(clean, labels)
    return [_toward(loss, labels, targets[:, number % targets.shape[1]]) for number in range(restarts)]


def _toward(loss: str, labels: Tensor, target: Tensor) -> Objective:
    if loss == "ce-targeted":
        return lambda outputs, _: -losses.cross_entropy(outputs.logits, target, "none")
    of = {"margin-targeted": losses.margin, "dlr-targeted": losses.dlr}[loss]
    return lambda outputs, _: of(outputs.logits, labels, target)


class Worst:
    """Per image the worst of the x' it was given: the one with the highest loss.

    Args:
        labels: [B]. wrong_first: whether a misclassified x' is worse than any other.
    """

    def __init__(self, labels: Tensor, *, wrong_first: bool = True) -> None:
        self.labels, self.wrong_first = labels, wrong_first
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def begin(self) -> None:
        """Another run begins."""

    def add(self, x_adv: Tensor, logits: Tensor, losses: Tensor) -> Tensor:
        """The worst so far, [B, C, H, W], after x_adv with its logits [B, K] and losses [B]. NaN is kept once it is there.

        Raises:
            UserError: the loss is one number for the whole batch, by which images cannot be told apart.
        """
        told_apart(losses, self.labels)
        wrong = logits.argmax(1) != self.labels
        if not self.wrong_first:
            wrong = torch.zeros_like(wrong)
        if self._kept is not None:
            before, was_wrong, highest = self._kept
            worse = (wrong & ~was_wrong) | ((wrong == was_wrong) & (losses > highest)) | losses.isnan()
            x_adv = torch.where(per_image(worse, x_adv), x_adv, before)
            wrong, losses = wrong | was_wrong, torch.where(worse, losses, highest)
        self._kept = x_adv, wrong, losses
        return x_adv


class Flipped:
    """What PGD-tau keeps of each image: a misclassified x' whose loss is the highest of its run so far, tau + 1 times in a
    run; of all runs the highest; x where no x' is misclassified.

    Args:
        x: clean images [B, C, H, W]. labels: [B]. tau: None for no end.
    """

    def __init__(self, x: Tensor, labels: Tensor, tau: int | None) -> None:
        self.labels, self.tau = labels, tau
        self._kept, self._highest = x, x.new_full(labels.shape, -torch.inf)
        self.begin()

    def begin(self) -> None:
        """Another run begins."""
        self._of_run = torch.full_like(self._highest, -torch.inf)
        self._taken = torch.zeros_like(self.labels)

    def add(self, x_adv: Tensor, logits: Tensor, losses: Tensor) -> Tensor:
        """What is kept so far, [B, C, H, W]; arguments and errors as of `Worst.add`."""
        told_apart(losses, self.labels)
        taken = (logits.argmax(1) != self.labels) & (losses > self._of_run)
        if self.tau is not None:
            taken &= self._taken <= self.tau
        self._taken = self._taken + taken.to(self._taken)
        self._of_run = torch.where(taken, losses, self._of_run)
        better = (taken & (losses > self._highest)) | losses.isnan()
        self._highest = torch.where(better, losses, self._highest)
        self._kept = torch.where(per_image(better, x_adv), x_adv, self._kept)
        return self._kept


def told_apart(losses: Tensor, labels: Tensor) -> None:
    """Raises UserError where losses are not one for each label [B]."""
    if losses.shape != labels.shape:
        raise UserError(
            "restarts and keep compare the x' of each image, but this defense's attack climbs one number for the whole "
            "batch: set attack.loss, for example ce, or restarts: 1 and keep: last"
        )
