"""Many real workers on Ray: how busy 64 of them stay, and what they cost the driver, with jobs that only wait.

    python benchmarks/crowd.py [--quick] [--workers 8,64] [--each 4] [--seconds 20]

Sampler, record, controller, Tune, actors and their processes are the real ones; only the job is a stand-in, which sleeps four
epochs and reports made-up accuracies, and loads no torch, so that 64 workers fit into a laptop's memory. They begin one after
another, for a process takes a core some seconds to start, and then end as they began: the busy share is of the time in which
all of them have begun and work for each is left. The driver's CPU time is of all threads of its process, from start to end.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from _bench import Bench

import sweeps.running.ray as side
from sweeps.driver import drive
from sweeps.record import Record
from sweeps.running.tasks.base import Report
from sweeps.space import Sweep

EPOCHS = 4
SPACE = """
name: crowd
judge:
  data: digits
  threat: {norm: linf, eps: 0.1}
  images: {validation: 100, test: 100}
  trials: none
trial:
  model: {name: small_cnn, width: 1}
  defense: {name: trades, beta: {loguniform: [0.1, 10]}}
  schedule: {epochs: %d, lr: {loguniform: [0.01, 1]}}
search: {sampler: random, trials: %d}
resources: {trials_per_device: %d}
"""
Span = tuple[int, float, float]
"""A process, and when it began and ended a job."""


class Waits:
    """A training job that sleeps. When it began and ended stands in a file of its process."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        import random

        self.seconds, self.times = float(os.environ["CROWD_SECONDS"]), Path(os.environ["CROWD_TIMES"])
        self.epoch, self.begun = 0, time.time()
        self.accuracy = random.Random(str(work["folder"])).random()  # noqa: S311

    def step(self) -> Report:
        time.sleep(self.seconds / EPOCHS)
        self.epoch += 1
        done = self.epoch == EPOCHS
        told: Report = {
            "training_iteration": self.epoch, "epoch": self.epoch, "epochs": EPOCHS, "done": done,
            "clean_accuracy": self.accuracy, "robust_accuracy": (1 - self.accuracy**2) / 2,
            "cost_seconds": self.seconds, "cost_device_hours": self.seconds / 3600, "cost_passes": 1e6,
            "device_seconds": time.time() - self.begun,
        }  # fmt: skip
        if done:
            with (self.times / f"{os.getpid()}.csv").open("a") as file:
                file.write(f"{self.begun},{time.time()}\n")
            told |= {"outcome": "complete", "weights": f"{self.accuracy:064.0f}"}
        return told

    def interrupt(self) -> bool:
        return False


class Worker(side.Worker):
    """The sweep's actor, whose jobs are stand-ins."""

    def setup(self, config: dict[str, Any]) -> None:
        vars(side)["open_task"] = lambda work, *_, **__: Waits(work)  # of this process alone
        self.reset_config(config)


def spans(folder: Path) -> list[Span]:
    """All jobs of all processes."""
    return [
        (int(path.stem), *map(float, line.split(",")))  # type: ignore[misc]
        for path in folder.glob("*.csv")
        for line in path.read_text().splitlines()
    ]


def busy(found: list[Span], workers: int) -> tuple[float, float]:
    """The busy share from when the last worker has begun to when the first of its last jobs ends; and a worker's mean gap.

    A worker whose first job begins late makes the time shorter, and one that gets no second job has no gap.
    """
    by_process: dict[int, list[tuple[float, float]]] = {}
    for process, begin, end in sorted(found, key=lambda span: span[1]):
        by_process.setdefault(process, []).append((begin, end))
    begin = max(own[0][0] for own in by_process.values())
    end = min(own[-1][1] for own in by_process.values())
    worked = sum(max(0.0, min(till, end) - max(since, begin)) for _, since, till in found)
    gaps = [after[0] - before[1] for own in by_process.values() for before, after in pairwise(own)]
    return worked / (workers * (end - begin)), sum(gaps) / len(gaps)


def crowd(bench: Bench, workers: int, trials: int, seconds: float) -> tuple[float, float]:
    """One sweep, with its rows; its busy share and the driver's milliseconds for a job."""
    with tempfile.TemporaryDirectory() as name:
        folder, times = Path(name) / "crowd", Path(name) / "times"
        folder.mkdir()
        times.mkdir()
        os.environ |= {"CROWD_SECONDS": str(seconds), "CROWD_TIMES": str(times)}  # Ray's processes inherit it
        side.Worker = Worker  # type: ignore[misc]
        sweep = Sweep.model_validate(yaml.safe_load(SPACE % (EPOCHS, trials, workers)))
        begun, spent = time.monotonic(), time.process_time()
        with Record(folder, sweep.objectives) as record:
            assert drive(sweep, record, lambda: side.RayTune(folder, print, resources=sweep.resources))
        wall, spent = time.monotonic() - begun, time.process_time() - spent
        found = spans(times)
    first = {process: begin for process, begin, _ in sorted(found, key=lambda span: -span[1])}
    assert len(found) == trials
    share, gap = busy(found, workers)
    case, each = f"{workers} workers, {trials} of {seconds:g} s", 1000 * spent / trials
    bench.row(case, "workers that had a job", len(first))
    bench.row(case, "the last worker begins, after the first", max(first.values()) - min(first.values()), unit="s")
    bench.row(case, "busy share while all have begun and none has ended", share, unit="share")
    bench.row(case, "a worker between two jobs, mean", gap, unit="s")
    bench.row(case, "driver, CPU time per trial", each, unit="ms")
    bench.row(case, "the whole sweep", wall, unit="s")
    return share, each


def main() -> None:
    """Runs all, prints the rows and the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 workers with 3 jobs of 4 s each")
    parser.add_argument("--workers", default="8,64", help="numbers of them, with commas")
    parser.add_argument("--each", type=int, default=4, help="jobs for a worker, in the mean")
    parser.add_argument("--seconds", type=float, default=20.0, help="that a job takes")
    options = parser.parse_args()
    if options.quick:
        options.workers, options.each, options.seconds = "8", 3, 4.0
    bench = Bench("crowd", options.quick)
    for workers in map(int, options.workers.split(",")):
        share, _ = crowd(bench, workers, workers * options.each, options.seconds)
        bench.target(f"busy share of {workers} workers", share, 0.9, at_most=False)
    bench.close()


if __name__ == "__main__":
    main()
