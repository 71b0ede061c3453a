"""A place whose every job works away from the results, without Ray: the courier is called, not asked from afar."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sweeps.running import local
from sweeps.running.courier import Courier
from sweeps.running.far import Far
from sweeps.running.scratch import Scratch
from sweeps.running.tasks.base import Task
from sweeps.running.worker import open_task


def opened(work: Mapping[str, Any], hung: Callable[[float], None], counted: Callable[[], None]) -> Task:
    """What a worker does with a job whose files have come."""
    return open_task(work, hung, shown=True, counted=counted)


def far(work: Mapping[str, Any], courier: Any, scratch: Scratch, name: str = "a job") -> Far:
    """A job away from the results."""
    return Far(name, work, courier.folder, courier, scratch, opened)


@contextmanager
def scratches(within: Path) -> Iterator[Callable[[], Scratch]]:
    """Makes folders of workers, gone afterwards."""
    within.mkdir(exist_ok=True)
    made: list[Scratch] = []

    def make() -> Scratch:
        made.append(Scratch("small", within))
        return made[-1]

    try:
        yield make
    finally:
        for each in made:
            each.close()


@contextmanager
def everything_far(folder: Path, within: Path, workers: int = 2) -> Iterator[list[str]]:
    """Every job of the local backend is done far from the sweep's folder, by workers that take turns; their kinds, in order."""
    courier, kinds = Courier(folder), list[str]()
    with scratches(within) as make, pytest.MonkeyPatch.context() as patch:
        there = [make() for _ in range(workers)]

        def open_far(work: Mapping[str, Any], hung: Callable[[float], None] | None = None) -> Task:
            kinds.append(work["kind"])
            name = " ".join(str(work.get(key, "")) for key in ("kind", "folder", "split", "attack", "shard", "version"))
            return far(work, courier, there[len(kinds) % workers], name)

        patch.setattr(local, "open_task", open_far)
        yield kinds
