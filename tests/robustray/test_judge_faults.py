"""A judgement that is killed, interrupted, or run by several processes: the verdicts of an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from robustray.__main__ import main
from robustray.commands.exits import INTERRUPTED
from robustray.data.digits import Digits
from tests.robustray.judged import contents, written

pytestmark = pytest.mark.faults
ROOT = Path(__file__).parents[2]
ATTACKS = ("apgd-ce", "apgd-dlr")
SHARDS = 8
PRELOAD = ["robustray.judging.workers", "robustray.commands.judge_run", "pandas", "scipy.stats", "sweeps.driver"]
"""What a command imports, loaded once; the last for tests of sweeps, which have the same server."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, and forty digits in a file of their own."""
    folder = tmp_path_factory.mktemp("home")
    written(folder)
    digits = Digits(validation=60).load("test")
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", images=digits.images[:40], labels=digits.labels[:40])
    _forked(folder, folder / "log", "--version").join()  # the server of the tests is there before any life begins
    return folder


class Life:
    """One life of the command, and of every process that came since it began."""

    def __init__(self, process: BaseProcess | subprocess.Popen[bytes], before: set[psutil.Process], log: Path) -> None:
        self.process = process
        self.before = before
        self.log = log

    @property
    def code(self) -> int | None:
        """The exit code, None while it lives."""
        return self.process.poll() if isinstance(self.process, subprocess.Popen) else self.process.exitcode

    def family(self) -> list[psutil.Process]:
        """Itself and all that it started, but not the server of the tests that forked it."""
        return [process for process in _ours() if process not in self.before]

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if process.pid != self.process.pid]

    def wait(self, happens: Callable[[], bool], seconds: float = 600) -> None:
        """Until something is so, the life is over, or time is up."""
        begun = time.monotonic()
        while not happens() and self.code is None and time.monotonic() < begun + seconds:
            time.sleep(0.01)

    def end(self, number: signal.Signals | None = None) -> int:
        """Sends a signal, waits for the end, and for the end of everything it started."""
        if number is not None and self.code is None:
            os.kill(int(self.process.pid or 0), number)
        self.wait(lambda: False)
        deadline = time.monotonic() + 60
        while self.family() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.family() == [], "no process survives its parent"
        assert self.code is not None
        return self.code


def _ours() -> list[psutil.Process]:
    """Processes of this one that are alive."""
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _forked(home: Path, log: Path, *arguments: str) -> BaseProcess:
    """The command in a process from a server that has torch loaded already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_run, args=(str(home), arguments, str(log)))
    process.start()
    return process


def _new(home: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """The command as a user starts it."""
    with log.open("ab") as file:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "robustray", *arguments]
        return subprocess.Popen(command, cwd=home, stdout=file, stderr=file, env=environment)


def _run(home: str, arguments: Sequence[str], log: str) -> None:
    os.chdir(home)
    with Path(log).open("a", buffering=1) as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        sys.argv = ["robustray", *arguments]
        main()


@contextmanager
def life(home: Path, results: Path, *arguments: str, forked: bool = True) -> Iterator[Life]:
    """The command at work; killed at the end, with all it started."""
    command = [
        "judge", "net.py:make", "--data", "{name: npz, train: train.npz, test: test.npz, validation: 8}", "--eps", "0.1",
        "--version", "+".join(ATTACKS), "--batch", str(40 // SHARDS), "--save-adversarial", "--results", str(results),
        *arguments,
    ]  # fmt: skip
    log = results.with_suffix(".log")
    before = set(_ours())
    begun = Life((_forked if forked else _new)(home, log, *command), before, log)
    try:
        yield begun
    finally:
        begun.end(signal.SIGKILL)


def verified(home: Path, folder: Path) -> bool:
    """Whether a process of its own finds every saved image as the verdicts say."""
    log = folder.parent.with_suffix(".verified")
    process = _forked(home, log, "judge", "--verify", str(folder))
    process.join()
    return process.exitcode == 0 and log.read_text().splitlines()[-1] == "verified"


def outcome(results: Path) -> dict[str, Any]:
    """Everything a judgement says but for the clock, from its files."""
    (folder,) = results.iterdir()
    told = json.loads((folder / "result.json").read_text())
    stages = [{name: value for name, value in stage.items() if name != "seconds"} for stage in told.pop("stages")]
    assert told.pop("seconds") > 0
    return {"shards": contents(folder, ATTACKS), "stages": stages, **told}


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    results = tmp_path_factory.mktemp("undisturbed") / "results"
    with life(home, results, "--device", "cpu") as one:
        assert one.end() == 0, one.log.read_text()
    found = outcome(results)
    assert len(found["shards"]) == SHARDS * 3
    assert 5 < found["robust_accuracy"] * 40 < found["clean_accuracy"] * 40 - 5
    assert found["flags"] == {}
    return found


def test_killed_at_random_moments(home: Path, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Seventeen times or more, in lives that go on where the one before was killed."""
    chance = random.Random("judge")
    kills = attempt = 0
    while kills < 17:
        attempt += 1
        results = tmp_path / str(attempt)
        code, lives = -signal.SIGKILL, 0
        while code == -signal.SIGKILL:
            with life(home, results, "--device", "cpu") as one:
                one.wait(lambda: False, chance.uniform(0.2, 1.2) if lives < 12 else 600)  # in the end it may end
                code = one.end(signal.SIGKILL)
            lives += 1
        assert code == 0, one.log.read_text()
        kills += lives - 1
        assert outcome(results) == undisturbed
        assert attempt < 12, "it is over before it can be killed"
    (folder,) = results.iterdir()
    assert verified(home, folder)


def test_several_processes_and_their_ends(home: Path, tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Killed while its workers start, in the middle, stopped by Ctrl-C, a worker killed: then the verdicts of one device."""
    chance = random.Random("devices")
    results = tmp_path / "results"
    pair = ("--device", "cpu,cpu")

    def attacked() -> int:
        return len(list(results.glob("*/apgd-*.parquet")))

    with life(home, results, *pair) as one:
        one.wait(lambda: len(one.workers()) >= 1)
        time.sleep(chance.uniform(0, 0.3))
        assert one.end(signal.SIGKILL) == -signal.SIGKILL
    with life(home, results, *pair, forked=False) as two:  # from its very own server
        two.wait(lambda: attacked() >= 2)
        assert len(two.workers()) >= 3
        assert two.end(signal.SIGKILL) == -signal.SIGKILL
    before = attacked()
    assert 2 <= before < SHARDS * 2
    with life(home, results, *pair) as three:
        three.wait(lambda: attacked() > before)
        assert three.end(signal.SIGINT) == INTERRUPTED
    assert "Stopped. Whole shards are kept; the same command goes on." in three.log.read_text()
    before = attacked()
    with life(home, results, *pair) as told_all:
        told_all.wait(lambda: attacked() > before)
        for process in told_all.family():  # as a scheduler does
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        assert told_all.end() == INTERRUPTED
    assert "Traceback" not in told_all.log.read_text()
    before = attacked()
    with life(home, results, *pair) as four:
        four.wait(lambda: attacked() > before)
        four.workers()[0].kill()
        assert four.end() == 2
    assert four.log.read_text().splitlines()[-1].startswith("error: a judging process died")
    assert attacked() < SHARDS * 2
    with life(home, results, *pair) as five:
        assert five.end() == 0, five.log.read_text()
    assert outcome(results) == undisturbed
    (folder,) = results.iterdir()
    assert verified(home, folder)


DRAWN = """
import os
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def other():
    model = make()
    model[1].bias.data.fill_(os.getpid() % 1000)
    return model
"""


def test_processes_meet_the_same_network_or_say_so(home: Path, tmp_path: Path) -> None:
    """Weights that torch draws are the same in each; a factory that takes them from elsewhere cannot be judged."""
    (home / "drawn.py").write_text(DRAWN)
    data = "{name: npz, train: train.npz, test: test.npz, validation: 8}"
    for factory, code in (("make", 0), ("other", 2)):
        log = tmp_path / f"{factory}.log"
        process = _forked(home, log, "judge", f"drawn.py:{factory}", "--data", data, "--eps", "0.1", "--version", "apgd-ce",
                          "--batch", "8", "--device", "cpu,cpu", "--results", str(tmp_path / factory))  # fmt: skip
        process.join()
        assert process.exitcode == code, log.read_text()
    assert log.read_text().splitlines()[1:] == [
        "error: drawn.py:other: another process gets other weights; a factory must always give the same network"
    ]
