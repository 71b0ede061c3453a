"""What it costs per epoch that a node does not see the results: bytes and time of a ResNet-18's checkpoint through Ray.

    python benchmarks/far.py [--epochs N]

A Ray of this machine's own, and a worker that trains the real trial as if it did not see the results: its files go through the
object store to the courier, another process, which writes and syncs them. A network between two machines adds the bytes over
its rate. Epochs are of two steps: only what is handed back is measured, and it does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _bench import Bench

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from robustray.trial import TrialConfig
from sweeps.running import ray_far
from sweeps.running.evidence import Evidence
from sweeps.running.far import Far
from sweeps.running.ray_far import Calls, Post
from sweeps.running.worker import open_task
from sweeps.storage.pack import Pack

TRIAL: dict[str, Any] = {
    "model": {"name": "resnet18"},
    "defense": {"name": "natural"},
    "batch": {"size": 4, "images": 8, "augment": []},
    "judge": {
        "data": {"name": "digits", "validation": 60},
        "threat": {"norm": "linf", "eps": 0.1},
        "cheap": {"name": "pgd", "loss": "margin", "steps": 1},
        "images": {"validation": 20},
    },
}


class _Weighing(Calls):
    """Calls that note what they carry: bytes and seconds."""

    def __init__(self) -> None:
        super().__init__("no office")
        self.fetched: list[tuple[int, float]] = []
        self.stored: list[tuple[int, float]] = []

    def fetch(self, name: str, token: str, work: Mapping[str, Any], has: Any) -> Any:
        begun = time.perf_counter()
        found: Any = super().fetch(name, token, work, has)
        self.fetched.append((found.pack.data.nbytes, time.perf_counter() - begun))
        return found

    def store(self, name: str, token: str, work: Mapping[str, Any], pack: Pack) -> Any:
        begun = time.perf_counter()
        found = super().store(name, token, work, pack)
        self.stored.append((pack.data.nbytes, time.perf_counter() - begun))
        return found


class _Worker:
    """An actor that works as on a node that does not see the results."""

    def train(self, home: str, work: dict[str, Any], epochs: int) -> dict[str, list[tuple[float, ...]]]:
        """Bytes, seconds of the call and of all of handing back, for each epoch; the same of what came at first."""
        calls, whole = _Weighing(), list[float]()

        class Timed(Far):
            def hand_back(self) -> None:
                begun = time.perf_counter()
                super().hand_back()
                whole.append(time.perf_counter() - begun)

        scratch = ray_far.scratch(Path(home).name)
        task = Timed(
            "a job", work, Path(home), calls, scratch, lambda here, hung, counted: open_task(here, counted=counted)
        )
        told = list[tuple[float, ...]]()
        for _ in range(epochs):
            whole.clear()
            calls.stored.clear()
            task.step()
            told.append((*calls.stored[-1], whole[-1]))
        ray_far.clear()
        return {"epochs": told, "fetched": [*calls.fetched]}


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    epochs = parser.parse_args().epochs
    bench = Bench("far", quick=epochs < 4)
    ray.init(
        address="local",
        num_cpus=1,
        object_store_memory=2_000_000_000,  # room for a few packs: nothing is spilled to disk
        include_dashboard=False,
        logging_level="ERROR",
    )
    try:
        with tempfile.TemporaryDirectory(prefix="robustray-bench-") as temporary:
            _measure(Path(temporary) / "small", epochs, bench)
    finally:
        ray.shutdown()


def _measure(home: Path, epochs: int, bench: Bench) -> None:
    trial = home / "trials" / "0000"
    trial.mkdir(parents=True)
    (home / "judgements").mkdir()
    schedule = {"name": "constant", "epochs": 2 * epochs, "lr": 0.01}
    (trial / "trial.yaml").write_text(TrialConfig.model_validate({**TRIAL, "schedule": schedule}).to_yaml())
    (home / "sweep.yaml").write_text("of a benchmark\n")
    asked: Evidence = {"marker": str(home / "sweep.yaml"), "digest": _digest(home / "sweep.yaml"), "host": "here"}
    post = Post(asked)
    while (told := post.open()) is None:
        time.sleep(0.1)
    assert told is True, told
    work = {"kind": "train", "folder": str(trial), "session": "s", "max_failures": 1, "cpus": 1, "gpus": 0}
    away = ray.remote(num_cpus=1)(_Worker)
    worker = away.remote()
    found = ray.get(worker.train.remote(str(home), work, epochs + 1))
    ray.kill(worker)
    size, call, whole = zip(*found["epochs"][1:], strict=True)  # the first one has no state before it
    again = ray.get(away.remote().train.remote(str(home), work, 1))["fetched"]
    bench.row("handed back", "MB per epoch", statistics.median(size) / 1e6)
    bench.row("handed back", "ms per epoch, all of it", 1e3 * statistics.median(whole), n=len(whole))
    bench.row("handed back", "ms per epoch, sent and written", 1e3 * statistics.median(call), n=len(call))
    bench.row("brought", "MB for a worker that goes on", again[0][0] / 1e6)
    bench.row("brought", "ms for a worker that goes on", 1e3 * again[0][1])


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
