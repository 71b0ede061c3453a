"""How far a training has come, and what it has added up to."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from robustray.defenses.step import Loss

Report = dict[str, Any]


@dataclass
class Progress:
    """How far a training of so many epochs has come, what it measured and what it cost so far."""

    epochs: int
    completed: int = 0
    """Whole epochs."""
    batch_in_epoch: int = 0
    """Batches done of the epoch in progress."""
    descents: int = 0
    """Optimiser steps of the whole training."""
    ended: bool = False
    """By the guard, before the last epoch."""
    history: list[dict[str, float]] = field(default_factory=list)
    """A row per epoch: metrics.csv."""
    seconds: float = 0.0
    passes: int = 0
    """Passes through the network, each of one image."""
    batch_passes: int | None = None
    """Those of one batch, as counted on the first; None before."""
    exact: bool = True
    """Whether a resume happened only where it continues bit for bit."""
    report: Report | None = None
    """The last one."""

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, or training ended before."""
        return self.ended or self.completed >= self.epochs

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._saved}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What an older checkpoint does not know stays as it is at the beginning."""
        for name in self._saved:
            if name in state:
                setattr(self, name, state[name])

    @property
    def _saved(self) -> list[str]:
        return [each.name for each in fields(self) if each.name != "epochs"]


class Sums:
    """What the steps of an epoch add up to, on the device: the host reads nothing before the epoch's end."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.losses: dict[str, Tensor] = {}
        """The loss and its parts, as columns of metrics.csv, of the epoch in progress."""
        self.violations = torch.zeros((), dtype=torch.bool, device=device)
        """Whether an attack broke a promise, in any epoch."""

    def add(self, loss: Loss) -> None:
        """A step's loss and its parts."""
        for name, part in {**loss.parts, "": loss.total}.items():
            key = f"loss_{name}" if name else "loss"
            self.losses[key] = self.losses.get(key, torch.zeros((), device=self.device)) + part.detach()

    def means(self, count: int) -> dict[str, float]:
        """The means over `count` steps, which the next epoch's begin after. Here the host waits for the device."""
        totals = torch.stack(list(self.losses.values())).tolist()
        means = {key: total / count for key, total in zip(self.losses, totals, strict=True)}
        self.losses = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.losses), "violations": self.violations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses = {key: value.to(self.device) for key, value in state["sums"].items()}
        self.violations = state["violations"].to(self.device)
