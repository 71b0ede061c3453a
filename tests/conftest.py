"""What every test shares. Loads no torch: tests of records and figures stay fast."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch loads: the machine is shared, and one thread is bit-exact

pytest.register_assert_rewrite("robustray.testing")  # contracts are told in full where they are broken, as tests are

_OF_TESTS = f"{os.sep}pytest-of-"  # in the path of every file that a test has written
settings.register_profile("robustray", deadline=None, derandomize=True)  # time is never asserted; a red test stays red
settings.load_profile("robustray")

_ENDS = int(os.environ.get("CI_ENDS", 0))
"""When CI has no more time for a suite of minutes, in seconds since 1970. Elsewhere (0) every test is run, always."""


@pytest.hookimpl(trylast=True)  # after those of other suites have been taken out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each day a suite begins seven tests further on: what a slow machine leaves out today is run first on another day."""
    if items and _ENDS:
        first = 7 * (_ENDS // 86400) % len(items)
        items[:] = items[first:] + items[:first]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if _ENDS and time.time() > _ENDS:
        pytest.skip("CI's hour does not reach so far on this machine; every day begins at another test")


@pytest.fixture(autouse=True, scope="session")
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests run as plugins is not what this machine's user trusts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _modules_of_tests() -> Iterator[None]:
    """Modules that a test imported from files of its own are forgotten: the next one's `net.py` is another."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if _OF_TESTS in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


Golden = dict[str, NDArray[Any]]
"""One golden file: arrays by key, groups joined by `/`."""


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Golden]:
    """Reads a golden file by name; the files lie beside the checkout and are no part of it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "golden"

    def read(name: str) -> Golden:
        path = folder / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"no golden vectors at {path}")
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    return read
