"""Validation after an epoch, and which checkpoint of a training counts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.data.device import DeviceImages
from robustray.errors import Diverged, NotFinite
from robustray.measures.accuracy import Measured, measured
from robustray.measures.metrics import SHARES
from robustray.measures.spatial import spatial
from robustray.training import checkpoints
from robustray.training.together import ALONE, Alone
from robustray.trial import TrialConfig


class Selection:
    """Clean and robust accuracy of averaged models on the tune list, and the epoch whose average counts: the last, or with
    `select: best_robust` the first of the best, which is kept in `best-<epoch>.pt`.

    Args:
        folder: the trial's.
        group: the processes that measure together, of which the first keeps the best.

    Raises:
        UserError: the data is missing or too small.
    """

    def __init__(self, config: TrialConfig, folder: Path, device: torch.device, group: Alone = ALONE) -> None:
        judge = config.judge
        self.rows = judge.lists()[1]
        self.images = DeviceImages(judge.data.load("validation").take(self.rows), device)
        self.spatial = judge.spatial
        self.attack = judge.cheap.bind(judge.threat)
        self.folder = folder
        self.group = group
        self.keeps_best = config.checkpoints.select == "best_robust"
        self.best: dict[str, float] | None = None
        """Its epoch and its accuracies."""
        self._before = self._path()  # of the checkpoint that the next one makes previous.pt

    @property
    def passes(self) -> int:
        """Of one validation."""
        return len(self.images) * (2 + self.attack.attack.passes)

    def validate(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """Accuracies and fooling rate, by the names of their metrics, of the averaged model after so many epochs; the best one
        is kept.

        Raises:
            Diverged: the model or its gradients are not finite.
        """
        found = self.look(model, epoch)
        if self.keeps_best and (self.best is None or found.robust > self.best["robust_accuracy"]):
            self.best = {"epoch": float(epoch), **found.named()}
            if self.group.first:
                checkpoints.save(self._path(), {"average": checkpoints.contiguous(model)})
        return found.named()

    def look(self, model: nn.Module, epoch: int) -> Measured:
        """What a model is worth after so many epochs. Nothing is kept.

        Raises:
            Diverged: the model or its gradients are not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
            raise Diverged(f"a weight is not finite after epoch {epoch}")
        try:
            return measured(self.group.network(model), self.images, self.attack)
        except NotFinite as error:  # the last step of an epoch may go too far without its loss telling
            raise Diverged(f"validation after epoch {epoch}: {error}") from error

    @property
    def last_passes(self) -> int:
        """Of what is measured once more as training ends."""
        return 0 if self.spatial is None else len(self.images) * self.spatial.passes

    def at_the_end(self, model: nn.Module, epoch: int) -> dict[str, float]:
        """What is asked of the weights that count alone, where `model` is the average after the last epoch: accuracies under
        rotations and translations. Nothing without `judge.spatial`.
        """
        if self.spatial is None:
            return {}
        if self.best is not None and int(self.best["epoch"]) != epoch:
            model = copy.deepcopy(model)
            model.load_state_dict(self.weights(model, epoch))
        return spatial(self.group.network(model), self.images, self.rows, self.spatial)

    def accuracies(self, row: dict[str, float]) -> dict[str, float]:
        """Those of the checkpoint that counts if training ends with this row of metrics.csv, as far as it was validated."""
        counts = row | (self.best or {})  # what is measured as training ends is of the best one already
        return {key: counts[key] for key in SHARES if key in counts}

    def weights(self, model: nn.Module, epoch: int) -> dict[str, Tensor]:
        """The weights that count, where `model` is the average after so many epochs."""
        if self.best is None or int(self.best["epoch"]) == epoch:
            return model.state_dict()
        best: dict[str, Tensor] = checkpoints.load(self._path())["average"]
        return best

    def tidy(self, epoch: int) -> None:
        """Removes the best ones that neither last.pt nor previous.pt names, once the checkpoint of an epoch is written."""
        keep = {self._path(), self._before}
        self._before = self._path()
        for old in self.folder.glob("best-*.pt"):
            # a newer one is an orphan's, or will be ours
            if old not in keep and int(old.stem.split("-")[1]) <= epoch:
                old.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]
        self._before = self._path()

    def _path(self) -> Path:
        return checkpoints.best(self.folder, self.best)
