"""What goes wrong inside a driver's process: put in place there before it begins."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

Kind = Literal["nan", "nan for ever", "out of memory", "hang", "clock", "slow"]
STEPS = 9
"""Of an epoch of these trials."""


@dataclass(frozen=True)
class Plan:
    """One thing that goes wrong.

    Attributes:
        trial: the number of the trial that is hit. step: at which of its optimiser steps, from 0.
        token: a file that is made when it happens: what happens once does not happen again.
        seed: of what is drawn as it goes on.
    """

    kind: Kind
    trial: int
    step: int
    token: Path
    seed: int = 0


def install(plan: Plan) -> None:
    """Puts it in place, in this process."""
    match plan.kind:
        case "clock":
            _step_the_clock(plan)
        case "slow":
            _slow_down(plan)
        case _:
            _in_training(plan)


def _in_training(plan: Plan) -> None:
    from robustray.training.trainer import Trainer

    honest = Trainer.train_step

    def step(self: Trainer, rows: torch.Tensor) -> None:
        here = self.completed * self.steps_per_epoch + self.progress.batch_in_epoch
        hit = self.folder.name == f"{plan.trial:04d}" and here == plan.step
        again = plan.kind == "nan for ever"
        if not hit or (plan.token.exists() and not again):
            honest(self, rows)
            return
        plan.token.touch()
        if plan.kind == "out of memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if plan.kind == "hang":
            time.sleep(10_000)
        honest(self, rows)
        with torch.no_grad():  # what a flipped exponent bit does
            next(self.model.parameters()).view(-1)[0] = float("nan")

    Trainer.train_step = step  # type: ignore[method-assign]


def _step_the_clock(plan: Plan) -> None:
    """The wall clock jumps by up to a day, either way, about once a second; the one that only grows does not."""
    chance, since, honest = random.Random(plan.seed), time.monotonic(), time.time
    jumps = [chance.uniform(-86_400, 86_400) for _ in range(1000)]
    plan.token.touch()

    def off() -> float:
        return jumps[int(time.monotonic() - since) % len(jumps)]

    time.time = lambda: honest() + off()
    time.time_ns = lambda: int((honest() + off()) * 1e9)


def _slow_down(plan: Plan) -> None:
    """Every sync to disk and every rename takes up to 50 ms, one in fifty a whole second."""
    chance = random.Random(plan.seed)
    plan.token.touch()

    def late(honest: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            time.sleep(1.0 if chance.random() < 0.02 else chance.uniform(0, 0.05))
            return honest(*args, **more)

        return call

    os.fsync = late(os.fsync)
    os.replace = late(os.replace)
