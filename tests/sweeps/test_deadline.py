"""A sweep that stops when its time is over, and the ways to write a length of time."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps.running import deadline
from sweeps.running.deadline import Deadline
from tests.sweeps.small import facts, run_quietly, small_sweep


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("6h", 21600), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), (" 1D12H ", 129600),
        ("59:30", 3570), ("1:30:00", 5400), ("2-12", 216000), ("2-12:30", 217800), ("2-12:00:00", 216000),
    ],
)  # fmt: skip
def test_a_length_of_time(text: str, expected: float) -> None:
    assert deadline.seconds(text) == expected


@given(st.integers(0, 300), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_a_length_of_time_reads_the_same_in_both_ways(d: int, h: int, m: int, s: int) -> None:
    assert deadline.seconds(f"{d}d{h}h{m}m{s}s") == deadline.seconds(f"{d}-{h:02d}:{m:02d}:{s:02d}")
    assert deadline.seconds(f"{h}:{m:02d}:{s:02d}") == deadline.seconds(f"{h}h{m}m{s}s")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "30",
        "h",
        "6 h",
        "1h1h",
        "1m1h",
        "-5m",
        "0s",
        "0.5s",
        "1:60:00",
        "2-",
        "400d",
        "nan",
        "inf",
        "UNLIMITED",
    ],
)
def test_no_length_of_time_is_one_line_that_shows_some(text: str) -> None:
    with pytest.raises(UserError, match=r"^--for '.*': .*(write 6h, 30m|between a second and a year)"):
        deadline.seconds(text)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_clear_error(text: str) -> None:
    found: float | None = None
    with contextlib.suppress(UserError):
        found = deadline.seconds(text)
    assert found is None or 1 <= found <= 366 * 86400


def test_deadlines_stop_a_sweep_again_and_again_and_nothing_is_lost(tmp_path: Path) -> None:
    assert run_quietly(small_sweep(tmp_path, "search.trials=3"), tmp_path / "undisturbed")
    before = signal.signal(signal.SIGTERM, _interrupted)
    stops, finished = 0, False
    try:
        while not finished:
            patience = Deadline(0.25 if stops < 6 else 120.0)
            with contextlib.suppress(KeyboardInterrupt), patience:
                finished = run_quietly(small_sweep(tmp_path, "search.trials=3"), tmp_path / "small")
            assert finished or patience.over
            assert patience.left() == 0 or finished
            stops += not finished
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stops
    assert facts(tmp_path / "small") == facts(tmp_path / "undisturbed")


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def test_a_deadline_that_is_not_reached_is_not_heard() -> None:
    with Deadline(0.3) as patience:
        assert 0 < patience.left() <= 0.3
    time.sleep(0.5)  # SIGTERM would end this process
    assert not patience.over
