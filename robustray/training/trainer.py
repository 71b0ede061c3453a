"""The training loop of one trial, and the checkpoints that let it go on from any batch."""

from __future__ import annotations

import csv
import io
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from robustray.data.device import DeviceImages
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step
from robustray.devices import pick_device
from robustray.errors import Diverged, NotFinite, Paused, UserError
from robustray.files import write_whole
from robustray.measures.accuracy import accuracies
from robustray.memory import keep_large_blocks
from robustray.numerics import numerics
from robustray.training import checkpoints as _checkpoints
from robustray.training.average import Average
from robustray.training.batches import Batches
from robustray.training.curricula import Amounts, Moment
from robustray.training.overfitting import Guard
from robustray.training.precision import network
from robustray.training.randomness import Randomness
from robustray.training.updates import Minibatch
from robustray.trial import TrialConfig

Report = dict[str, Any]
log = logging.getLogger("robustray")


class Trainer:
    """Trains one trial in its folder. A folder with a checkpoint is continued, bit for bit where that is possible.

    Files: `last.pt` and `previous.pt` (everything an identical continuation needs), `best-<epoch>.pt` with
    `select: best_robust`, `epoch-<epoch>.pt` with `every` (averages, never deleted), `metrics.csv` (a row per epoch).

    Args:
        config: the trial.
        folder: where its files lie; made when it is not there.
        device: `auto`, `cpu`, `cuda:0` ...
        threads: CPU threads, None for torch's choice. Bit-identical continuation needs the same number.

    Raises:
        UserError: the folder holds another trial's checkpoint, or the data is missing or too small.
    """

    def __init__(self, config: TrialConfig, folder: Path, *, device: str = "auto", threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.config = config
        self.folder = folder
        self.device = pick_device(device)
        if self.device.type == "cpu":
            keep_large_blocks()
        self.stop = threading.Event()
        """Set it (from a signal handler, another thread) to stop after the step in flight: `epoch` raises Paused."""
        folder.mkdir(parents=True, exist_ok=True)

        data = config.judge.data
        self.randomness = Randomness(config.seed, self.device)
        self.batches = Batches(config, self.randomness, self.device)
        self.steps_per_epoch = self.batches.steps
        self.tune_images = DeviceImages(data.load("validation").take(config.judge.lists()[1]), self.device)
        self.epochs = config.schedule.epochs

        with self.randomness.active():
            self.model: nn.Module = config.model.build(data, config.defense.aux_outputs).to(self.device)
        few, once = self.tune_images.batch(slice(2))[0], not config.defense.goes_back_twice
        self.network = network(self.model, config.precision, config.compile, few, goes_back_once=once)
        self.optimiser = config.optimiser.build(self.model)
        self.update = config.update.bind(self.model)
        self.average = Average(self.model, config.averaging)
        self.attack = config.training_attack.bind(config.training_threat)
        self.cheap = config.judge.cheap.bind(config.judge.threat)
        self.guard: Guard | None = None
        if (drop := config.defense.largest_drop()) is not None:
            train = data.load("train")
            some = train.take(self.randomness.order(0, len(train))[: config.batch.size].numpy())
            self.guard = Guard(drop, DeviceImages(some, self.device), config.training_threat)

        self.completed = 0  # whole epochs
        self.ended = False  # by the guard, before the last epoch
        self.batch_in_epoch = 0  # batches done of the epoch in progress
        self.descents = 0  # optimiser steps of the whole training
        self.sums: dict[str, Tensor] = {}  # loss parts of the epoch in progress, on the device
        self.violations = torch.zeros((), dtype=torch.bool, device=self.device)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.seconds = 0.0
        self.passes = 0
        self.exact = True  # a resume happened only where it continues bit for bit
        self.report: Report | None = None
        self._saved_at = time.monotonic()
        self._restore()
        self._best_before = self._best_path()  # of the checkpoint that the next one makes previous.pt

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, or training ended before."""
        return self.ended or self.completed >= self.epochs

    def run(self, on_epoch: Callable[[Report], None] | None = None) -> Report:
        """Trains to the end and returns the last report; `on_epoch` sees each one.

        Raises:
            Diverged: the loss is not finite. Paused: `stop` was set.
        """
        while not self.done:
            report = self.epoch()
            if on_epoch is not None:
                on_epoch(report)
        if self.report is None:
            raise RuntimeError("a finished trial has a report")
        return self.report

    def epoch(self) -> Report:
        """Trains (the rest of) one epoch, validates, writes the checkpoint, and reports.

        Returns:
            epoch, epochs, training_iteration, done, exact, images trained on and costs so far, loss and its parts, and,
            where validated, `clean_accuracy` and `robust_accuracy` of the checkpoint that would be selected if training
            ended now. The last report adds `outcome` and `weights`, the hash of the selected weights.
        """
        begun = time.monotonic()
        before = self.seconds
        config = self.config
        with self.at_work():
            self._train_epoch(begun, before)
            self.completed += 1
            self.batch_in_epoch = 0
            row, checkpoints = self._row(), config.checkpoints
            self._watch()
            validating = self.completed % checkpoints.validate_every == 0 or self.done
            keeping = checkpoints.every is not None and self.completed % checkpoints.every == 0
            if (validating or keeping) and self.average.estimates:
                self._estimate()
            if validating:
                row |= self._validate()
            if keeping:
                kept = {"config": config.to_yaml(), "average": _plain(self.average.model)}
                _checkpoints.save(self.folder / f"epoch-{self.completed:04d}.pt", kept)
            self.seconds = before + time.monotonic() - begun
            row |= {"cost_seconds": self.seconds, "cost_passes": float(self.passes)}
            self.history.append(row)
            self.report = self._report(row)
            self._save()
        return self.report

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The arithmetic and the streams of random numbers that steps are taken in."""
        tf32, deterministic = self.config.precision == "tf32", self.config.deterministic
        with numerics(tf32=tf32, deterministic=deterministic, fixed_shapes=True), self.randomness.active():
            yield

    def _train_epoch(self, begun: float, seconds_before: float) -> None:
        size = self.config.batch.size
        order = self.batches.order(self.completed)
        patience = self.config.checkpoints.minutes * 60
        while self.batch_in_epoch < self.steps_per_epoch:
            begin = self.batch_in_epoch * size
            self._train_step(order[begin : begin + size])
            self.batch_in_epoch += 1
            stopping = self.stop.is_set()
            inside = self.batch_in_epoch < self.steps_per_epoch
            if inside and (stopping or time.monotonic() - self._saved_at > patience):
                self.seconds = seconds_before + time.monotonic() - begun
                self._save()
                if stopping:
                    raise Paused

    def _train_step(self, rows: Tensor) -> None:
        config, streams, batches = self.config, self.randomness.streams, self.batches
        amounts = self._amounts(self.completed * self.steps_per_epoch + self.batch_in_epoch)
        attack, defense = amounts.applied(self.attack, config.defense)
        x, y = batches.view(rows, amounts)
        step = defense.prepare(
            Step(
                self.network,
                x,
                y,
                attack,
                generator=streams["attack"],
                violations=self.violations,
                targets=batches.targets(y),
                pseudo=batches.pseudo(rows),
                view=lambda: batches.view(rows, amounts),
            )
        )
        loss = self.update(
            Minibatch(
                step.x,
                attack.threat,
                attack=lambda: defense.perturb(step),
                gradient=lambda x_adv: self._gradient(defense, step, x_adv),
                descend=self._descend,
                undone=lambda: self.randomness.undone(self.model),
                generator=streams["update"],
            )
        )
        self._descend()
        self.passes += config.update.passes(*defense.passes(attack.attack, len(rows)))
        for name, part in {**loss.parts, "": loss.total}.items():
            key = f"loss_{name}" if name else "loss"
            self.sums[key] = self.sums.get(key, torch.zeros((), device=self.device)) + part.detach()

    def _amounts(self, step: int) -> Amounts:
        """What the curriculum says of a batch of the training."""
        curriculum, per_epoch = self.config.curriculum, self.steps_per_epoch
        if curriculum is None:
            return Amounts()
        return curriculum.at(Moment(step, self.epochs * per_epoch, per_epoch, self.config.schedule))

    def _gradient(self, defense: Defense, step: Step, x_adv: Tensor) -> Loss:
        self.optimiser.zero_grad(set_to_none=True)
        loss = defense.loss(step, x_adv)
        loss.total.backward()  # type: ignore[no-untyped-call]
        return loss

    def _descend(self) -> None:
        config = self.config
        total = self.epochs * self.steps_per_epoch * config.update.descents
        rate = config.schedule.lr * config.schedule.factor(self.descents, total)
        config.optimiser.set(self.optimiser, rate, config.schedule.swing(self.descents, total))
        self.optimiser.step()
        self.descents += 1
        self.average.update(self.descents)

    def _row(self) -> dict[str, float]:
        """The epoch's means; the one place inside training where the host waits for the device."""
        means = {key: value / self.steps_per_epoch for key, value in zip(
            self.sums, torch.stack(list(self.sums.values())).tolist(), strict=True)}  # fmt: skip
        self.sums = {}
        if not math.isfinite(means["loss"]):
            raise Diverged(f"the loss of epoch {self.completed} is {means['loss']}")
        if self.violations.item():
            raise RuntimeError(f"{self.attack.attack.name} left the threat, [0, 1] or the finite numbers in training")
        row = {"epoch": float(self.completed), "lr": float(self.optimiser.param_groups[0]["lr"])}
        if self.config.curriculum is not None:  # of the last batch, as the rate
            amounts = self._amounts(self.completed * self.steps_per_epoch - 1)._asdict()
            row |= {name: amounts[name] for name in sorted(self.config.curriculum.changed)}
        return {**row, **means}

    def _estimate(self) -> None:
        """The average's batch statistics, over the training images of the epoch, in batches as in training."""
        images = self.batches.images
        order = self.randomness.order(self.completed - 1, len(images)).to(self.device)
        size = self.config.batch.size
        starts = range(0, len(order) // size * size, size)
        self.average.estimate(images.batch(order[start : start + size])[0] for start in starts)
        self.passes += len(starts) * size

    def _watch(self) -> None:
        """Ends training where robustness collapsed, with the weights of the epoch before."""
        if self.guard is None:
            return
        try:
            self.ended = self.guard.collapsed(self.model, self.average.model)
        except NotFinite as error:
            raise Diverged(f"epoch {self.completed}: {error}") from error
        self.passes += self.guard.passes
        if self.ended:
            log.info("PGD accuracy on training images fell in epoch %d: training ends before it", self.completed)

    def _validate(self) -> dict[str, float]:
        if not all(bool(weight.isfinite().all()) for weight in self.average.model.parameters()):
            raise Diverged(f"a weight is not finite after epoch {self.completed}")
        try:
            clean, robust = accuracies(self.average.model, self.tune_images, self.cheap)
        except NotFinite as error:  # the last step of an epoch may go too far without its loss telling
            raise Diverged(f"validation after epoch {self.completed}: {error}") from error
        self.passes += len(self.tune_images) * (2 + self.cheap.attack.passes)
        measured = {"clean_accuracy": clean, "robust_accuracy": robust}
        if self.config.checkpoints.select == "best_robust" and (
            self.best is None or robust > self.best["robust_accuracy"]
        ):
            self.best = {"epoch": float(self.completed), **measured}
            _checkpoints.save(self._best_path(), {"average": _plain(self.average.model)})
        return measured

    def _best_path(self) -> Path:
        return self.folder / f"best-{int(self.best['epoch'] if self.best else 0):04d}.pt"

    def _report(self, row: dict[str, float]) -> Report:
        selected = self.best if self.best is not None else row
        report: Report = {
            "epoch": self.completed,
            "epochs": self.epochs,
            "training_iteration": self.completed,
            "done": self.done,
            "exact": self.exact,
            "images": self.completed * self.steps_per_epoch * self.config.batch.size,
            "cost_seconds": self.seconds,
            "cost_device_hours": self.seconds / 3600,
            "cost_passes": float(self.passes),
            **{key: value for key, value in row.items() if key.startswith("loss")},
            **{key: selected[key] for key in ("clean_accuracy", "robust_accuracy") if key in selected},
        }
        if self.done:
            report |= {"outcome": "complete", "weights": _checkpoints.weights_hash(self._selected_weights())}
        return report

    def _selected_weights(self) -> dict[str, Tensor]:
        if self.best is not None and int(self.best["epoch"]) != self.completed:
            best: dict[str, Tensor] = _checkpoints.load(self._best_path())["average"]
            return best
        return self.average.model.state_dict()

    def _save(self) -> None:
        """Writes the checkpoint, then metrics.csv from its history: rows from the future cannot stay behind."""
        self.randomness.sync()
        state = {
            "config": self.config.to_yaml(),
            "model": _plain(self.model),
            "average": _plain(self.average.model),
            "optimiser": self.optimiser.state_dict(),
            "update": self.update.state_dict(),
            "randomness": self.randomness.state_dict(),
            "completed": self.completed,
            "batch_in_epoch": self.batch_in_epoch,
            "descents": self.descents,
            "ended": self.ended,
            "guard": None if self.guard is None else self.guard.state_dict(),
            "sums": dict(self.sums),
            "violations": self.violations,
            "history": self.history,
            "best": self.best,
            "seconds": self.seconds,
            "passes": self.passes,
            "exact": self.exact,
            "report": self.report,
            "threads": torch.get_num_threads(),
            "torch": str(torch.__version__),
            "device": self._kind(),
        }
        _checkpoints.save_last(self.folder, state)
        write_whole(self.folder / "metrics.csv", _as_csv(self.history))
        self._saved_at = time.monotonic()
        keep = {self._best_path(), self._best_before}  # previous.pt names a best epoch as well
        self._best_before = self._best_path()
        for old in self.folder.glob("best-*.pt"):
            if (
                old not in keep and int(old.stem.split("-")[1]) <= self.completed
            ):  # a newer one is an orphan's, or will be ours
                old.unlink(missing_ok=True)

    def _restore(self) -> None:
        state, damage = _checkpoints.load_last(self.folder)
        for line in damage:
            log.warning("%s; going back to the checkpoint before it", line)
        if damage and state is not None:  # keep it out of the way: the next save must not push it onto previous.pt
            (self.folder / "last.pt").replace(self.folder / "damaged.pt")
        if state is None:
            return
        if yaml.safe_load(state["config"]) != yaml.safe_load(self.config.to_yaml()):
            raise UserError(f"{self.folder}: holds the checkpoint of a trial with other options")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        _lay_out(self.optimiser)
        self.update.load_state_dict(state["update"])
        self.randomness.load_state_dict(state["randomness"])
        self.completed, self.batch_in_epoch = state["completed"], state["batch_in_epoch"]
        self.descents, self.ended = state["descents"], state["ended"]
        if self.guard is not None:
            self.guard.load_state_dict(state["guard"])
        self.sums = {key: value.to(self.device) for key, value in state["sums"].items()}
        self.violations = state["violations"].to(self.device)
        self.history, self.best, self.report = state["history"], state["best"], state["report"]
        self.seconds, self.passes = state["seconds"], state["passes"]
        here = {"threads": torch.get_num_threads(), "torch": str(torch.__version__), "device": self._kind()}
        same = all(state[key] == value for key, value in here.items())
        repeatable = (self.device.type == "cpu" or self.config.deterministic) and self.config.compile == "off"
        self.exact = state["exact"] and ((same and repeatable) or self.done)

    def _kind(self) -> str:
        """The kind of device, the same kernels on each of it."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"


def _lay_out(optimiser: torch.optim.Optimizer) -> None:
    """Restored moments take the layout of their weights, which is another on another device: fused steps rely on it."""
    for weight, kept in optimiser.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _plain(model: nn.Module) -> dict[str, Tensor]:
    """Its weights in the layout that every reader of a checkpoint expects."""
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def _as_csv(rows: list[dict[str, float]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
