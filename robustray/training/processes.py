"""Starts the processes that train a model together with this one, tells them what to do, and knows why one is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from robustray import plugins
from robustray.devices import pick_device
from robustray.errors import Diverged, Paused, ProcessLost, UserError
from robustray.files import from_json
from robustray.options.yaml import dotted
from robustray.stopping import STOPS
from robustray.training.together import Group
from robustray.training.trainer import Trainer
from robustray.trial import TrialConfig

FOLLOWER = "robustray.training.follower"
LOST, OUT_OF_MEMORY = 75, "out_of_memory"
"""The exit code of a process that ended since another one had; in the last words of one that ran out of a device's memory."""
_LAST_WORDS = 5.0  # seconds within which a process has ended that another one misses
_Child = subprocess.Popen[str]


class Crew:
    """This process and others of this machine that train trial after trial with it, each on a device of its own.

    They are started once: importing torch costs seconds. They end with this one, however it ends, and hear no signals: what
    Ctrl-C or a scheduler asks for, this process tells them after the step in flight.

    Args:
        size: how many processes they are with this one. device: `auto`, `cpu` or `cuda`. threads: CPU threads of each.

    Raises:
        UserError: there are fewer GPUs.
    """

    def __init__(self, size: int, *, device: str = "auto", threads: int = 1) -> None:
        self.size = size
        self.devices = devices(size, device)
        self.threads = threads
        self._group: _Leading | None = None
        self._hung: str | None = None
        self._others = [_started() for _ in self.devices[1:]]
        self._over = weakref.finalize(self, _end, self._others)

    @property
    def fit(self) -> bool:
        """Whether all of them wait for work."""
        return self._over.alive and all(other.poll() is None for other in self._others)

    def open(self, config: TrialConfig, folder: Path) -> Trainer:
        """The trainer of a trial: what it is told to do, those of the other processes do as well.

        Raises:
            UserError: as `Trainer` says, or the trial is one for a single process. ProcessLost: one of them died meanwhile.
        """
        check(config)
        group = self._met()
        folder.mkdir(exist_ok=True)  # as the trainer does it
        config.keep(folder)
        with self.working("open", config=config.to_yaml(), folder=str(folder.absolute()), plugins=plugins.travelling()):
            return Trainer(config, folder, device=self.devices[0], threads=self.threads, group=group)

    @contextmanager
    def working(self, order: str, **more: Any) -> Iterator[None]:
        """Work of all of them. Any failure ends the others, but for those that all processes meet at the same place.

        Raises:
            ProcessLost: one of them died meanwhile. OutOfMemoryError: since its device had no more memory.
        """
        with self._kept_whole():
            for other in self._others:
                _say(other, {"do": order, **more})
            yield

    def give_up(self, silent: float) -> None:
        """For another thread, where this one has waited so many seconds in vain: ends the others, so that its work ends too,
        with ProcessLost. Does nothing for work that does not wait for them.
        """
        stopped = [f"process {rank} of {self.size} (from 0)" for rank, other in self._numbered() if _stopped(other.pid)]
        who = " and ".join(stopped) + (" is" if len(stopped) == 1 else " are") + " stopped: " if stopped else ""
        self._hung = f"{who}no sign of life of {self.size} processes for {max(1, round(silent))} s"
        for other in self._others:
            other.kill()

    def end(self) -> None:
        """Ends the others. Nothing is lost: what is kept is on disk."""
        self._over()
        if self._group is not None:
            self._group.leave()
            self._group = None

    def _numbered(self) -> Iterator[tuple[int, _Child]]:
        return enumerate(self._others, start=1)

    def _met(self) -> _Leading:
        """The group of all of them, once each has started. What waits for them is here and not where they are begun, so that
        somebody may look after it by then.
        """
        if self._group is None:
            with self._kept_whole(), tempfile.TemporaryDirectory(prefix="robustray-crew-") as folder:
                store = str(Path(folder) / "store")
                for rank, other in self._numbered():
                    place = {"rank": rank, "size": self.size, "device": self.devices[rank], "threads": self.threads}
                    _say(other, {"parent": os.getpid(), "store": store, **place})
                for other in self._others:  # imports are done: from here on all meet at once
                    if not other.stdout or not other.stdout.readline():
                        raise ProcessLost("it did not start")
                self._group = _Leading(self, store)
        return self._group

    @contextmanager
    def _kept_whole(self) -> Iterator[None]:
        try:
            yield
        except (Diverged, Paused):
            raise
        except (ProcessLost, BrokenPipeError) as error:
            why, out_of_memory = self._lost()
            self.end()
            raise (torch.cuda.OutOfMemoryError(why) if out_of_memory else ProcessLost(why)) from error
        except BaseException:
            self.end()
            raise

    def _lost(self) -> tuple[str, bool]:
        """Which of them is gone and why, and whether for want of a device's memory. Those that only followed are not meant."""
        if self._hung is not None:
            return self._hung, False
        until = time.monotonic() + _LAST_WORDS
        while time.monotonic() < until and not any(other.poll() not in (None, LOST) for other in self._others):
            time.sleep(0.01)
        for rank, other in self._numbered():
            if other.poll() in (None, LOST):
                continue
            who, said = f"process {rank} of {self.size} (from 0)", _last_words(other)
            if said:
                return f"{who}: {said['cause']}", said["kind"] == OUT_OF_MEMORY
            code = other.returncode
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            if -code == signal.SIGKILL:
                how += ", as the kernel does where memory runs out"
            return f"{who} {how}", False
        return f"one of {self.size} processes does not answer", False


class _Leading(Group):
    """The group as the first process has it, which tells the others what to do."""

    def __init__(self, crew: Crew, store: str) -> None:
        super().__init__(0, crew.size, Path(store), torch.device(crew.devices[0]))
        self._crew = weakref.ref(crew)

    @contextmanager
    def at(self, order: str) -> Iterator[None]:
        crew = self._crew()
        if crew is None or not crew.fit:
            raise ProcessLost("the other processes have been ended")
        with crew.working(order):
            yield


def check(config: TrialConfig) -> None:
    """Raises UserError where a single process has to train a trial."""
    if config.single is not None:
        keys, why = config.single
        raise UserError(f"{dotted(keys)}: {why}")


def devices(size: int, device: str = "auto") -> list[str]:
    """Where each of so many processes computes: on a GPU of its own, or all on the CPU.

    Raises:
        UserError: there are fewer GPUs, or one of them is named.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"{size} processes take a device each: auto, cpu or cuda, not {device}")
    if pick_device(device).type == "cpu":
        return ["cpu"] * size
    there = torch.cuda.device_count()
    if there < size:
        raise UserError(
            f"{size} processes need a GPU each, but there {'is' if there == 1 else 'are'} {there}; cpu is one too"
        )
    return [f"cuda:{rank}" for rank in range(size)]


def _started() -> _Child:
    """A process that waits for orders on its standard input, and hears no signals."""
    path = os.pathsep.join(each for each in sys.path if each)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # children have it from their first moment
    try:
        return subprocess.Popen(  # noqa: S603 - this interpreter, on a module of ours
            [sys.executable, "-m", FOLLOWER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _say(other: _Child, what: dict[str, Any]) -> None:
    assert other.stdin is not None
    other.stdin.write(json.dumps(what) + "\n")
    other.stdin.flush()


def _stopped(process: int) -> bool:
    """Whether a process stands still by a signal (SIGSTOP, SIGTSTP) or a debugger."""
    with suppress(psutil.Error):
        return psutil.Process(process).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return False


def _last_words(other: _Child) -> dict[str, str] | None:
    """Why a process that has ended did, where it could say."""
    lines = other.stdout.read().splitlines() if other.stdout else []
    with suppress(ValueError, IndexError):
        said = from_json(lines[-1])
        return {"kind": str(said["kind"]), "cause": str(said["cause"])}
    return None


def _end(others: Sequence[_Child]) -> None:
    for other in others:
        other.kill()
        other.wait()
        for pipe in (other.stdin, other.stdout):
            with suppress(OSError):  # what it never read
                if pipe is not None:
                    pipe.close()
