"""Signals as they come from terminals and schedulers: to a process, to its whole group, more than once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from robustray import stopping
from robustray.stopping import STOPS, AtOnce, Stops, interrupt, unheard


@pytest.fixture(params=STOPS, ids=lambda number: number.name)
def number(request: pytest.FixtureRequest) -> signal.Signals:
    return signal.Signals(request.param)


def test_the_first_is_a_request_and_its_echo_is_none(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout` signals its child, then the child's group: both reach a driver, and mean one thing."""
    monkeypatch.setattr(stopping, "SAME", float("inf"))
    asked: list[int] = []
    with Stops(lambda: asked.append(1)) as stops:
        assert not stops.asked
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert stops.asked
    assert asked == [1]


@pytest.mark.parametrize("second", STOPS, ids=lambda number: number.name)
def test_a_later_one_stops_at_once(
    number: signal.Signals, second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "SAME", -1.0)
    asked: list[int] = []
    with Stops(lambda: asked.append(1)):
        os.kill(os.getpid(), number)
        with pytest.raises(AtOnce):
            os.kill(os.getpid(), second)
    assert asked == [1]


def test_at_once_is_not_lost_in_code_that_raises_its_own(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray's does; one that nobody asked for twice stays what it is."""
    monkeypatch.setattr(stopping, "SAME", -1.0)

    def woken(times: int) -> None:
        for _ in range(times):
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                raise KeyboardInterrupt from None

    with pytest.raises(AtOnce), Stops(lambda: None):
        woken(2)
    with pytest.raises(KeyboardInterrupt) as caught, Stops(interrupt):
        woken(1)
    assert not isinstance(caught.value, AtOnce)


def test_what_handled_them_before_does_so_again(number: signal.Signals) -> None:
    outer: list[int] = []
    with Stops(lambda: outer.append(1)):
        with pytest.raises(KeyboardInterrupt), Stops(interrupt):
            os.kill(os.getpid(), number)
        assert not outer
        os.kill(os.getpid(), number)
    assert outer == [1]


def test_processes_begun_unheard_outlive_a_signal_and_ours_comes_after_the_block(number: signal.Signals) -> None:
    """And so do those that they begin; only SIGKILL ends them, which is what their parent sends."""
    child = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', 'print(6 * 7)']))"
    waits = f"import sys; sys.stdin.readline(); {child}"
    asked: list[int] = []
    with Stops(lambda: asked.append(1)):
        with unheard():
            process = subprocess.Popen(
                [sys.executable, "-c", waits], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            os.kill(os.getpid(), number)
            assert not asked
        assert asked == [1]
    process.send_signal(number)
    said, _ = process.communicate("go\n", timeout=60)
    assert (process.returncode, said) == (0, "42\n")
