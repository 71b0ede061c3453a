"""What a process does with memory that it has freed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = """
import resource, torch
from robustray.memory import keep_large_blocks
{keep}
for number in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**24) for _ in range(4)]  # 64 MiB each
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: str) -> int:
    """Page faults of the eighth round of filling 256 MiB, in a process of its own."""
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="malloc is another one")
def test_large_blocks_are_used_again() -> None:
    pages = 2**28 // resource.getpagesize()
    if faults("") < pages / 2:
        pytest.skip("this malloc, or huge pages, leave nothing to gain")
    assert faults("keep_large_blocks()") < pages / 8
