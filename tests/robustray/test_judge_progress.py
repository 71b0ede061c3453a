"""What a running judgement shows: bars with the time left, lines that stay whole, a clean end."""

from __future__ import annotations

import io
import os
import pty
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from robustray.commands.judge_progress import Bars, Log, _left, bars
from robustray.judge import Judge
from robustray.judging.plan import Plan
from robustray.verdicts import CLEAN, Shard
from tests.robustray.made import JUDGE

SPEED = 0.25  # seconds per unit of work


class Shown:
    """Bars drawn nowhere, by a clock of their own."""

    def __init__(self, images: int, shard_size: int, workers: int = 1) -> None:
        judge = Judge.model_validate(JUDGE | {"images": {"validation": images}})
        self.plan = Plan.of(judge, "w", "validation", shard_size=shard_size)
        self.progress = Progress(console=Console(file=io.StringIO()), disable=True)
        self.now = 0.0
        self.bars = Bars(self.progress, self.plan, workers, clock=lambda: self.now)
        self.cost = self.bars.pace.stages

    def finish(self, stage: str, number: int, images: int, broken: int = 0) -> None:
        rows = np.arange(images, dtype=np.int32)
        fallen, label = rows < broken, np.zeros(images, np.int16)
        info: dict[str, Any] = {"seconds": images * self.cost[stage] * SPEED}
        self.bars.finished(Shard(stage, number, rows, label, label, fallen, 1 - fallen.astype(np.float32), info))

    def said(self) -> tuple[str, float, str, float, str]:
        one, every = self.progress.tasks
        return one.description.rstrip(), one.completed, one.fields["left"], every.completed, every.fields["left"]


def seconds(text: str) -> int:
    clock = text.removeprefix("about ").removesuffix(" left").split(":")
    return sum(int(part) * 60**power for power, part in enumerate(reversed(clock)))


def test_bars_show_the_earliest_unfinished_attack_and_the_time_of_both() -> None:
    shown = Shown(images=60, shard_size=20)
    for number in range(3):
        shown.finish(CLEAN, number, 20, broken=2)
    shown.finish("apgd-ce", 0, 18, broken=4)
    shown.bars.tick("apgd-ce", 1, 0.25)
    shown.now = 18 * shown.cost["apgd-ce"] * SPEED * 0.25
    shown.bars.tick("apgd-ce", 1, 0.5)
    shown.now *= 2
    shown.bars.tick("apgd-t", 0, 0.1)  # another process is ahead
    name, part, left, total, all_left = shown.said()
    assert name == "apgd-ce"
    assert part == pytest.approx((1 + 0.5) / 3)
    assert 0 < total < 1
    assert 0 < seconds(left) < seconds(all_left)

    shown.finish("apgd-ce", 1, 18)
    shown.finish("apgd-ce", 2, 18)
    name, part, *_ = shown.said()
    assert name == "apgd-t"
    assert part == pytest.approx(0.1 / 3)


def test_time_left_in_bars_is_exact_in_a_regular_world() -> None:
    shown = Shown(images=40, shard_size=20)
    for number in range(2):
        shown.finish(CLEAN, number, 20)
    shown.finish("apgd-ce", 0, 20)
    shown.bars.tick("apgd-ce", 1, 0.0)
    shown.now = 0.5 * 20 * shown.cost["apgd-ce"] * SPEED
    shown.bars.tick("apgd-ce", 1, 0.5)
    _, _, left, _, all_left = shown.said()
    assert seconds(left) == round(0.5 * 20 * shown.cost["apgd-ce"] * SPEED)
    later = sum(shown.cost[stage] for stage in ("apgd-t", "fab-t", "square"))
    assert seconds(all_left) == round((0.5 * 20 * shown.cost["apgd-ce"] + 40 * later) * SPEED)


def test_news_that_come_after_the_verdicts_are_no_news() -> None:
    """A process sends both by different ways: its last tick may be read after its result."""
    shown = Shown(images=40, shard_size=20, workers=2)
    for stage in shown.plan.stages:
        for number in range(2):
            shown.bars.tick(stage, number, 0.9)
            shown.finish(stage, number, 20)
            shown.bars.tick(stage, number, 1.0)
            shown.now += 1e6
    assert shown.bars.running == {}
    assert shown.said() == ("square", 1.0, "about 0:00 left", 1.0, "about 0:00 left")


@pytest.mark.parametrize(
    ("given", "text"),
    [(None, ""), (0, "about 0:00 left"), (59.6, "about 1:00 left"), (3599, "about 59:59 left"),
     (3600, "about 1:00:00 left"), (90061, "about 25:01:01 left")],
)  # fmt: skip
def test_seconds_in_words(given: float | None, text: str) -> None:
    assert _left(given) == text


# Terminals.


class Terminal:
    """A pseudo terminal, and everything that was written to it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.file = os.fdopen(slave, "w")
        self.seen = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # how Linux says that nobody writes any more
                return
            if not part:
                return
            self.seen += part

    def close(self) -> str:
        self.file.close()
        self.reader.join()
        os.close(self.master)
        return self.seen.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    for name, value in (("TERM", "xterm"), ("COLUMNS", "50"), ("LINES", "20")):
        monkeypatch.setenv(name, value)
    made = Terminal()
    yield made
    if not made.file.closed:
        made.close()


def run(write: Callable[[str], None]) -> list[str]:
    """A judgement in which every stage breaks two images of those left; the lines it should have written."""
    plan, expected = Shown(images=20, shard_size=20).plan, list[str]()
    logs = log, quiet = Log(plan, write), Log(plan, expected.append)
    for each in logs:
        each.opening("digits")
    with bars(plan, 1, log) as shown:
        for position, stage in enumerate(plan.stages):
            for percent in range(0, 101, 5):
                shown.tick(stage, 0, percent / 100)
            rows = np.arange(20 - 2 * position, dtype=np.int32)
            fallen, label = rows < 2, np.zeros(len(rows), np.int16)
            shard = Shard(stage, 0, rows, label, label, fallen, 1 - fallen.astype(np.float32), {"seconds": 20.0})
            for each in logs:
                each.finished(shard)
            shown.finished(shard)
    for each in (log, quiet):
        each.write("clean accuracy: 90.00% [72.0, 97.0]")
    return expected


def test_lines_stay_whole_above_the_bars(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once, in order, longer than the terminal is wide, no bracket taken for markup; then the bars are gone."""
    monkeypatch.setattr(sys, "stdout", terminal.file)
    monkeypatch.setattr(sys, "stderr", terminal.file)
    lines = run(lambda line: print(line, file=terminal.file, flush=True))
    seen = terminal.close()
    assert len(lines) == 1 + 1 + 2 * 4 + 1
    assert max(map(len, lines)) > 50
    at = -1
    for line in lines:
        assert seen.count(line + "\r\n") == 1, line
        at = seen.index(line, at + 1)
    assert "━" in seen
    assert "about" in seen
    assert seen.count("\x1b[?25l") == seen.count("\x1b[?25h") == 1
    after = seen[seen.index("\x1b[?25h") :]
    assert "━" not in after
    assert after.count("\x1b[2K") == 2, "both bars are erased"


def test_a_log_in_a_file_is_whole_while_bars_are_on_the_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`judge ... > log.txt`: no line of it is lost to the terminal."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", terminal.file)
    lines = run(print)
    seen = terminal.close()
    assert file.getvalue().splitlines() == lines
    assert "━" in seen
    assert "accuracy" not in seen


def test_without_a_terminal_there_are_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    out, error = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    lines = run(print)
    assert out.getvalue().splitlines() == lines
    assert error.getvalue() == ""
