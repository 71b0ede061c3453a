"""`python -m tests.fuzz --count 10000 --seed 1 [--only journal]`: every reader, so many damaged files each."""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.readers import READERS
from tests.fuzz.run import fuzz


def main() -> None:
    """Exit code 1 where a reader has answered in a way that it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(READERS), action="append")
    options = parser.parse_args()
    faults = 0
    for name in options.only or READERS:
        begun = time.monotonic()
        found = fuzz(name, options.count, options.seed)
        said = ", ".join(f"{count} {answer}" for answer, count in found.answers.most_common())
        print(f"{name}: {said}; {len(found.faults)} faults, {time.monotonic() - begun:.0f} s", flush=True)
        for fault in found.faults[:5]:
            print(f"  {fault}", flush=True)
        faults += len(found.faults)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
