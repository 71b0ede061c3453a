"""How many cores there are: what a process is pinned to, and what the control groups around it pay for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustray import processors

Set = Callable[[Path, "float | None"], None]


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def unified(group: Path, limit: float | None) -> None:
    write(group / "cpu.max", f"{'max' if limit is None else round(limit * 100_000)} 100000\n")


def first(group: Path, limit: float | None) -> None:
    write(group / "cpu.cfs_quota_us", f"{-1 if limit is None else round(limit * 50_000)}\n")
    write(group / "cpu.cfs_period_us", "50000\n")


def machine(root: Path, version: int, own: str, top: str = "/") -> tuple[Path, Set]:
    """A tree as Linux shows it to a process of the group `own`, where the group `top` is mounted; and how limits are set."""
    unlimited = "9:name=systemd:/\n3:cpuset:/\n"
    write(
        root / "proc/self/cgroup",
        f"{unlimited}0::{own}\n" if version == 2 else f"{unlimited}2:cpu,cpuacct:{own}\n0::/\n",
    )
    two = f"29 28 0:26 {top} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    one = (
        "28 24 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
        "30 28 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        f"31 28 0:28 {top} /sys/fs/cgroup/cpu,cpu\\040acct rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    write(root / "proc/self/mountinfo", "24 1 8:1 / / rw - ext4 /dev/vda rw\n" + (two if version == 2 else one))
    return (root / "sys/fs/cgroup", unified) if version == 2 else (root / "sys/fs/cgroup/cpu,cpu acct", first)


@pytest.mark.parametrize("version", [1, 2])
@settings(max_examples=25, deadline=None)
@given(
    limits=st.lists(st.one_of(st.none(), st.integers(1, 640).map(lambda tenths: tenths / 10)), min_size=1, max_size=5)
)
def test_the_least_over_all_groups_around_the_process(
    tmp_path_factory: pytest.TempPathFactory, version: int, limits: list[float | None]
) -> None:
    root = tmp_path_factory.mktemp("machine")
    names = [f"group{number}" for number in range(1, len(limits))]
    mounted, limit = machine(root, version, "/" + "/".join(names))
    for depth, allowed in enumerate(limits):
        limit(mounted.joinpath(*names[:depth]), allowed)
    limit(mounted / "another", 0.1)
    limit(mounted.joinpath(*names) / "inside", 0.1)
    assert processors.quota(root) == min((found for found in limits if found is not None), default=None)


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_sees_its_group_as_the_outermost(tmp_path: Path, version: int) -> None:
    """Without a namespace of groups the path is the host's, of which only the part below what is mounted exists."""
    for number, own in enumerate(("/docker/ab12", "/docker/ab12/inner", "/../outside", "/elsewhere")):
        root = tmp_path / str(number)
        mounted, limit = machine(root, version, own, top="/docker/ab12")
        limit(mounted, 1.5)
        limit(mounted / "inner", 3.0)
        limit(mounted / "docker/ab12", 0.5)
        assert processors.quota(root) == 1.5


@pytest.mark.parametrize(
    "content", ["", "max", "max 100000", "0 100000", "-1 100000", "one 100000", "100000 0", "1 2 3"]
)
def test_what_says_no_limit_is_none(tmp_path: Path, content: str) -> None:
    mounted, _ = machine(tmp_path, 2, "/")
    write(mounted / "cpu.max", content)
    assert processors.quota(tmp_path) is None


def test_no_groups(tmp_path: Path) -> None:
    assert processors.quota(tmp_path) is None
    write(tmp_path / "proc/self/cgroup", "garbage\n0::\n::\n")
    write(tmp_path / "proc/self/mountinfo", "garbage\n - cgroup2\n1 2 3:4 / /x rw - cgroup2\n")
    assert processors.quota(tmp_path) is None


@pytest.mark.parametrize(
    ("paid", "wanted", "told"),
    [
        (None, 4, "4 cores"),
        (2.5, 2, "2 cores (a quota of 2.5, of 4 it may run on)"),
        (0.2, 1, "1 core (a quota of 0.2, of 4 it may run on)"),
        (8.0, 4, "4 cores"),
    ],
)
def test_no_more_threads_than_are_paid_for(
    monkeypatch: pytest.MonkeyPatch, paid: float | None, wanted: int, told: str
) -> None:
    monkeypatch.setattr(processors, "quota", lambda: paid)
    monkeypatch.setattr(processors, "pinned", lambda: 4)
    assert processors.cores() == wanted
    assert processors.described() == told


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_process_pinned_to_one_core_has_one() -> None:
    one = min(os.sched_getaffinity(0))
    script = f"import os; os.sched_setaffinity(0, {{{one}}}); from robustray.processors import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "1\n"


def test_nothing_else_counts_cores() -> None:
    """The number of cores in the machine is told by `doctor` alone, beside those that may be used."""
    home = Path(processors.__file__).parents[1]
    counting = re.compile(
        r"\b(?:cpu_count|process_cpu_count|sched_getaffinity|cpu_affinity|(?:Thread|Process)PoolExecutor\(\))"
    )
    found = {
        str(path.relative_to(home))
        for room in ("robustray", "sweeps", "analysis", "benchmarks")
        for path in (home / room).rglob("*.py")
        if counting.search(path.read_text())
    }
    assert found == {"robustray/processors.py", "robustray/commands/doctor.py"}
