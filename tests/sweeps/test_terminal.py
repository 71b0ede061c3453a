"""What a whole sweep says: on a terminal, in plain lines, in its log files."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import warnings
from pathlib import Path

import pytest
from rich.cells import cell_len

import sweeps
from sweeps import record
from sweeps.running.tasks.base import Report
from sweeps.running.tasks.train import TrainTask
from sweeps.space import Sweep
from sweeps.view.console import Show
from tests.sweeps.actors import kill_actors
from tests.sweeps.small import SPACE, small_sweep

ROOT = Path(__file__).parents[2]
HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"  # the cursor


def test_events_log_has_every_line_of_every_life(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    said: list[str] = []
    for trials in (1, 2):
        assert sweeps.run(small_sweep(tmp_path, f"search.trials={trials}"), folder, "local", write=said.append)
    assert "all done: 2 complete" in said[-1]
    lines = (folder / "events.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  \S", line) for line in lines)
    told = [line[len("2026-11-20 16:41:00+01:00  ") :] for line in lines]
    assert told == [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in said if "  running: " not in line]
    assert sum(line.startswith("small: ") for line in told) == 2


def test_quiet_says_the_outcome_and_verbose_every_epoch(tmp_path: Path) -> None:
    said: dict[Show, list[str]] = {"quiet": [], "plain": [], "verbose": []}
    for show, lines in said.items():
        sweep = small_sweep(tmp_path, "search.trials=2")
        assert sweeps.run(sweep, tmp_path / show, "local", write=lines.append, show=show)
    assert said["quiet"] == ["all done: 2 complete"]
    epochs = [line for line in said["verbose"] if re.search(r"  trial 000[01] epoch [123]/3: clean \d", line)]
    assert len(epochs) == 2 * 3
    assert any("judge 0000 validation apgd-ce 0 ends after" in line for line in said["verbose"])
    busy = "workers were busy "  # how much is another number each time
    plain, verbose = (
        [line[10:].split(":")[0] for line in said[show] if "  running: " not in line and not line.startswith(busy)]
        for show in ("plain", "verbose")
    )
    assert set(plain) < set(verbose)
    assert all(sum(line.startswith(busy) for line in said[show]) == 1 for show in ("plain", "verbose"))


def test_output_of_this_process_and_its_children_is_kept(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys, pathlib\n"
        "from sweeps.view.terminal import output_kept\n"
        "print('before', flush=True)\n"
        "with output_kept(pathlib.Path('output.log')) as out:\n"
        "    print('from python'); print('an error', file=sys.stderr); os.write(1, b'native\\n')\n"
        "    subprocess.run(['echo', 'child'], check=True)\n"
        "    out.write('shown \\N{BLACK CIRCLE}\\n')\n"
        "print('after')\n"
        "os.write(2, b'after\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == "before\nshown \N{BLACK CIRCLE}\nafter\n"
    assert done.stderr == b"after\n"
    assert sorted((tmp_path / "output.log").read_text().split("\n")) == [
        "",
        "an error",
        "child",
        "from python",
        "native",
    ]


def _on_a_terminal(terminal: str, space: str, folder: str, ending: str) -> None:
    """A driver on a terminal of its own, with a library that prints all the time; for a process of its own."""
    opened = os.open(terminal, os.O_RDWR)
    for number in range(3):
        os.dup2(opened, number)
    step = TrainTask.step

    def noisy(self: TrainTask) -> Report:
        print("noise of python")
        warnings.warn("noise of a warning", stacklevel=1)
        subprocess.run(["echo", "noise of a child"], check=True)
        if ending == "error" and (Path(folder) / "trials" / "0001" / "last.pt").exists():
            raise MemoryError("a bug in the driver's own process")
        return step(self)

    TrainTask.step = noisy  # type: ignore[method-assign]
    try:
        finished = sweeps.run(Sweep.from_yaml(space), Path(folder), "local", show="live")
    except MemoryError as error:
        sys.exit(f"error: {error}")
    sys.exit(0 if finished else 130)


@pytest.mark.parametrize(
    ("ending", "code"), [("done", 0), (signal.SIGINT, 130), (signal.SIGTERM, 130), ("error", 1)], ids=str
)
@pytest.mark.e2e
def test_a_live_view_is_never_written_over_and_leaves_the_terminal_as_it_was(
    tmp_path: Path, ending: str | signal.Signals, code: int
) -> None:
    small_sweep(tmp_path, text=SPACE.replace("epochs: 3", "epochs: 3" if ending == "done" else "epochs: 60"))
    ours, theirs = _terminal()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["robustray.training.trainer", "robustray.attacks.autoattack", "sweeps.driver"])
    folder = tmp_path / "small"
    arguments = (os.ttyname(theirs), str(tmp_path / "small.yaml"), str(folder), str(ending))
    process = context.Process(target=_on_a_terminal, args=arguments)
    process.start()
    try:
        said = b""
        while process.is_alive():
            said += _read(ours)
            if isinstance(ending, signal.Signals) and re.search(rb"epoch \d+/60", said):
                os.kill(int(process.pid or 0), ending)
                ending = "stopping"
        process.join()
        said += _read(ours)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    text = said.decode()
    assert process.exitcode == code, text
    _whole(text)
    assert "noise" not in text
    kept = (folder / "output.log").read_text()
    for kind in ("python", "a warning", "a child"):
        assert f"noise of {kind}" in kept
    if ending == "done":
        assert "all done: 5 complete" in text[text.rindex(SHOW) :]
    if ending == "error":
        assert text.strip().endswith("a bug in the driver's own process")


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_on_ray_a_live_view_survives_the_death_of_workers(tmp_path: Path) -> None:
    """What Ray has to say of it is in output.log."""
    small_sweep(tmp_path)
    ours, theirs = _terminal()
    longer = ("--set", "trial.schedule.epochs=20", "--set", "search.trials=8", "--results", ".")
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    said, killed = b"", 0
    try:
        while process.poll() is None:
            said += _read(ours)
            if not killed and list(tmp_path.glob("small/trials/*/metrics.csv")):
                killed = kill_actors(process.pid)
        said += _read(ours)
    finally:
        process.kill()
        os.close(ours)
        os.close(theirs)
    text = said.decode()
    assert process.returncode == 0, text
    assert killed
    _whole(text)
    for words in ("Traceback", "raylet", "ray::", "pid=", "WARNING", "ERROR"):
        assert words not in text
    kept = (tmp_path / "small" / "output.log").read_text()
    assert "Started a local Ray instance" in kept
    assert "died" in kept
    assert "all done: 8 complete" in text[text.rindex(SHOW) :]


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_on_ray_a_sweep_stops_when_its_time_is_over(tmp_path: Path) -> None:
    small_sweep(tmp_path)
    longer = ("--set", "trial.schedule.epochs=100000", "--results", ".", "--for", "60s")
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", *longer]
    stopped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert stopped.stdout.splitlines()[-1].startswith(
        "The time of --for 60s is over: every step and every whole shard is kept; go on with: python "
    )
    assert not stopped.stderr
    assert {trial.outcome for trial in record.read(tmp_path / "small").trials} <= {None}


def _terminal() -> tuple[int, int]:
    """Both ends of a terminal of 24 lines and 80 columns: ours, and that of a process."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return ours, theirs


def _whole(text: str) -> None:
    """Checks that a view was drawn, was never too wide, and that the terminal is as it was."""
    assert text.count(HIDE) == text.count(SHOW) == 1
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert "frontier so far" in text
    assert "could not be drawn" not in text
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", "\n")).split("\n")
    assert max(map(cell_len, lines)) <= 80


def _read(terminal: int) -> bytes:
    """What has been written to a terminal within a moment."""
    if not select.select([terminal], [], [], 0.1)[0]:
        return b""
    return os.read(terminal, 1 << 16)
