"""How many CPU cores this process may use: what it is pinned to, and what its container may take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def cores() -> int:
    """CPU cores this process may use: those it is pinned to, at most as many as its quota of CPU time pays for.

    A quota of 2.5 cores is two: three threads that wait for each other would all be stopped for a sixth of every period.
    """
    paid = quota()
    return pinned() if paid is None else max(1, min(pinned(), int(paid)))


def pinned() -> int:
    """Cores that the scheduler may put this process on, where the system tells; else all of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """CPU time per time that the control groups around this process allow; None where there is no limit.

    The least over the process's own group and all around it, as far as they can be seen: a limit may stand at any height.
    Version 2 writes it as `cpu.max` (microseconds, and of how many), version 1 as `cpu.cfs_quota_us` and `cpu.cfs_period_us`.

    Args:
        root: the folder in which `proc` and what is mounted lie.
    """
    limits = [limit for group in _groups(root) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def described() -> str:
    """`2 cores`, and what they are less than where a quota is the reason."""
    paid, there = quota(), pinned()
    limit = f" (a quota of {paid:g}, of {there} it may run on)" if paid is not None and paid < there else ""
    return f"{cores()} {'core' if cores() == 1 else 'cores'}{limit}"


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that count CPU time for this process, from its own outwards."""
    try:
        own = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):  # no Linux, or nothing to see
        return
    paths = {}  # by kind of file system; version 2 names no controllers
    for line in own:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers or "cpu" in controllers.split(","):
            paths["cgroup" if controllers else "cgroup2"] = path
    for line in mounts:
        front, _, behind = line.partition(" - ")
        _, _, _, top, place, *_ = [*front.split(), "", "", "", "", ""]
        kind, _, options, *_ = [*behind.split(), "", "", ""]
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split(",")):
            continue
        mounted = root / _unescaped(place).lstrip("/")
        yield from (mounted / part for part in _outwards(paths[kind], _unescaped(top)))


def _outwards(path: str, top: str) -> Iterator[str]:
    """A group and those around it, below the one that is mounted. One of outside of it, which a container without a
    namespace of groups sees the name of, is told by the mounted one alone."""
    try:
        below = PurePosixPath(path).relative_to(top)
    except ValueError:
        below = PurePosixPath()
    if ".." in below.parts:
        below = PurePosixPath()
    yield from map(str, (below, *below.parents))


def _unescaped(text: str) -> str:
    """A path of mountinfo, where blanks are written as octals."""
    return text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")


def _limit(group: Path) -> float | None:
    try:
        if (group / "cpu.max").is_file():
            allowed, period = (group / "cpu.max").read_text().split()
        else:
            allowed, period = ((group / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return int(allowed) / int(period) if allowed != "max" and int(allowed) > 0 and int(period) > 0 else None
    except (OSError, ValueError):  # the outermost group has no limit; a kernel may be built without them
        return None
