"""`python -m tests.fuzz --count 10000 --seed 1 [--only journal] [--table FILE]`: every reader, so many damaged files each."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from robustray.files import as_csv
from tests.fuzz.readers import READERS
from tests.fuzz.run import Found, fuzz


def main() -> None:
    """Exit code 1 where a reader has answered in a way that it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=sorted(READERS), action="append")
    parser.add_argument("--table", type=Path, help="a CSV to which a row for each reader is added")
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
        if options.table is not None:
            _add(options.table, name, options.count, options.seed, found)
    sys.exit(1 if faults else 0)


def _add(table: Path, name: str, count: int, seed: int, found: Found) -> None:
    """What came of one reader: inputs that were read as valid, errors in words by their type, and what must not be."""
    errors = "; ".join(f"{kind} {number}" for kind, number in found.answers.most_common() if kind != "valid")
    row = {"reader": name, "inputs": count, "seed": seed, "valid": found.answers["valid"], "errors": errors}
    text = as_csv([{**row, "faults": len(found.faults)}])
    with table.open("a", encoding="utf-8") as file:
        file.write(text if file.tell() == 0 else text.partition("\n")[2])


if __name__ == "__main__":
    main()
