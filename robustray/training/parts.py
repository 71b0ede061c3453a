"""A batch in parts, which go through the network one after the other and whose gradients add up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from robustray._later import Tensor, torch
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step


class Parts:
    """A batch of a defense in k parts of one size: as much memory as a k-th of it needs, for images, attack and loss.

    Each part is prepared, attacked and descended as a batch of its own; the loss of the batch is the mean of theirs, and so
    is its gradient. That of the whole batch it is where the loss is a mean over images, up to rounding. It is another one
    where images of a batch meet: batch norm in training mode takes its statistics over a part, and moves the running ones
    once per part; a defense that splits a batch splits each part; weights that are shares of a batch are shares of a part.
    Random draws come in the same order, part by part.

    Args:
        batch: the whole batch, not prepared. parts: how many; they divide it.
        view: draws another augmentation of some of its images.
    """

    def __init__(
        self, defense: Defense, batch: Step, parts: int, view: Callable[[slice], tuple[Tensor, Tensor]] | None = None
    ) -> None:
        self.defense = defense
        each = len(batch.x) // parts
        slices = [slice(begin, begin + each) for begin in range(0, len(batch.x), each)]
        self.steps = [
            defense.prepare(step if view is None else step.but(view=lambda rows=rows: view(rows)))
            for rows, step in ((rows, batch.part(rows) if parts > 1 else batch) for rows in slices)
        ]
        self.x = self._whole([step.x for step in self.steps])
        """Images of all parts as the defense prepared them, [B, C, H, W]."""

    def perturb(self) -> Tensor:
        """x' of all parts, [B, C, H, W]."""
        return self._whole([self.defense.perturb(step) for step in self.steps])

    def backward(self, x_adv: Tensor, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> Loss:
        """The loss at x', [B, C, H, W], whose gradient is added to what the weights' `.grad` holds, and that of x'.

        Args:
            around: what each backward pass is to be inside of.
        """
        if len(self.steps) == 1:
            loss = self.defense.loss(self.steps[0], x_adv)
            with around():
                loss.total.backward()  # type: ignore[no-untyped-call]
            return loss
        sums = dict[str, Tensor]()
        for step, images in zip(self.steps, torch.split(x_adv, len(self.x) // len(self.steps)), strict=True):
            loss = self.defense.loss(step, images)
            with around():
                (loss.total / len(self.steps)).backward()  # type: ignore[no-untyped-call]
            for name, part in loss.parts.items():
                mean = part.detach() / len(self.steps)
                sums[name] = sums[name] + mean if name in sums else mean
        return Loss(**sums)

    @staticmethod
    def _whole(parts: list[Tensor]) -> Tensor:
        return parts[0] if len(parts) == 1 else torch.cat(parts)
