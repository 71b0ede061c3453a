"""Sweeps that take seconds, and the lives of the drivers that run them: processes of their own, with output in files."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import sweeps
from robustray.commands.exits import INTERRUPTED
from robustray.errors import told_in_one_line
from robustray.stopping import AtOnce, Stops, interrupt
from sweeps.driver import BackendName
from sweeps.record import JOURNAL
from sweeps.space import Sweep
from tests.faults import sabotage

_SPACE = """
name: sweep
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
  schedule: {name: one_cycle, epochs: 3, lr: DRAWN_LR}
  defense: DRAWN_DEFENSE
search: {sampler: SAMPLER, trials: TRIALS, seed: 3}
stopping: STOPPING
resources: {cpus: 1}
"""
_DRAWN = {
    "DRAWN_LR": "{loguniform: [0.05, 0.5]}",
    "DRAWN_DEFENSE": "{choice: [{name: trades, beta: {loguniform: [0.1, 20]}}, {name: adversarial}, natural]}",
}
_LISTED = {"DRAWN_LR": "{choice: [0.1, 0.3]}", "DRAWN_DEFENSE": "{choice: [{name: adversarial}, natural]}"}
FLAVOURS = {
    "random": {**_DRAWN, "SAMPLER": "random", "TRIALS": "4", "STOPPING": "none"},
    "grid": {**_LISTED, "SAMPLER": "grid", "TRIALS": "4", "STOPPING": "none"},
    "tpe": {**_DRAWN, "SAMPLER": "tpe", "TRIALS": "6", "STOPPING": "none"},
    "race": {**_DRAWN, "SAMPLER": "auto", "TRIALS": "4", "STOPPING": "{name: race, rungs: [1, 2]}"},
}
"""Sweeps by name. Of the first two every bit is known before; of the others what they decide, from what they had seen."""
IDENTITY = ("random", "grid")
_LOADED = ["torch._dynamo", "scipy.stats", "sklearn.datasets", "sweeps.driver", "sweeps.running.worker",
           "robustray.training.trainer", "robustray.attacks.autoattack"]  # fmt: skip
PATIENCE = 900.0
"""Seconds within which a life has to do what is waited for: a limit for what hangs, and no measurement."""


def space(folder: Path, flavour: str) -> Path:
    """Writes the space of a flavour, and tells where it lies."""
    text = _SPACE
    for key, value in FLAVOURS[flavour].items():
        text = text.replace(key, value)
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


@dataclass
class Life:
    """A driver at work."""

    process: BaseProcess
    log: Path
    folder: Path

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.process.pid or 0)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process.exitcode is not None

    def wait(self, until: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Waits for something, as long as it lives; whether that came."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if until():
                return True
            if self.over:
                return False
            time.sleep(0.005)
        return False

    def send(self, number: signal.Signals) -> None:
        """Signals it, where it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end(self, seconds: float = PATIENCE) -> int:
        """Waits for its end and gives the exit code; it is killed where it hangs.

        Raises:
            TimeoutError: it hung.
        """
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"the driver was still at work after {seconds:.0f} s; see {self.log}")
        return self.process.exitcode


def journal_size(folder: Path) -> int:
    """Bytes of the record that are there: a measure of progress that no load of the machine changes."""
    try:
        return (folder / JOURNAL).stat().st_size
    except OSError:
        return 0


@contextmanager
def life(
    space: Path,
    folder: Path,
    log: Path,
    *sets: str,
    backend: BackendName = "local",
    spoilt: sabotage.Plan | None = None,
) -> Iterator[Life]:
    """A driver in a process of its own, from a server that has torch loaded already; killed at the end.

    Args:
        log: what it prints is added there. sets: as after `--set`.
        spoilt: what goes wrong inside of it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    process = context.Process(target=_drive, args=(str(space), sets, str(folder), str(log), backend, spoilt))
    process.start()
    try:
        yield Life(process, log, folder)
    finally:
        process.kill()
        process.join()


def _drive(
    space: str, sets: tuple[str, ...], folder: str, log: str, backend: BackendName, spoilt: sabotage.Plan | None
) -> None:
    """What the command line does, without its report."""
    file = Path(log).open("a", buffering=1, encoding="utf-8")  # noqa: SIM115  to the very end, traces included
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)
    sys.stdout = sys.stderr = file
    if spoilt is not None:
        sabotage.install(spoilt)
    try:
        with Stops(interrupt), told_in_one_line():
            sweep = Sweep.from_yaml(space, overrides=sets)
            finished = sweeps.run(sweep, Path(folder), backend)
    except (AtOnce, KeyboardInterrupt):
        finished = False
    sys.exit(0 if finished else INTERRUPTED)
