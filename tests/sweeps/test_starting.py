"""A Ray that does not come up in its time is tried again, and leaves nothing at work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sweeps.running.starting import TRIES, started

LATE = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


class Slow:
    """Starts a process of a package, and fails so many times."""

    def __init__(self, package: Path, failures: int, why: str = LATE) -> None:
        self.package, self.failures, self.why = package, failures, why
        self.dashboards: list[bool] = []
        self.begun: list[subprocess.Popen[bytes]] = []
        package.mkdir(exist_ok=True)
        (package / "node.py").write_text("import time\ntime.sleep(600)\n")

    def __call__(self, dashboard: bool) -> int:
        self.dashboards.append(dashboard)
        self.begun.append(subprocess.Popen([sys.executable, str(self.package / "node.py")]))
        if len(self.begun) <= self.failures:
            raise RuntimeError(self.why)
        return self.begun[-1].pid

    def end(self) -> None:
        for process in self.begun:
            process.kill()
            process.wait()


@pytest.mark.parametrize("failures", range(TRIES))
def test_what_is_late_is_tried_again_without_its_dashboard(failures: int, tmp_path: Path) -> None:
    slow, said = Slow(tmp_path / "ray", failures), list[str]()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        found = started(slow, tmp_path / "ray", said.append)
        assert found == slow.begun[-1].pid
        assert slow.dashboards == [True] + [False] * failures
        assert len(said) == failures
        assert psutil.pid_exists(found)
        assert all(process.poll() is not None for process in slow.begun[:-1]), "what was late is at work no more"
        assert other.poll() is None
    finally:
        slow.end()
        other.kill()
        other.wait()


@pytest.mark.parametrize(("why", "tries"), [(LATE, TRIES), ("no such address", 1)])
def test_what_does_not_come_up_is_said_by_its_own_error(why: str, tries: int, tmp_path: Path) -> None:
    slow = Slow(tmp_path / "ray", 100, why)
    try:
        with pytest.raises(RuntimeError, match=why[:15]):
            started(slow, tmp_path / "ray", lambda line: None)
        assert len(slow.begun) == tries
    finally:
        slow.end()
