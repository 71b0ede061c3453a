"""What the driver itself costs: per trial, to open a record, to draw a frame, and to start a job on Ray.

    python benchmarks/overhead.py [--quick] [--no-ray]

Stand-in workers answer at once: a trial reports made-up accuracies, a shard of the judge writes made-up verdicts as a worker
does. All else is the real thing: sampler, record, order of judging, pruning, members, test. What samplers take is measured
apart and taken off. Beside Ray stands a plain function trainable of Ray Tune's with as little work.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _bench import Bench

from robustray.judging.plan import Plan
from robustray.verdicts import CLEAN, Shard, read_shard, write_shard
from sweeps import record as records
from sweeps.driver import drive
from sweeps.record import Record
from sweeps.running.packing import Share
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.study import Study
from sweeps.space import Sweep
from sweeps.view.activity import Activity
from sweeps.view.watch import Watch

Clock = Callable[[], float]
SIZES = (200, 1000, 10_000)
SLOTS = 8
FRAMES = 5
JOBS = 40
SPACE = """
name: overhead
judge:
  data: digits
  threat: {norm: linf, eps: 0.1}
  images: {validation: 100, test: 100}
  version: [apgd-ce, apgd-t]
trial:
  model: {name: small_cnn, width: 1}
  defense: {name: trades, beta: {loguniform: [0.1, 10]}}
  schedule: {epochs: 1, lr: {loguniform: [0.01, 1]}}
search: {sampler: random, trials: %d}
resources: {cpus: 1}
"""


class StandIns:
    """Answers jobs as workers would, and counts the seconds it took itself, which are no cost of the driver's."""

    def __init__(self, sweep: Sweep, clock: Clock = time.perf_counter) -> None:
        self.sweep = sweep
        self.clock = clock
        self.seconds = 0.0
        self.jobs = 0

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        begun = self.clock()
        self.jobs += 1
        report = self._judged(job) if job.work["kind"] == "judge" else self._trained(job)
        self.seconds += self.clock() - begun
        yield 1.0, {"outcome": "complete", "done": True, "training_iteration": 1, **report}

    def _trained(self, job: Job) -> dict[str, Any]:
        if job.work["kind"] != "train":
            return {"shard_size": 500}
        clean, robust = self._accuracies(job.number)
        costs = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}
        weights = hashlib.sha256(str(job.number).encode()).hexdigest()
        return {
            "epoch": 1,
            "epochs": 1,
            "clean_accuracy": clean,
            "robust_accuracy": robust,
            "weights": weights,
            **costs,
        }

    def _accuracies(self, number: int) -> tuple[float, float]:
        """A frontier with trials below it, in hundredths, so that there are ties."""
        draw = np.random.default_rng(number)
        clean, below = draw.uniform(0.5, 1), draw.exponential(0.1)
        return round(float(clean), 2), round(float(max(0.0, np.sqrt(1 - clean**2) - below)), 2)

    def _judged(self, job: Job) -> dict[str, Any]:
        work = job.work
        plan = Plan.of(self.sweep.judge, str(work["weights"]), work["split"], shard_size=int(work["shard_size"]))
        folder = plan.folder(Path(str(work["judgements"])))
        rows, stage, shard = plan.shard(int(work["shard"])), str(work["attack"]), int(work["shard"])
        standing = np.ones(len(rows), dtype=bool)
        for name in plan.before(stage):
            before = read_shard(folder, name, shard)
            assert before is not None
            standing &= ~np.isin(rows, before.image[before.broken])
        clean, robust = self._accuracies(job.number)
        share = {CLEAN: clean, "apgd-ce": robust, "apgd-t": robust - 0.01}[stage]
        hard = np.argsort(np.random.default_rng(len(rows)).permutation(len(rows))) / len(rows)
        image = rows[standing].astype(np.int32)
        broken = (hard >= share)[standing]
        made = Shard(
            stage,
            shard,
            image,
            np.zeros(len(image), np.int16),
            np.where(broken, 1, 0).astype(np.int16),
            broken,
            (~broken).astype(np.float32),
            {"seconds": 1.0, "seed": plan.seed},
        )
        write_shard(folder, made)
        return {"broken": int(broken.sum()), "seconds": 1.0, "flags": []}


class Timed:
    """Counts the seconds of a clock spent in one method of a class while the block runs."""

    def __init__(self, cls: type, name: str, clock: Clock = time.perf_counter) -> None:
        self.cls, self.name, self.clock, self.seconds = cls, name, clock, 0.0

    def __enter__(self) -> Timed:
        self.original = getattr(self.cls, self.name)

        def timed(*args: Any, **options: Any) -> Any:
            begun = self.clock()
            try:
                return self.original(*args, **options)
            finally:
                self.seconds += self.clock() - begun

        setattr(self.cls, self.name, timed)
        return self

    def __exit__(self, *_: object) -> None:
        setattr(self.cls, self.name, self.original)


def driver(bench: Bench, trials: int, folder: Path) -> None:
    """A whole sweep with stand-in workers, then its record and its view."""
    sweep = Sweep.model_validate(yaml.safe_load(SPACE % trials))
    answers = StandIns(sweep)
    case = f"{trials} trials"
    with Record(folder, sweep.objectives) as record, Timed(Study, "ask") as sampler:
        begun = time.perf_counter()
        assert drive(sweep, record, lambda: Simulated(answers, SLOTS))
        whole = time.perf_counter() - begun
    own = whole - answers.seconds - sampler.seconds
    each = 1000 * own / trials
    bench.row(case, "driver, a trial with all its jobs", each, unit="ms", jobs=answers.jobs, slots=SLOTS)
    bench.row(case, "sampler (random), a trial", 1000 * sampler.seconds / trials, unit="ms")
    begun = time.perf_counter()
    with Record(folder, sweep.objectives) as record:
        opening = time.perf_counter() - begun
        bench.row(case, "opening the record to write", opening, unit="s")
        begun = time.perf_counter()
        records.read(folder)
        bench.row(case, "reading the record", time.perf_counter() - begun, unit="s")
        frames = _frames(sweep, record)
    bench.row(case, "a live frame, the first", frames[0], unit="ms")
    bench.row(case, "a live frame after news", statistics.median(frames[1:]), unit="ms")
    if trials == SIZES[-1]:
        bench.target("driver ms per trial over the sampler, 10,000 trials", each, 15)
        bench.target("seconds to open a record of 10,000 trials", opening, 10)
        bench.target("ms of a live frame at 10,000 trials", statistics.median(frames[1:]), 20)


def _frames(sweep: Sweep, record: Record) -> list[float]:
    """Milliseconds of frames, each after something has happened, drawn for a terminal of 100 columns."""
    from rich.console import Console as Terminal

    watch = Watch(sweep, record.folder, record.snapshot, Activity())
    terminal, times = Terminal(width=100, height=30, force_terminal=True, file=Path("/dev/null").open("w")), []  # noqa: SIM115
    for _ in range(1 + FRAMES):
        watch.news()
        begun = time.perf_counter()
        terminal.print(watch.frame("at work"))
        times.append(1000 * (time.perf_counter() - begun))
    return times


class NoWork:
    """A queue of jobs that end as soon as they begin, and the moment of each end."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.ends: list[float] = []

    def next(self) -> Job | Signal:
        if not self.left:
            return DONE
        if self.left + len(self.ends) < JOBS:  # one at a time
            return WAIT
        self.left -= 1
        return Job(
            f"nothing {self.left}", self.left, {"kind": "measure", "trial": "", "cores": 1, "cpus": 1, "gpus": 0}
        )

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.ends.append(time.perf_counter())


def on_ray(bench: Bench) -> None:
    """Seconds between two jobs on a warm actor, ours and a plain trainable's."""
    from sweeps.running.ray import RayTune

    with tempfile.TemporaryDirectory() as folder:
        place, queue = RayTune(Path(folder)), NoWork(JOBS)
        place.settle(Share(1.0, 0.0))
        place.slots = 1
        place.run(queue)
    ours = _between(queue.ends)
    plain = _between(_plain())
    bench.row("Ray, ours", "between two jobs on a warm actor", 1000 * ours, unit="ms", jobs=JOBS)
    bench.row("Ray Tune, plain", "between two jobs on a warm actor", 1000 * plain, unit="ms", jobs=JOBS)
    bench.target("start of a job beside a plain trainable", ours / plain, 1.0)


def _between(ends: list[float]) -> float:
    gaps = np.diff(ends[JOBS // 4 :])
    return float(np.median(gaps))


def _plain() -> list[float]:
    import logging

    import ray
    from ray import tune

    def nothing(config: dict[str, float]) -> None:
        tune.report({"score": config["x"], "ended": time.time()})

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    logging.getLogger("ray.tune").setLevel("ERROR")
    offset = time.time() - time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        tuner = tune.Tuner(
            nothing,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=JOBS, max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        ends = [float((result.metrics or {})["ended"]) - offset for result in tuner.fit()]
    ray.shutdown()
    return sorted(ends)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 and 1,000 trials")
    parser.add_argument("--no-ray", action="store_true", help="leave out the start of jobs on Ray")
    options = parser.parse_args()
    bench = Bench("overhead", options.quick)
    for trials in SIZES[:2] if options.quick else SIZES:
        with tempfile.TemporaryDirectory() as name:
            driver(bench, trials, Path(name) / "overhead")
    if not options.no_ray:
        on_ray(bench)
    bench.close()


if __name__ == "__main__":
    main()
