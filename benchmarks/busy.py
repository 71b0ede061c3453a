"""How busy a sweep keeps its workers, and whether its processes grow: on Ray, for real, with trials that only wait.

    python benchmarks/busy.py [--quick] [--trials 24] [--seconds 20] [--workers 2] [--short 500] [--only busy|memory]

Trials are a training script that sleeps, epoch by epoch, and are a sweep's in all else: sampler, record, checkpoints, folders,
reports. Beside it stands a plain function trainable of Ray Tune's that sleeps as long. A share is worker-seconds at work over
those from the first start to the last end. For memory, short trials follow each other on two warm workers, and the
resident size of driver and workers is read by time; its growth is the slope of a line over the last half of the trials.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from _bench import Bench

import sweeps
from sweeps.record import ledger, read
from sweeps.space import Sweep

EPOCHS = 4
SCRIPT = """
import time
import torch
from torch import nn

def net(config):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def train(config, report, checkpoint):
    for epoch in range(config["epochs"]):
        time.sleep(config["seconds"] / config["epochs"])
        report(epoch=epoch + 1, loss=1.0)
    return net(config)
"""
SPACE = """
name: busy
judge:
  data: {{name: digits, validation: 100}}
  threat: {{norm: linf, eps: 0.1}}
  cheap: {{name: pgd, steps: 1}}
  images: {{validation: 20, test: 20}}
  trials: none
trial:
  script:
    train: waits.py:train
    model: waits.py:net
    config: {{seconds: {seconds}, epochs: {epochs}, lr: {{uniform: [0, 1]}}}}
search: {{sampler: random, trials: {trials}}}
resources: {{trials_per_device: {workers}}}
"""


def swept(folder: Path, trials: int, seconds: float, workers: int) -> Path:
    """Runs the sweep on Ray, and gives its folder."""
    (folder / "waits.py").write_text(SCRIPT)
    (folder / "busy.yaml").write_text(SPACE.format(seconds=seconds, epochs=EPOCHS, trials=trials, workers=workers))
    sweep = Sweep.from_yaml(folder / "busy.yaml")
    assert sweeps.run(sweep, folder / "results" / "busy", "ray", write=lambda line: None)
    return folder / "results" / "busy"


def share(spans: list[tuple[float, float]], worked: float, workers: int) -> float:
    """Worker-seconds worked over those there were, from the first start to the last end."""
    return worked / (workers * (max(end for _, end in spans) - min(begin for begin, _ in spans)))


def ours(folder: Path, trials: int, seconds: float, workers: int) -> tuple[float, float, float]:
    """The busy share; seconds of a worker between two jobs, in the mean; and what a trial works besides sleeping.

    A worker's own clock says how long it worked on a trial, so the first start is that of a process which is there.
    """
    where = swept(folder, trials, seconds, workers)
    spent = ledger.read(where)
    assert spent is not None
    spans: list[tuple[float, float]] = []
    for trial in read(where).trials:
        assert trial.outcome == "complete", trial.cause
        assert trial.finished is not None
        end = trial.finished.timestamp()
        spans.append((end - spent.by_trial["train", trial.number], end))
    worked = sum(end - begin for begin, end in spans)
    span = max(end for _, end in spans) - min(begin for begin, _ in spans)
    idle = (workers * span - worked) / (trials - workers)
    return share(spans, worked, workers), idle, worked / trials - seconds


def plain(trials: int, seconds: float, workers: int) -> float:
    """The busy share of a function trainable."""
    import logging

    import ray
    from ray import tune

    def waits(config: dict[str, float]) -> None:
        begun = time.time()
        for epoch in range(EPOCHS):
            time.sleep(seconds / EPOCHS)
            tune.report({"epoch": epoch, "begun": begun, "ended": time.time()})

    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    logging.getLogger("ray.tune").setLevel("ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            waits,
            param_space={"lr": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        told = [result.metrics or {} for result in tuner.fit()]
    ray.shutdown()
    return share([(each["begun"], each["ended"]) for each in told], seconds * trials, workers)


class Sizes:
    """Resident megabytes of this process and of Ray's workers below it, a line a second, while the block runs."""

    def __init__(self) -> None:
        self.driver: list[float] = []
        self.workers: dict[int, list[float]] = {}  # by process id
        self._over = threading.Event()

    def __enter__(self) -> Sizes:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process(os.getpid())
        while not self._over.wait(1.0):
            self.driver.append(me.memory_info().rss / 2**20)
            for child in me.children(recursive=True):
                try:
                    if child.pid in self.workers or " ".join(child.cmdline()).startswith("ray::trial"):
                        self.workers.setdefault(child.pid, []).append(child.memory_info().rss / 2**20)
                except psutil.Error:
                    continue


def growth(sizes: list[float]) -> float:
    """Megabytes that a process grows by over the last half of its time, by a straight line."""
    late = sizes[len(sizes) // 2 :]
    return float(np.polyfit(range(len(late)), late, 1)[0] * len(late)) if len(late) > 3 else float("nan")


def main() -> None:
    """Runs both, prints the rows and the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8 trials of 5 s, 60 short ones")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--short", type=int, default=500)
    parser.add_argument("--only", choices=("busy", "memory"))
    options = parser.parse_args()
    bench = Bench("busy", options.quick)
    trials, seconds, workers = (8, 5.0, 2) if options.quick else (options.trials, options.seconds, options.workers)
    case = f"{trials} of {seconds:g} s"
    if options.only != "memory":
        with tempfile.TemporaryDirectory() as name:
            busy, idle, besides = ours(Path(name), trials, seconds, workers)
        bench.row(case, "busy share of the workers, ours", busy, unit="share", workers=workers)
        bench.row(case, "a worker between two jobs, mean", idle, unit="s")
        bench.row(case, "work of a trial besides its sleep, mean", besides, unit="s")
        beside = plain(trials, seconds, workers)
        bench.row(case, "busy share of the workers, plain Ray Tune", beside, unit="share", workers=workers)
        bench.target("busy share of the workers", busy, 0.9, at_most=False)
        bench.target("seconds between two jobs on a warm worker", idle, 0.5)
    if options.only != "busy":
        short = 60 if options.quick else options.short
        with tempfile.TemporaryDirectory() as name, Sizes() as sizes:
            swept(Path(name), short, 0.0, workers)
        of_workers = [("worker", seen) for seen in sizes.workers.values() if len(seen) > 10]
        for which, seen in [("driver", sizes.driver), *of_workers]:
            bench.row(f"{short} short trials", f"{which}, largest", max(seen), unit="MB")
            grown = growth(seen)
            bench.row(f"{short} short trials", f"{which}, growth over the last half", grown, unit="MB")
            bench.target(f"MB that a {which} grows by over the last half of {short} trials", grown, 30)
    bench.close()


if __name__ == "__main__":
    main()
