"""One training, measured at rungs: the rows that a table of learning curves is made of."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from robustray.data.device import DeviceImages
from robustray.data.splits import stratified
from robustray.errors import Diverged, NotFinite
from robustray.measures.accuracy import measured
from robustray.training.trainer import Trainer
from robustray.trial import TrialConfig

RUNGS = (1, 2, 3, 4, 6, 9, 13, 18, 22, 27)
"""Of 27 epochs, about the geometric mean of neighbours apart early on."""
METRICS = ("clean_accuracy", "robust_accuracy")


def rungs(epochs: int) -> tuple[int, ...]:
    """The epochs of a training at which it is measured: RUNGS, scaled, each once."""
    return tuple(sorted({max(1, round(rung * epochs / RUNGS[-1])) for rung in RUNGS}))


class Timed(Trainer):
    """The trainer, with a clock that runs in training steps alone. It writes no checkpoints: what is cut short is made anew."""

    def __init__(self, config: TrialConfig, folder: Path, *, device: str) -> None:
        self.seconds = self.cpu_seconds = 0.0
        super().__init__(config, folder, device=device, threads=1)

    def train_step(self, rows: Tensor) -> None:
        """One batch, timed."""
        begun, cpu = time.monotonic(), time.process_time()
        super().train_step(rows)
        self.seconds += time.monotonic() - begun
        self.cpu_seconds += time.process_time() - cpu

    def save(self) -> None:
        """Nothing."""

    def place_in_table(self, epoch: int) -> dict[str, Any]:
        """How far it is."""
        clocks = {"seconds": round(self.seconds, 5), "cpu_seconds": round(self.cpu_seconds, 5)}
        return {"epoch": epoch, "epochs": self.epochs, **clocks}


class Judge:
    """Clean and robust accuracy by the space's cheap attack: on validation, and at the end on test, which no search sees."""

    def __init__(self, trainer: Timed) -> None:
        judge = trainer.config.judge
        self.attack = judge.cheap.bind(judge.threat)
        test = judge.data.load("test")
        if (wanted := judge.images.test) != "all":
            test = test.take(stratified(test.labels, wanted, "judge test")[0])
        self.models = {"raw": trainer.model, "averaged": trainer.average.model}
        self.images = {"validation": trainer.selection.images, "test": DeviceImages(test, trainer.device)}

    def row(self, *, last: bool) -> dict[str, float]:
        """Accuracies of the weights as they are now, and of their average."""
        row = dict[str, float]()
        for weights, model in self.models.items():
            for split, images in self.images.items():
                if split == "test" and not last:
                    continue
                found = measured(model, images, self.attack).named()
                row |= {f"{split}_{weights}_{metric}": round(found[metric], 6) for metric in METRICS}
        return row


def curve(config: TrialConfig, at: Collection[int], device: str) -> list[dict[str, Any]]:
    """Trains a trial and measures it after the epochs `at`.

    Returns:
        A row for each of them: epoch, epochs, seconds and cpu_seconds of training steps until then, accuracies by
        `<split>_<weights>_<metric>`, outcome. Of a training that diverges, those before, and one without accuracies of the
        epoch in which it did.
    """
    rows: list[dict[str, Any]] = []
    outcome = "complete"
    with tempfile.TemporaryDirectory() as folder:
        trainer = Timed(config, Path(folder), device=device)
        judge = Judge(trainer)
        try:
            while not trainer.done:
                trainer.epoch()
                if trainer.completed in at:
                    with trainer.at_work():
                        rows.append({**trainer.place_in_table(trainer.completed), **judge.row(last=trainer.done)})
        except (Diverged, NotFinite):
            outcome = "diverged"
            broke = max(trainer.completed, rows[-1]["epoch"] + 1 if rows else 1)  # counted before its loss is looked at
            rows.append(trainer.place_in_table(broke))
    return [{**row, "outcome": outcome} for row in rows]
