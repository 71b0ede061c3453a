"""Prints in which order Ray Tune calls our hooks. Run by test_ray.py in a process of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sweeps.running.packing import Share
from sweeps.running.queues import DONE, End, Job, Result, Signal, Verdict
from sweeps.running.ray import RayTune
from tests.sweeps.small import small_sweep

CONFIGS = [
    {"defense": "natural", "schedule.lr": 0.1},  # runs to its end
    {"defense": "natural", "schedule.lr": 0.1},  # is stopped
    {"defense": "natural", "schedule.lr": 0.1},  # finds something else in its trial.yaml
]


class Watched:
    """A queue of three trials that writes down what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[str] = []
        self.given = 0

    def next(self) -> Job | Signal:
        number, self.given = self.given, self.given + 1
        if number >= len(CONFIGS):
            return DONE
        self.calls.append(f"{number} suggest")
        folder = self.folder / f"{number:04d}"
        folder.mkdir()
        config = small_sweep(self.folder).trial_config(CONFIGS[number])
        (folder / "trial.yaml").write_text(config.to_yaml() if number < 2 else "nonsense")
        work = {"kind": "train", "folder": str(folder), "cpus": 2.0, "gpus": 0.0, "session": "x", "max_failures": 0}
        return Job(f"trial {number}", number, work)

    def report(self, job: Job, result: Result) -> Verdict:
        self.calls.append(f"{job.number} report {result['epoch']}")
        if job.number == 1:
            self.calls.append("1 stop")
            return "stop"
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.calls.append(f"{job.number} finish {end.outcome}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        queue = Watched(Path(scratch))
        place = RayTune(Path(scratch))
        place.settle(Share(2.0, 0.0))  # one slot
        assert place.slots == 1
        assert place.run(queue) is False
    print(", ".join(queue.calls))
