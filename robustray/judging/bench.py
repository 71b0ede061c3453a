"""A model on the bench: what each stage of its plan does to a batch of images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.attacks import autoattack, norms
from robustray.data.splits import Indices
from robustray.judging import checks, early, gradients, images
from robustray.judging.answers import votes
from robustray.judging.flags import WHITE_BOX
from robustray.judging.plan import CLAIMED, EARLY, JOINED, Plan
from robustray.judging.through_parts import NO_PARTS, Parts
from robustray.judging.ticks import Tick, counting
from robustray.judging.time_left import forwards
from robustray.seeding import derive
from robustray.verdicts import CLEAN, PARTS


@dataclass(frozen=True)
class Batch:
    """The images of a shard that a stage looks at: x [n, C, H, W] in [0, 1] and labels y [n], with their rows [n]."""

    stage: str
    shard: int
    rows: Indices
    x: Tensor
    y: Tensor
    whole: tuple[Tensor, Tensor, Tensor] | None = (
        None  # x, y of the shard, and which [N] of it these are; None: all of it
    )

    def shard_of(self) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, C, H, W] and y [N] of the whole shard, and which of it [N] is looked at."""
        return self.whole or (self.x, self.y, torch.ones_like(self.y, dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.x)

    def part(self, of: slice) -> Batch:
        """Some of the images."""
        return replace(self, rows=self.rows[of], x=self.x[of], y=self.y[of], whole=None)


@dataclass(frozen=True)
class Found:
    """What a stage did to a batch: x' [n, C, H, W], predicted class [n], fraction of passes that were right [n]."""

    x_adv: Tensor
    predicted: Tensor
    correct: Tensor
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """A model, the plan it is judged by, and the folder its verdicts go to.

    The model maps pixels [B, C, H, W] in [0, 1] to logits; here it is in eval mode, float32, its parameters frozen.
    """

    model: nn.Module
    plan: Plan
    folder: Path
    parts: Parts = NO_PARTS  # what stands in for a mixture in the stage `parts`
    known: tuple[str, ...] = ()  # flags that need no look at its answers

    def seed(self, batch: Batch) -> int:
        """That of a stage on a shard."""
        return derive(self.plan.seed, batch.stage, batch.shard)

    def run(self, batch: Batch, tick: Tick | None = None) -> Found:
        """One stage on one batch. What it broke outside the threat or [0, 1] is not broken.

        Raises:
            UserError: the model has too few classes for the attack, or images to join do not fit.
        """
        x, y = batch.x, batch.y
        if not len(batch):
            return Found(x, y, y.float())
        if batch.stage == CLEAN:
            looked = self._looked_at(batch)
            predicted, correct, unfinished = self.answers(batch, x)
            return Found(x, predicted, correct, looked | _said(unfinished))
        if batch.stage == CLAIMED:
            right = torch.from_numpy(images.claimed(self.plan.files[CLAIMED], batch.rows)).to(x.device)
            return Found(x, torch.where(right, y, -1), right.float())
        x_adv, info = self._attacked(batch, tick)
        predicted, correct, unfinished = self.answers(batch, x_adv)
        outside = ~self.plan.threat.inside(x_adv, x) & (correct < 1)
        if bool(outside.any()):
            info["outside"] = info.get("outside", 0) + int(outside.sum())
            predicted, correct = torch.where(outside, y, predicted), torch.where(outside, 1.0, correct)
            x_adv = torch.where(outside[:, None, None, None], x, x_adv)
        info |= _said(unfinished & ~outside)  # of images outside the threat it is no wonder
        broken = correct == 0
        if bool(broken.any()):
            info["largest"] = float(norms.length((x_adv[broken].double() - x[broken]), self.plan.threat.norm).max())
        return Found(x_adv, predicted, correct, info)

    def answers(self, batch: Batch, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The class [B] that most passes give at x, the fraction [B] of passes that give the label y [B] (the batch's, where
        it is not given), and which [B] answers are not finite.

        Random numbers inside the model are a function of plan, stage and shard, so that the same question has one answer.
        """
        seed = derive(self.plan.seed, batch.stage, batch.shard, "answers")
        return votes(self.model, x, batch.y if y is None else y, self.plan.passes, seed)

    def _looked_at(self, batch: Batch) -> dict[str, Any]:
        """Flags that need no attack, and what a step along the gradient does, where attacks will follow it."""
        x, y = batch.x, batch.y
        told: dict[str, Any] = {"flags": [*checks.flags(self.model, x), *self.known]}
        if not WHITE_BOX & set(self.plan.stages):
            return told
        if batch.shard == 0 and gradients.lead_nowhere(self.model, x, y):
            told["flags"].append("gradients_lead_nowhere")
        step = gradients.first_step(self.model, x, y, self.plan.threat)
        counts = {"vanished_gradients": step.vanished, "unfinished_gradients": step.unfinished}
        return told | {"fgsm": step.left} | {name: count for name, count in counts.items() if count}

    def _attacked(self, batch: Batch, tick: Tick | None) -> tuple[Tensor, dict[str, Any]]:
        """x' of a stage that makes some, with what it says about them."""
        if batch.stage == JOINED:
            x_adv, outside = self._joined(batch)
            return x_adv, {"outside": outside}
        if batch.stage == EARLY:
            return early.attack(self.model, batch.x, batch.y, self.plan.threat), {}
        if batch.stage == PARTS:
            return self._through_parts(batch, tick), {}
        with counting(self.model, forwards(batch.stage, self.plan.threat.norm, self.plan.strength), tick):
            x_adv, pieces, zero = self._in_pieces(batch, batch.stage, self.model)
        return x_adv, {"pieces": pieces, "zero_gradients": zero}

    def _joined(self, batch: Batch) -> tuple[Tensor, int]:
        """Others' images: of several files the one that fewest passes get right; and how many break the rules."""
        x_adv, least, outside = batch.x, torch.full(batch.y.shape, torch.inf, device=batch.x.device), 0
        for file in self.plan.files[JOINED]:
            theirs, beyond = images.joined(file, batch.rows, batch.x, self.plan.threat)
            correct = self.answers(batch, theirs)[1]
            x_adv = torch.where((correct < least)[:, None, None, None], theirs, x_adv)
            least, outside = torch.minimum(correct, least), outside + beyond
        return x_adv, outside

    def _through_parts(self, batch: Batch, tick: Tick | None) -> Tensor:
        """x' of the batch's images by the stage `parts`, which works on whole shards."""
        x, y, of_batch = batch.shard_of()

        def run(attack: str, part: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            return self._in_pieces(Batch(batch.stage, batch.shard, batch.rows[:0], x, y), attack, part)[0]

        def stands(x_adv: Tensor) -> Tensor:
            return self.answers(batch, x_adv, y)[1] > 0

        return self.parts.attacked(self.plan, batch.shard, x, y, of_batch, run, stands, tick)[of_batch]

    def _in_pieces(self, batch: Batch, attack: str, model: nn.Module) -> tuple[Tensor, int, int]:
        """x', in how many pieces it was made, and how many gradients were zero.

        Where a batch does not fit into memory, its fixed halves are attacked.
        """
        plan, seed = self.plan, self.seed(batch) % 2**31
        try:
            x_adv, zero = autoattack.run(attack, model, batch.x, batch.y, plan.threat, seed, plan.strength)
            return x_adv, 1, zero
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise
        torch.cuda.empty_cache()  # outside the handler: the exception holds the tensors that did not fit
        half = len(batch) // 2
        first, before, zero = self._in_pieces(batch.part(slice(None, half)), attack, model)
        second, after, also_zero = self._in_pieces(batch.part(slice(half, None)), attack, model)
        return torch.cat([first, second]), before + after, zero + also_zero


def _said(unfinished: Tensor) -> dict[str, Any]:
    return {"not_finite": int(unfinished.sum())} if bool(unfinished.any()) else {}
