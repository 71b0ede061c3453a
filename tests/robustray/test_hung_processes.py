"""Processes that train together, of which one stands still: the others wait for it, and somebody has to see that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from robustray.errors import ProcessLost
from robustray.pulse import LONGEST_LOOK, Pulse
from robustray.training import checkpoints, processes
from robustray.training.processes import Crew
from tests.robustray.made import trial
from tests.robustray.test_resume import after, ends_alike
from tests.robustray.test_together import followers

ROOT = Path(__file__).parents[2]
LONG = 300
"""Seconds for what takes a few: a limit for what hangs."""


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_one_that_is_stopped_is_named_and_the_next_two_go_on_bit_for_bit(tmp_path: Path) -> None:
    first, second = (Crew(2, device="cpu", threads=1) for _ in range(2))
    try:
        whole = first.open(trial(), tmp_path / "whole")
        whole.run()
        (other, _) = followers(psutil.Process())
        stopped = first.open(trial(), tmp_path / "parts")
        after(stopped, 4, other.suspend)
        pulse = Pulse(5.0, first.give_up)
        stopped.alive = pulse.beat
        said = r"process 1 of 2 \(from 0\) is stopped: no sign of life of 2 processes for \d+ s"
        with pytest.raises(ProcessLost, match=said), pulse.at_work():
            stopped.run()
        assert not first.fit
        assert not other.is_running()
        resumed = second.open(trial(), tmp_path / "parts")
        assert resumed.completed == 1
        resumed.run()
        ends_alike(whole, resumed)
    finally:
        first.end()
        second.end()


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_one_that_stands_still_as_it_starts_is_found_too(tmp_path: Path) -> None:
    crew = Crew(2, device="cpu", threads=1)
    (other,) = followers(psutil.Process())
    other.suspend()
    with pytest.raises(ProcessLost, match="is stopped"), Pulse(1.0, crew.give_up).at_work():
        crew.open(trial(), tmp_path)
    assert not other.is_running()


class _Looks:
    """The seconds between looks, in place of an event that ends them; work that is alive for the first ones of them."""

    def __init__(self, pulse: Callable[[], Pulse], alive: int, *passed: float) -> None:
        self.now, self.pulse, self.alive, self.passed = 0.0, pulse, alive, list(passed)

    def wait(self, seconds: float) -> bool:
        if self.alive > 0:
            self.alive -= 1
            self.now += 0.5
            self.pulse().beat()
        self.now += self.passed.pop(0) if self.passed else LONGEST_LOOK
        return False


@pytest.mark.parametrize("alive", [0, 1, 3])
def test_what_a_process_was_away_for_itself_counts_for_nothing(alive: int) -> None:
    """As after Ctrl-Z and `fg`: the clock has gone on, and nobody has looked, whenever the last sign before that was."""
    hung: list[float] = []
    looks = _Looks(lambda: pulse, alive, 1, 1, 10_000, 1)
    pulse = Pulse(60.0, hung.append, clock=lambda: looks.now)
    pulse._look(looks)  # type: ignore[arg-type]
    assert not looks.passed
    assert len(hung) == 1
    assert 60 < hung[0] <= 60 + LONGEST_LOOK
    assert looks.now > 10_050


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_command_ends_in_a_line_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """With the other process stopped it ends; stopped itself, as by Ctrl-Z, it goes on when it may."""
    path = tmp_path / "t.yaml"
    path.write_text(trial(schedule={"name": "one_cycle", "epochs": 12, "lr": 0.1}).to_yaml())
    command = f"-m robustray train {path} --device cpu --threads 1 --processes 2".split()

    def begun(folder: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *command, "--folder", folder, *more],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def trained(process: subprocess.Popen[str]) -> bool:
        """Whether it has come to the end of an epoch; where a busy machine was too slow for its patience it has not."""
        assert process.stdout is not None
        return any(line.startswith("epoch") for line in process.stdout)

    whole = begun("whole")
    assert "done:" in whole.communicate(timeout=LONG)[0]
    patience = 10.0
    while not trained(first := begun("parts", "--patience", str(patience))):
        assert first.wait(LONG) == 2
        patience *= 2
        assert patience < LONG
    (other,) = followers(psutil.Process(first.pid))
    other.suspend()
    said = first.communicate(timeout=LONG)[0]
    assert first.returncode == 2, said
    assert said.strip().splitlines()[-1].startswith("error: process 1 of 2 (from 0) is stopped: no sign of life"), said
    assert said.strip().endswith("the same command goes on from the last checkpoint"), said
    assert "Traceback" not in said
    other.wait(LONG)

    last = begun("parts", "--patience", str(2 * patience))
    assert trained(last)
    last.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        last.wait(2 * patience + 10)
    last.send_signal(signal.SIGCONT)
    said = last.communicate(timeout=LONG)[0]
    assert last.returncode == 0, said
    left, right = (checkpoints.load(tmp_path / name / "last.pt")["average"] for name in ("whole", "parts"))
    assert checkpoints.weights_hash(left) == checkpoints.weights_hash(right)
    assert processes.FOLLOWER not in " ".join(" ".join(each.cmdline()) for each in psutil.Process().children(True))
