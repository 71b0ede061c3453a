"""Runs a sweep whose trials are paused on Ray, and prints the states of Ray's own trials. Run by test_pausing_on_ray.py."""

from __future__ import annotations

import sys
from pathlib import Path

import sweeps
import sweeps.running.ray  # before Ray itself, whose environment it sets
from sweeps.search import stopping
from tests.sweeps.paused import Oldest
from tests.sweeps.small import SPACE, small_sweep

TEXT = (
    SPACE.replace("epochs: 3", "epochs: 12").replace("trials: 5", "trials: 4")
    + "stopping: {name: pareto_halving, rungs: [3, 6]}\n"
)

if __name__ == "__main__":
    from ray.tune.experiment.trial import Trial

    seen, kept = set[str](), Trial.set_status

    def noted(trial: Trial, status: str) -> None:
        seen.add(status)
        kept(trial, status)

    Trial.set_status = noted
    stopping.POLICIES["pareto_halving"] = lambda sweep, encoding: Oldest(waiting=4)
    folder = Path(sys.argv[1])
    assert sweeps.run(small_sweep(folder, text=TEXT), folder / "small", "ray", write=print)
    print(*sorted(seen))
