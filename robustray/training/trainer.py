"""The training loop of one trial."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from robustray.data.device import DeviceImages
from robustray.defenses.step import Loss, Step, classes
from robustray.devices import pick_device
from robustray.errors import Diverged, NotFinite, Paused
from robustray.measures.metrics import ACCURACIES, SHARES
from robustray.memory import keep_large_blocks
from robustray.numerics import numerics
from robustray.processors import cores
from robustray.subjects import start
from robustray.training import checkpoints, metrics_csv
from robustray.training.average import Average
from robustray.training.batches import Batches, training_images
from robustray.training.curricula import Amounts, Moment
from robustray.training.overfitting import Guard
from robustray.training.parts import Parts
from robustray.training.passes import Counted
from robustray.training.precision import network
from robustray.training.progress import Progress, Report, Sums
from robustray.training.randomness import Randomness
from robustray.training.selection import Selection
from robustray.training.state import Moments, State, Weights
from robustray.training.together import ALONE, Alone
from robustray.training.updates import Minibatch
from robustray.trial import TrialConfig

log = logging.getLogger("robustray")


class Trainer:
    """Trains one trial in its folder. A folder with a checkpoint is continued, bit for bit where that is possible.

    Files: `last.pt` and `previous.pt` (everything an identical continuation needs), `best-<epoch>.pt` with
    `select: best_robust`, `epoch-<epoch>.pt` with `every` (averages, never deleted), `metrics.csv` (a row per epoch).

    Args:
        config: the trial.
        folder: where its files lie; made when it is not there, in one that is.
        device: `auto`, `cpu`, `cuda:0` ...
        threads: CPU threads, None for torch's choice, within what this process may use. Bit-identical continuation
            needs the same number.
        group: the processes that train it together, of which this is one: every one has such a Trainer, and the first writes
            the files. `processes.Crew` has them.

    Raises:
        UserError: the folder holds another trial's checkpoint, the data is missing or too small, or the weights to begin with
            are missing or do not fit.
    """

    def __init__(
        self,
        config: TrialConfig,
        folder: Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        group: Alone = ALONE,
    ) -> None:
        torch.set_num_threads(min(torch.get_num_threads(), cores()) if threads is None else threads)
        self.config = config
        self.folder = folder
        self.group = group
        self.device = pick_device(device)
        if self.device.type == "cpu":
            keep_large_blocks()
        self.stop = threading.Event()
        """Set it (from a signal handler, another thread) to stop after the step in flight: `epoch` raises Paused."""
        self.alive: Callable[[], None] = lambda: None
        """Called after every step, for whoever looks whether training hangs."""
        if group.first:
            folder.mkdir(exist_ok=True)  # and none above it: where those are gone, so is the storage
            config.keep(folder)

        self.randomness = Randomness(config.seed, self.device)
        self.batches = Batches(config, self.randomness, self.device)
        self.steps_per_epoch = self.batches.steps
        self.epochs = config.schedule.epochs
        self.selection = Selection(config, folder, self.device, group)

        with self.randomness.active():
            model = config.model.build(config.judge.data, config.defense.aux_outputs)
            if config.model.source is not None and checkpoints.load_last(folder)[0] is None:
                start.begin(model, config)
            self.model: nn.Module = model.to(self.device)
        few, once = self.selection.images.batch(slice(2))[0], "two_backwards" not in config.defense.demands
        self.network = group.network(network(self.model, config.precision, config.compile, few, goes_back_once=once))
        self.optimiser = config.optimiser.build(self.model)
        self.update = config.update.bind(self.model)
        self.average = Average(self.model, config.averaging)
        self.attack = config.training_attack.bind(config.training_threat)
        self.guard = self._guarded() if config.collapse < 1 else None

        self.progress = Progress(self.epochs)
        self.sums = Sums(self.device)
        self.state = State(
            config,
            self.device,
            {
                "model": Weights(self.model),
                "average": Weights(self.average.model),
                "optimiser": Moments(self.optimiser),
                "update": self.update,
                "randomness": self.randomness,
                "guard": self.guard,
            },
            self.progress,
            (self.sums, self.selection),
            processes=group.size,
        )
        self._saved_at = time.monotonic()
        with group.in_turn():  # the first one puts a damaged checkpoint out of the way
            self.state.restore(folder)

    @property
    def done(self) -> bool:
        """Whether all epochs are trained, or training ended before."""
        return self.progress.done

    @property
    def completed(self) -> int:
        """Whole epochs trained."""
        return self.progress.completed

    @property
    def place(self) -> str:
        """How far it is, in words."""
        return f"epoch {self.completed}, step {self.progress.batch_in_epoch} of {self.epochs} epochs"

    def halt(self) -> None:
        """Nothing: between two epochs nothing is at work, and what was done is on disk."""

    @property
    def history(self) -> list[dict[str, float]]:
        """A row per epoch, as in metrics.csv."""
        return self.progress.history

    @property
    def exact(self) -> bool:
        """Whether it was resumed only where it continues bit for bit."""
        return self.progress.exact

    @property
    def report(self) -> Report | None:
        """The last epoch's; None before the first one is over."""
        return self.progress.report

    def run(self, on_epoch: Callable[[Report], None] | None = None, *, until: int | None = None) -> Report:
        """Trains to the end and returns the last report; `on_epoch` sees each one.

        Args:
            until: the epoch after which to stop, where training does not end before: the report's `done` tells. The folder
                then holds a checkpoint of an unfinished trial, whose continuation is the training that never stopped. What
                is validated does not depend on it.

        Raises:
            Diverged: the loss is not finite. Paused: `stop` was set. ValueError: `until` is below 1.
        """
        last = self.epochs if until is None else until
        if last < 1:
            raise ValueError(f"until must be an epoch, from 1, not {last}")
        while not self.done and self.completed < last:
            report = self.epoch()
            if on_epoch is not None:
                on_epoch(report)
        if self.report is None:
            raise RuntimeError("a trial that was trained has a report")
        return self.report

    def epoch(self) -> Report:
        """Trains (the rest of) one epoch, validates, writes the checkpoint, and reports.

        Returns:
            epoch, epochs, training_iteration, done, exact, images trained on and costs so far, loss and its parts, and,
            where validated, the accuracies and the fooling rate of the checkpoint that would be selected if training
            ended now. The last report adds what `judge.spatial` asks of it, `outcome`, and `weights`, the hash of the
            selected weights.
        """
        begun, progress = time.monotonic(), self.progress
        before = progress.seconds
        with self.group.at("epoch"), self.at_work():
            self._train_epoch(begun, before)
            progress.completed += 1
            progress.batch_in_epoch = 0
            row = self._row()
            self._look(self.completed)
            self._watch()
            row |= self._finish()
            progress.seconds = before + time.monotonic() - begun
            row |= {"cost_seconds": progress.seconds, "cost_passes": float(progress.passes)}
            progress.history.append(row)
            progress.report = self._report(row)
            self.group.compare(self.model.state_dict().values(), self.randomness.state_dict().values())
            self.save()
        return progress.report

    def standing(self) -> dict[str, float]:
        """Accuracies of the weights as they stand after the last whole epoch, whatever is selected in the end: of the averaged
        ones from a quarter of training on, of the live ones before, which averages lag behind. A function of the checkpoint.

        Returns:
            Accuracies and fooling rate by the names of their metrics; `standing_passes`, what measuring them took, which is no
            part of the training's own costs.

        Raises:
            Diverged: the weights or what they answer are not finite.
        """
        lagging = 4 * self.completed < self.epochs and self.average.model is not self.model
        row = self.history[-1]
        if not lagging and ACCURACIES[0] in row:
            return {**{name: row[name] for name in SHARES if name in row}, "standing_passes": 0.0}
        model, passes = self.model if lagging else self.average.model, self.selection.passes
        with self.group.at("standing"), self.at_work(), self.randomness.rolled_back(model):
            if not lagging and self.average.estimates:
                passes += self._estimate()
            found = self.selection.look(model, self.completed).named()
        return {**found, "standing_passes": float(passes)}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The arithmetic and the streams of random numbers that steps are taken in."""
        tf32, deterministic = self.config.precision == "tf32", self.config.deterministic
        with numerics(tf32=tf32, deterministic=deterministic, fixed_shapes=True), self.randomness.active():
            yield

    def train_step(self, rows: Tensor) -> None:
        """Trains on one batch, int64 [B] rows of the training images. For use inside `at_work`."""
        config, streams, batches = self.config, self.randomness.streams, self.batches
        amounts = self._amounts(self.completed * self.steps_per_epoch + self.progress.batch_in_epoch)
        attack, defense = amounts.applied(self.attack, config.defense)
        x, y = batches.view(rows, amounts)
        labels = batches.labels(y)
        counted = Counted(self.network) if self.progress.batch_passes is None else None
        batch = Step(
            counted or self.network,
            x,
            y,
            attack,
            generator=streams["attack"],
            violations=self.sums.violations,
            targets=batches.targets(labels),
            labels=classes(labels),
            pseudo=batches.pseudo(rows),
        )
        parts = Parts(defense, batch, config.batch.accumulate, lambda some: batches.view(rows[some], amounts))
        loss = self.update(
            Minibatch(
                parts.x,
                attack.threat,
                attack=parts.perturb,
                gradient=lambda x_adv: self._gradient(parts, x_adv, counted),
                descend=self._descend,
                rolled_back=lambda: self.randomness.rolled_back(self.model),
                generator=streams["update"],
            )
        )
        self._descend()
        if counted is not None:
            self.progress.batch_passes = counted.images
        self.progress.passes += self.progress.batch_passes or 0
        self.sums.add(loss)

    def save(self) -> None:
        """Writes the checkpoint, then metrics.csv from its history: rows from the future cannot stay behind."""
        self._saved_at = time.monotonic()
        if not self.group.first:
            return
        self.state.save(self.folder)
        metrics_csv.write(self.folder, self.history)
        self._saved_at = time.monotonic()
        self.selection.tidy(self.completed)

    def _guarded(self) -> Guard:
        """A guard that looks at the first batch of training."""
        config, train = self.config, training_images(self.config)
        some = train.take(self.randomness.order(0, len(train))[: config.batch.size].numpy())
        images = DeviceImages(some, self.device)
        return Guard(config.collapse, images, config.training_threat, self.group.network)

    def _train_epoch(self, begun: float, seconds_before: float) -> None:
        size, progress = self.config.batch.size, self.progress
        order = self.batches.order(self.completed)
        patience = self.config.checkpoints.minutes * 60
        while progress.batch_in_epoch < self.steps_per_epoch:
            begin = progress.batch_in_epoch * size
            self.train_step(order[begin : begin + size])
            progress.batch_in_epoch += 1
            self.alive()
            inside = progress.batch_in_epoch < self.steps_per_epoch  # the last step's checkpoint comes after validation
            due = inside and time.monotonic() - self._saved_at > patience
            stopping, due = self.group.decided(self.stop.is_set(), due)
            if stopping or due:
                progress.seconds = seconds_before + time.monotonic() - begun
                self._look(self.completed + 1)
                self.save()
                if stopping:
                    raise Paused

    def _look(self, epoch: int) -> None:
        """Keeps what is not finite out of a checkpoint of an epoch: nothing could be gone on from there.

        A step may spoil a weight whose loss was finite, and an average that took no part in it is all that is validated.
        """
        there: list[Tensor] = list(self.model.parameters())
        if (loss := self.sums.losses.get("loss")) is not None:  # none between two epochs
            there.append(loss)
        if self.average.model is not self.model:
            there += self.average.model.parameters()
        if not all(bool(value.isfinite().all()) for value in there):
            raise Diverged(f"epoch {epoch}: the loss or a weight is not finite")

    def _amounts(self, step: int) -> Amounts:
        """What the curriculum says of a batch of the training."""
        curriculum, per_epoch = self.config.curriculum, self.steps_per_epoch
        if curriculum is None:
            return Amounts()
        return curriculum.at(Moment(step, self.epochs * per_epoch, per_epoch, self.config.schedule))

    def _gradient(self, parts: Parts, x_adv: Tensor, counted: Counted | None) -> Loss:
        self.optimiser.zero_grad(set_to_none=True)
        loss = parts.backward(x_adv, nullcontext if counted is None else counted.within)
        self.group.average_gradients(self.model.parameters())
        return loss

    def _descend(self) -> None:
        config, step = self.config, self.progress.descents
        total = self.epochs * self.steps_per_epoch * config.update.descents
        config.optimiser.set(
            self.optimiser, config.schedule.rate(step, total), config.schedule.momentum_shift(step, total)
        )
        self.optimiser.step()
        self.progress.descents += 1
        self.average.update(self.progress.descents)

    def _row(self) -> dict[str, float]:
        """The epoch's means, and what applied to its last batch."""
        means = self.sums.means(self.steps_per_epoch)
        if not math.isfinite(means["loss"]):
            raise Diverged(f"the loss of epoch {self.completed} is {means['loss']}")
        if self.sums.violations.item():
            raise RuntimeError(f"{self.attack.attack.name} left the threat, [0, 1] or the finite numbers in training")
        row = {"epoch": float(self.completed), "lr": float(self.optimiser.param_groups[0]["lr"])}
        if self.config.curriculum is not None:
            amounts = self._amounts(self.completed * self.steps_per_epoch - 1)._asdict()
            row |= {name: amounts[name] for name in sorted(self.config.curriculum.changed)}
        return {**row, **means}

    def _watch(self) -> None:
        """Ends training where robustness collapsed, with the weights of the epoch before."""
        if self.guard is None:
            return
        try:
            self.progress.ended = self.guard.collapsed(self.model, self.average.model)
        except NotFinite as error:
            raise Diverged(f"epoch {self.completed}: {error}") from error
        self.progress.passes += self.guard.passes
        if self.progress.ended:
            log.info("PGD accuracy on training images fell in epoch %d: training ends before it", self.completed)

    def _finish(self) -> dict[str, float]:
        """Validates the average and keeps it, where it is time to; what validation measured."""
        measured, options, model = dict[str, float](), self.config.checkpoints, self.average.model
        validating = self.completed % options.validate_every == 0 or self.done
        keeping = options.every is not None and self.completed % options.every == 0
        if (validating or keeping) and self.average.estimates:
            self.progress.passes += self._estimate()
        if validating:
            measured = self.selection.validate(model, self.completed)
            self.progress.passes += self.selection.passes
        if self.done:
            measured |= self.selection.at_the_end(model, self.completed)
            self.progress.passes += self.selection.last_passes
        if keeping and self.group.first:
            kept = {"config": self.config.to_yaml(), "average": checkpoints.contiguous(model)}
            checkpoints.save(self.folder / f"epoch-{self.completed:04d}.pt", kept)
        return measured

    def _estimate(self) -> int:
        """The average's batch statistics, over the training images of the epoch, in batches as in training. Its passes."""
        images = self.batches.images
        order = self.randomness.order(self.completed - 1, len(images)).to(self.device)
        size = self.config.batch.part
        starts = range(0, len(order) // size * size, size)
        batches = (images.batch(order[start : start + size])[0] for start in starts)
        self.average.estimate(batches, self.group.network(self.average.model))
        return len(starts) * size

    def _report(self, row: dict[str, float]) -> Report:
        seconds = self.progress.seconds
        report: Report = {
            "epoch": self.completed,
            "epochs": self.epochs,
            "training_iteration": self.completed,
            "done": self.done,
            "exact": self.exact,
            "images": self.completed * self.steps_per_epoch * self.config.batch.size,
            "cost_seconds": seconds,
            "cost_device_hours": self.group.size * seconds / 3600,
            "cost_passes": float(self.progress.passes),
            **{key: value for key, value in row.items() if key.startswith("loss")},
            **self.selection.accuracies(row),
        }
        if self.done:
            weights = self.selection.weights(self.average.model, self.completed)
            report |= {"outcome": "complete", "weights": checkpoints.weights_hash(weights)}
        return report
