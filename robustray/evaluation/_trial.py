"""Judging a trained trial's selected model."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from torch import nn

from robustray.data._device import DeviceImages
from robustray.evaluation._judge import judge_shard
from robustray.evaluation.plan import Plan
from robustray.training._trainer import load_model, pick_device
from robustray.trial import TrialConfig
from robustray.verdicts import CLEAN, Shard


class TrialJudge:
    """One trial's selected model and its judgement on one split."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        split: Literal["validation", "test"],
        *,
        shard_size: int,
        weights: str | None = None,
        device: str = "auto",
    ) -> None:
        """Loads the model.

        Args:
            folder: the trial's folder. root: where its judgements lie.
            weights: the hash that the selected weights must have; anything else is an error.

        Raises:
            UserError: no whole checkpoint. RuntimeError: the checkpoint holds other weights.
        """
        self.config, self.model, found = _load(folder, weights, device)
        if weights is not None and found != weights:
            raise RuntimeError(f"{folder}: the selected weights are {found[:12]}, the record says {weights[:12]}")
        self.device = pick_device(device)
        self.plan = Plan.of(self.config.judge, found, split, shard_size=shard_size)
        self.folder = self.plan.folder(root)
        self.attacks = (CLEAN, *self.plan.attacks)

    def shard(self, attack: str, number: int) -> Shard:
        """Runs one attack on one shard (or reads what is there)."""
        rows = self.plan.shard(number)
        images = DeviceImages(self.config.judge.data.load(self.plan.split).take(rows), self.device)
        x, y = images.batch(slice(None))
        return judge_shard(
            self.model,
            x,
            y,
            rows,
            self.config.judge.threat,
            attack=attack,
            earlier=self.attacks[: self.attacks.index(attack)],
            shard=number,
            seed=self.plan.seed,
            folder=self.folder,
        )


@lru_cache(maxsize=2)  # the attacks of one trial come in a row
def _load(folder: Path, weights: str | None, device: str) -> tuple[TrialConfig, nn.Module, str]:
    return load_model(folder, device)
