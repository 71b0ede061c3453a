"""One model with its images: what is judged, stage by stage and shard by shard."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from robustray.data.device import DeviceImages
from robustray.data.splits import Indices
from robustray.derived.mixture import known_flags, parts_of
from robustray.devices import pick_device
from robustray.files import Stamp
from robustray.judge import Judge
from robustray.judging.answers import Copies
from robustray.judging.bench import Bench
from robustray.judging.plan import Plan
from robustray.judging.stage import broken_first, judge_shard
from robustray.judging.through_parts import Parts
from robustray.judging.ticks import Tick
from robustray.memory import keep_large_blocks
from robustray.numerics import channels_last
from robustray.subjects.classifier import Classifier
from robustray.subjects.spec import in_folder
from robustray.verdicts import Shard


class Case:
    """A classifier, the images of one split, and the plan by which it is judged on them."""

    def __init__(
        self,
        model: nn.Module,
        weights: str,
        judge: Judge,
        split: Literal["validation", "test"],
        root: Path,
        *,
        shard_size: int,
        device: str = "auto",
        named: Mapping[str, Any] | None = None,
        files: Mapping[str, tuple[Path, ...]] | None = None,
        shared: Path | None = None,
        square_early: bool = False,
    ) -> None:
        """Makes the plan and its folder.

        Args:
            model: maps pixels [B, C, H, W] in [0, 1] to logits. weights: their hash.
            judge: data, threat, version. root: where judgements lie.
            named: what else tells this model from others. files: images and verdicts of others to join.
            shared: where images that break a mixture's parts are kept for other mixtures of them; None: nowhere.
            square_early: see `Plan.of`.
        """
        self.device = pick_device(device)
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.judge = judge
        parts = parts_of(self.model)
        self.plan = Plan.of(
            judge,
            weights,
            split,
            shard_size=shard_size,
            model=named,
            files=files,
            mixture=bool(parts),
            square_early=square_early,
        )
        self.folder = self.plan.folder(root)
        self.bench = Bench(Copies(self.model), self.plan, self.folder, Parts.of(parts, shared), known_flags(self.model))
        if self.device.type == "cpu":
            keep_large_blocks()
            channels_last(self.model, self._batch(self.plan.rows[:2])[0])

    @classmethod
    def of_trial(
        cls,
        folder: Path,
        root: Path,
        split: Literal["validation", "test"],
        *,
        shard_size: int,
        weights: str | None = None,
        device: str = "auto",
        version: str | None = None,
        shared: Path | None = None,
        square_early: bool = False,
    ) -> Case:
        """A trial's selected model, or a derived point, judged as the trial says.

        Args:
            folder: the trial's folder. root: where its judgements lie.
            weights: the hash that the selected weights must have; anything else is an error.
            version: instead of the trial's own `judge.version`.
            shared, square_early: as in the constructor.

        Raises:
            UserError: no whole checkpoint. RuntimeError: the checkpoint holds other weights.
        """
        found = _in_folder(folder, weights, _stamp(folder))
        if weights is not None and found.weights != weights:
            raise RuntimeError(
                f"{folder}: the selected weights are {found.weights[:12]}, the record says {weights[:12]}"
            )
        assert found.judge is not None
        judge = found.judge if version is None else found.judge.model_copy(update={"version": version})
        return cls(
            found.model,
            found.weights,
            judge,
            split,
            root,
            shard_size=shard_size,
            device=device,
            shared=shared,
            square_early=square_early,
        )

    def images(self, shard: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One shard's pixels [n, C, H, W] in [0, 1] and labels [n], on the device."""
        return self._batch(self.plan.shard(shard))

    def _batch(self, rows: Indices) -> tuple[torch.Tensor, torch.Tensor]:
        kept = DeviceImages(self.judge.data.load(self.plan.split).take(rows), self.device)  # type: ignore[arg-type]
        return kept.batch(slice(None))

    def shard(
        self, stage: str, number: int, *, keep_images: bool = False, ahead: bool = False, tick: Tick | None = None
    ) -> Shard:
        """Runs one stage on one shard (or reads what is there); options as in `judge_shard`."""
        x, y = self.images(number)
        return judge_shard(self.bench, x, y, stage, number, keep_images=keep_images, ahead=ahead, tick=tick)

    def broken_first(self, verdicts: Shard) -> int:
        """How many images a stage broke that no stage before it had broken."""
        return broken_first(self.plan, self.folder, verdicts)


def _stamp(folder: Path) -> Stamp | None:
    """Of the file that names the model: a derived point's, or the last checkpoint, which names the best one too."""
    there = [path for name in ("point.pt", "last.pt") if (path := folder / name).is_file()]
    return Stamp.of(there[0]) if there else None  # where it is missing or damaged, the one before it is read


@lru_cache(maxsize=2)  # the stages of one trial come in a row
def _in_folder(folder: Path, weights: str | None, stamp: Stamp | None) -> Classifier:
    return in_folder(folder)
