"""What Ray calls the work of a sweep: the record's names."""

from __future__ import annotations

import threading
from pathlib import Path

import psutil
import pytest

from tests.sweeps.small import run_quietly, small_sweep


def test_tune_hands_no_secret_to_logs_of_ray() -> None:
    """What it hands on is a runtime environment, which agents on every node write down."""
    from ray.tune.execution import class_cache

    import sweeps.running.ray  # noqa: F401

    assert not [name for name in class_cache.ENV_VARS_TO_PROPAGATE if "KEY" in name or "TOKEN" in name]


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
