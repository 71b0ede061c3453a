"""How many files may be open: raised where that is allowed, told where it is too few for Ray."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from robustray import open_files

LIMITED = """
import resource, sys
from robustray import open_files
soft, hard, cores = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(*open_files.told(cores))
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize("cores", [1, 2, 64])
@pytest.mark.parametrize("missing", [0, 1])
@pytest.mark.parametrize("soft", [32, 90])
def test_the_limit_is_raised_and_too_low_a_one_is_told(cores: int, missing: int, soft: int) -> None:
    """In a process of its own: a hard limit that was lowered stays so."""
    hard = open_files.wanted(cores) - missing
    command = [sys.executable, "-c", LIMITED, str(soft), str(hard), str(cores)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    told, after = said.splitlines()
    assert int(after) == hard, "raised, whatever comes of it"
    assert told.startswith("wrong " if missing else "ok ")
    if missing:
        assert f"only {hard} files may be open (ulimit -Hn)" in told
        assert "--backend local" in told


def test_more_cores_want_more() -> None:
    assert [open_files.wanted(cores) for cores in (1, 2, 300)] == sorted(open_files.wanted(n) for n in (1, 2, 300))
    assert 64 < open_files.wanted(2) < 128, "where Ray was seen to die, and where it ran"
