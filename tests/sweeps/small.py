"""A sweep that takes seconds: real digits, real training, a real attack of the judge."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import sweeps
from sweeps import record
from sweeps.driver import BackendName
from sweeps.record import Snapshot
from sweeps.space import Sweep

SPACE = """
name: small
judge:
  data: {name: digits, validation: 400}
  threat: {norm: linf, eps: 0.1}
  cheap: {name: pgd, loss: margin, steps: 3}
  version: [apgd-ce]
  images: {validation: 60, test: 80}
trial:
  batch: {size: 100, augment: [{name: crop, padding: 1}]}
  model: {name: small_cnn, width: 2, dropout: 0.1}
  attack: {steps: 2}
  defense: {choice: [{name: trades, beta: {loguniform: [0.1, 20]}}, {name: adversarial}, natural]}
  schedule: {name: one_cycle, epochs: 3, lr: {loguniform: [0.05, 0.5]}}
search: {sampler: random, trials: 5, seed: 3}
resources: {cpus: 1}
"""
TIMING = {"cost_seconds", "cost_device_hours"}


def small_sweep(folder: Path, *overrides: str, text: str = SPACE) -> Sweep:
    """The sweep, through a real file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.yaml"
    path.write_text(text)
    return Sweep.from_yaml(path, overrides=overrides)


def run_quietly(sweep: Sweep, folder: Path, backend: BackendName = "local") -> bool:
    """Runs a sweep to its end, or to its interruption."""
    return sweeps.run(sweep, folder, backend, write=lambda line: None)


def facts(folder: Path) -> dict[str, Any]:
    """Everything in a record that does not depend on the clock or the machine's speed.

    Which trials were judged in full, besides the frontier's members, may depend on which results came first.
    """
    snapshot: Snapshot = record.read(folder)
    members = snapshot.members[-1].trials if snapshot.members else []
    return {
        "trials": [
            (t.number, t.params, t.outcome, t.cause, t.epoch, t.weights, t.feasible, _untimed(t.metrics))
            for t in snapshot.trials
        ],
        "judged": {
            key: (j.images, j.clean_correct, j.robust, j.version)
            for key, j in snapshot.judged.items()
            if key[0] in members
        },
        "members": members,
        "epochs": {path.parent.name: _rows(path) for path in sorted(folder.glob("trials/*/metrics.csv"))},
    }


def _untimed(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMING}


def _rows(path: Path) -> list[dict[str, str]]:
    header, *lines = path.read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    return [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


def _drive(space: str, overrides: Sequence[str], folder: str, backend: BackendName) -> None:
    sweep = Sweep.from_yaml(space, overrides=overrides)
    sweeps.run(sweep, Path(folder), backend)


@contextmanager
def driver_process(space: Path, folder: Path, *overrides: str, backend: BackendName = "local") -> Iterator[BaseProcess]:
    """A driver in a process of its own, started from a server that has torch loaded already; killed at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["robustray.training.trainer", "robustray.attacks.autoattack", "sweeps.driver"])
    process = context.Process(target=_drive, args=(str(space), overrides, str(folder), backend))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
