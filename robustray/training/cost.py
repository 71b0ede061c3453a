"""What a trial will cost, from a few timed steps."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustray.data.device import DeviceImages
from robustray.measures.accuracy import accuracies
from robustray.measures.spatial import spatial
from robustray.training import checkpoints
from robustray.training.trainer import Trainer
from robustray.trial import TrialConfig

STEPS = 4  # timed ones
WARM = {"off": 1, "default": 1, "max": 3}  # before them: a step compiles, the next records CUDA graphs
PATIENCE = 5.0  # seconds of timed steps after which no further one is taken
IMAGES = 100  # that validation is timed on
TABLES = 6000  # bytes of a trial's `trial.yaml`, `log.txt` and lines of the record
ROW = 170  # bytes of an epoch in `metrics.csv`


@dataclass(frozen=True)
class TrialCost:
    """Of one trial, as far as a few steps tell."""

    step: float  # seconds of an optimiser step
    steps: int  # in the whole training
    validation: float  # seconds of one validation
    validations: int
    checkpoint: int  # bytes
    last: float = 0.0  # seconds of what is measured once, as it ends

    @property
    def seconds(self) -> float:
        """The whole training."""
        return self.step * self.steps + self.validation * self.validations + self.last

    def files(self, best: bool) -> int:
        """Bytes on disk: last, previous, and the best one where it is kept."""
        return self.checkpoint * (3 if best else 2)


def trial(config: TrialConfig, *, device: str = "auto", threads: int | None = None) -> TrialCost:
    """Trains a few steps of a trial in a folder that is thrown away.

    Raises:
        UserError: the data is missing or too small for the batch. Exception: whatever the trial raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder) / "probe", device=device, threads=threads)
        order = trainer.batches.order(0)
        size, times = config.batch.size, list[float]()
        warm = WARM[config.compile]
        with trainer.at_work():
            for number in range(warm + STEPS):
                begin = number % trainer.steps_per_epoch * size
                moment = time.perf_counter()
                trainer.train_step(order[begin : begin + size])
                _wait(trainer.device)
                times.append(time.perf_counter() - moment)
                if sum(times[warm:]) > PATIENCE:
                    break
            times = times[warm:]
            tune = config.judge.data.load("validation").take(config.judge.lists()[1])
            images = DeviceImages(tune.take(np.arange(min(IMAGES, len(tune)))), trainer.device)
            moment = time.perf_counter()
            accuracies(trainer.average.model, images, trainer.selection.attack)
            _wait(trainer.device)
            validation = (time.perf_counter() - moment) * len(tune) / len(images)
            last = 0.0
            if config.judge.spatial is not None:
                moment = time.perf_counter()
                spatial(trainer.average.model, images, trainer.selection.rows[: len(images)], config.judge.spatial)
                _wait(trainer.device)
                last = (time.perf_counter() - moment) * len(tune) / len(images)
            trainer.save()
        checkpoint = (trainer.folder / "last.pt").stat().st_size
    every = config.checkpoints.validate_every
    return TrialCost(
        sorted(times)[len(times) // 2],
        trainer.steps_per_epoch * trainer.epochs,
        validation,
        -(-trainer.epochs // every),
        checkpoint,
        last,
    )


def kept(config: TrialConfig) -> int:
    """Bytes that stay on disk of a trial that is done: its last state, weights of the best epoch where they are kept, those of
    snapshots, and its tables.

    The state has the optimiser's moments, which PyTorch makes at the first step: one is done, with gradients of zero.

    Raises:
        UserError: the data is missing or too small for the batch. Exception: whatever the trial raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, Path(folder) / "probe", device="cpu", threads=1)
        for group in trainer.optimiser.param_groups:
            for weight in group["params"]:
                weight.grad = torch.zeros_like(weight)
        trainer.optimiser.step()
        trainer.save()
        size = (trainer.folder / "last.pt").stat().st_size
        checkpoints.save(trainer.folder / "best.pt", {"average": checkpoints.contiguous(trainer.average.model)})
        weights = (trainer.folder / "best.pt").stat().st_size
    options = config.checkpoints
    snapshots = 0 if options.every is None else trainer.epochs // options.every
    return size + weights * ((options.select == "best_robust") + snapshots) + TABLES + ROW * trainer.epochs


def weights(config: TrialConfig) -> int:
    """Bytes of a trial's weights and buffers, without its data."""
    with torch.random.fork_rng(devices=[]):
        state = config.model.build(config.judge.data).state_dict()
    return sum(value.numel() * value.element_size() for value in state.values() if isinstance(value, torch.Tensor))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
