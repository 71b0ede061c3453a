"""Sweeps over tables, many at a time, each kept as soon as it is done: a benchmark that was killed goes on."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _searches import SEARCHES, Task, key

PROGRAM = Path(__file__).parent / "_searches.py"
OWN_ENVIRONMENT = ("neps_", "hub_", "syne_")
"""How names of searches begin that need packages of their own."""


class Runs:
    """What is known of sweeps: a file of JSON lines that grows."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._known: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        if cache.exists():
            for line in cache.read_text().splitlines():
                try:
                    self._take(json.loads(line))
                except ValueError:  # half a line of a run that was killed
                    continue

    def get(self, task: Task) -> dict[str, Any] | None:
        """What came of a sweep, None where it was not run."""
        return self._known.get(json.dumps(key(task), sort_keys=True))

    def add(self, found: dict[str, Any]) -> None:
        """Keeps it."""
        with self._lock:
            self._take(found)
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            with self.cache.open("a") as file:
                file.write(json.dumps(found) + "\n")

    def _take(self, found: dict[str, Any]) -> None:
        keys = {name: found[name] for name in ("table", "settings", "search", "number", "of")}
        self._known[json.dumps(keys, sort_keys=True)] = found


class Worker:
    """A process that runs sweeps, one after another."""

    def __init__(self, python: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        environment["PYTHONPATH"] = os.pathsep.join([str(PROGRAM.parent.parent), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(  # noqa: S603
            [python, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip

    def run(self, task: Task) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(task)) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                return dict(json.loads(line.removeprefix("RESULT ")))
        return {"error": "its process died"}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def run_all(tasks: Sequence[Task], runs: Runs, *, workers: int, python: Path | None, seconds: float) -> None:
    """Runs the sweeps of which nothing is known, in order.

    Args:
        python: the interpreter of the rivals' environment; without one, searches that need it are left out.
        seconds: after which none is begun any more.
    """
    wanted: queue.SimpleQueue[Task] = queue.SimpleQueue()
    left = [
        task for task in tasks if runs.get(task) is None and (python or not task.search.startswith(OWN_ENVIRONMENT))
    ]
    for task in left:
        wanted.put(task)
    begun, broken = time.monotonic(), set[str]()

    def work() -> None:
        own: dict[str, Worker] = {}
        try:
            while time.monotonic() - begun < seconds:
                try:
                    task = wanted.get_nowait()
                except queue.Empty:
                    return
                if task.search in broken:
                    continue
                interpreter = str(python) if task.search not in SEARCHES and python else sys.executable
                if interpreter not in own:
                    own[interpreter] = Worker(interpreter)
                found = own[interpreter].run(task)
                if "error" in found:
                    print(f"{task.search} on {Path(task.table).stem}: left out: {found['error']}", flush=True)
                    broken.add(task.search)
                    own.pop(interpreter).close()
                else:
                    runs.add(found)
                    said = f"{found['table']} {task.search} {task.number}: {len(found['finished'])} finished"
                    print(f"{said} of {found['started']}, {found['seconds']} s; {wanted.qsize()} left", flush=True)
        finally:
            for each in own.values():
                each.close()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
