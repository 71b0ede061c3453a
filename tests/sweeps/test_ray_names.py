"""What Ray calls the work of a sweep: the record's names."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from tests.sweeps.small import run_quietly, small_sweep


@pytest.mark.cluster
def test_workers_are_called_after_their_jobs_while_they_work(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "search.trials=2", "trial.schedule.epochs=8", "judge.trials=none")
    seen, over = set[str](), threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                try:
                    seen.add(" ".join(child.cmdline()).strip())
                except psutil.Error:
                    continue

    watching = threading.Thread(target=look)
    watching.start()
    try:
        assert run_quietly(sweep, tmp_path / "results" / "small", "ray")
    finally:
        over.set()
        watching.join()
    assert {"ray::trial 0000", "ray::trial 0001"} <= seen
