"""What a driver costs with many workers: up to 10,000 trials on up to 1,000 slots, in simulated time, and where it bends.

    python benchmarks/scale.py [--quick] [--workers 8,64,1000] [--trials 1000,3000,10000] [--profile]

Stand-in workers as in overhead.py: a trial reports made-up accuracies after a simulated while, shards of the judge write
made-up verdicts as workers do. Simulated time passes as answers say; what is measured is the driver's own CPU time per trial
with all of its jobs, without the stand-ins and the sampler, and a status as `status.json` has it. A row is taken for each
tenth of the trials, so that the curve shows growth within one sweep; `docs/performance/scale.png` has those of the largest
number of trials. `--profile` prints where the last tenth went.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import yaml
from _bench import Bench
from overhead import SPACE, StandIns, Timed

from sweeps.driver import drive
from sweeps.events import Event, TrialEnded
from sweeps.record import Record
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.study import Study
from sweeps.space import Sweep
from sweeps.view.activity import Activity
from sweeps.view.status import status
from sweeps.view.watch import Watch

PARTS = 10
FIGURE = Path(__file__).parent.parent / "docs/performance/scale.png"
Curve = list[tuple[int, float]]
"""Trials ended, and the driver's milliseconds for each trial since the point before."""


class Uneven(StandIns):
    """Answers that take between a half and one and a half simulated seconds: ends are spread, as they are in life."""

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        for _, report in super().__call__(job):
            yield 0.5 + (zlib.crc32(job.name.encode()) % 1000) / 1000, report


class Meter:
    """A listener that notes the driver's CPU seconds at every tenth of the trials that end."""

    def __init__(self, trials: int, answers: StandIns, sampler: Timed) -> None:
        self.step, self.answers, self.sampler = max(1, trials // PARTS), answers, sampler
        self.marks: list[tuple[int, float]] = [(0, self._own())]

    def __call__(self, event: Event) -> None:
        if isinstance(event, TrialEnded) and event.done % self.step == 0:
            self.marks.append((event.done, self._own()))

    def _own(self) -> float:
        return time.process_time() - self.answers.seconds - self.sampler.seconds


def driven(bench: Bench, trials: int, workers: int, folder: Path, *, profile: bool) -> tuple[float, Curve]:
    """One whole sweep: milliseconds per trial with all of its jobs, and how they grew while trials were trained."""
    sweep = Sweep.model_validate(yaml.safe_load(SPACE % trials))
    answers, case = Uneven(sweep, time.process_time), f"{trials} on {workers}"
    profiler = cProfile.Profile() if profile else None
    activity = Activity()
    with Record(folder, sweep.objectives) as record, Timed(Study, "ask", time.process_time) as sampler:
        meter = Meter(trials, answers, sampler)

        def tell(event: Event) -> None:
            activity(event)
            meter(event)
            if profiler is not None and isinstance(event, TrialEnded) and event.done == trials - meter.step:
                profiler.enable()

        begun = time.process_time()
        assert drive(sweep, record, lambda: Simulated(answers, workers), tell=tell)
        if profiler is not None:
            profiler.disable()
        whole = time.process_time() - begun - answers.seconds - sampler.seconds
        watch = Watch(sweep, folder, record.snapshot, activity)
        said = []
        for _ in range(3):
            watch.news()
            begun = time.process_time()
            status(watch.frame("at work"), watch.snapshot, "at work").model_dump_json()
            said.append(time.process_time() - begun)
    marks = zip(meter.marks, meter.marks[1:], strict=False)
    curve = [(done, 1000 * (then - at) / (done - before)) for (before, at), (done, then) in marks]
    for done, each in curve:
        bench.row(case, "driver, a trial while training", each, unit="ms", trial=done)
    bench.row(case, "driver, a trial with all its jobs", 1000 * whole / trials, unit="ms", jobs=answers.jobs)
    bench.row(case, "a status after news", 1000 * min(said), unit="ms")
    if profiler is not None:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(30)
    return 1000 * whole / trials, curve


def figure(trials: int, curves: dict[int, Curve]) -> None:
    """The driver's milliseconds for a trial against trials ended, a line for each number of workers."""
    import plotly.graph_objects as go
    from _bench import machine
    from _look import LOOK, SYMBOLS, save, titled

    drawn = go.Figure()
    for place, (workers, curve) in enumerate(curves.items()):
        ends, each = zip(*curve, strict=True)
        drawn.add_scatter(
            x=ends, y=each, name=f"{workers:,} workers", mode="lines+markers",
            line={"color": LOOK.categories[place]}, marker={"size": 8, "symbol": SYMBOLS[place]},
        )  # fmt: skip
    drawn.update_xaxes(title="trials ended", rangemode="tozero")
    drawn.update_yaxes(title="CPU time of the driver for a trial, ms", rangemode="tozero")
    title = titled(f"What a driver costs, {trials:,} trials", f"{machine()}; without sampler and stand-ins")
    save(drawn, FIGURE, 620, 380, title=title, margin={"l": 60, "r": 20, "t": 65, "b": 50})


def main() -> None:
    """Runs all sizes, prints rows and targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300 and 1,000 trials on 8 and 100 workers")
    parser.add_argument("--workers", default="8,64,1000")
    parser.add_argument("--trials", default="1000,3000,10000")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    bench = Bench("scale", options.quick)
    sizes = (300, 1000) if options.quick else tuple(map(int, options.trials.split(",")))
    slots = (8, 100) if options.quick else tuple(map(int, options.workers.split(",")))
    found: dict[tuple[int, int], float] = {}
    curves: dict[int, Curve] = {}
    for workers in slots:
        for trials in sizes:
            with tempfile.TemporaryDirectory() as name:
                made = driven(bench, trials, workers, Path(name) / "scale", profile=options.profile)
                found[trials, workers], curves[workers] = made
    most, fewest = max(found), min(found)
    bench.target(f"ms of the driver per trial, {most[0]:,} trials on {most[1]:,} workers", found[most], 15)
    bench.target(f"the same over that of {fewest[0]:,} on {fewest[1]:,}", found[most] / found[fewest], 2)
    if not options.quick:
        figure(max(sizes), curves)
    bench.close()


if __name__ == "__main__":
    main()
