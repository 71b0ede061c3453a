"""Rounds of real sweeps under faults drawn by chance: `python -m tests.faults.campaign --rounds 100 --seed 1`.

Each round runs a small sweep on real digits, does one thing to it at a moment drawn, goes on with it until it is done, and
compares: where nothing is decided by what was measured, every bit with an undisturbed sweep; elsewhere every decision with
the one that the journal before it gives. What has to come of each fault stands in a table (`--list`). A row per round goes to
`campaign.csv`; the exit code is 1 where any round was not as expected.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from sweeps import record
from tests.faults import checks, lives
from tests.faults.kinds import KINDS, Kind
from tests.faults.rounds import CannotBeDone, Refused, Round, Undisturbed


@dataclass(frozen=True)
class Row:
    """What a round came to."""

    round: int
    seed: int
    kind: str
    sweep: str
    did: str
    lives: int
    came_out: str  # as expected, skipped, or NOT as expected
    why: str


class Campaign:
    """Rounds in a folder; undisturbed sweeps are run once for each flavour."""

    def __init__(self, home: Path, *, keep: bool = False) -> None:
        """Args: keep: leave the folders of rounds that came out well."""
        self.home = home
        self.keep = keep
        self._calm: dict[str, Undisturbed] = {}

    def calm(self, flavour: str) -> Undisturbed:
        """A flavour where nothing happens."""
        if flavour not in self._calm:
            home = self.home / f"undisturbed-{flavour}"
            home.mkdir(parents=True)
            folder, log = home / "sweep", home / "drivers.log"
            with lives.life(lives.space(home, flavour), folder, log) as life:
                if (code := life.end()) != 0:
                    raise SystemExit(f"the undisturbed sweep ended with {code}; see {log}")
            size, trials = lives.journal_size(folder), len(record.read(folder).trials)
            if wrong := checks.whole(folder, trials) + (
                checks.replayed(folder) if flavour not in lives.IDENTITY else []
            ):
                raise SystemExit(f"the undisturbed sweep: {'; '.join(wrong)}")
            self._calm[flavour] = Undisturbed(checks.found(folder), size, trials)
        return self._calm[flavour]

    def round(self, number: int, seed: int, kind: Kind) -> Row:
        """Does one: all that is drawn follows from its number and seed."""
        chance = random.Random(f"{seed}/{number}/{kind.name}")
        flavour = chance.choice(kind.flavours)
        here = Round(self.home / f"{number:04d}", flavour, kind.backend, chance, self.calm(flavour))
        why = ""
        try:
            kind.do(here)
            wrong = [] if here.judged else here.verdict()
            came_out, why = ("NOT as expected", "; ".join(wrong)) if wrong else ("as expected", "")
        except CannotBeDone as error:
            came_out, why = "skipped", str(error)
        except (Refused, TimeoutError) as error:
            came_out, why = "NOT as expected", str(error)
        except Exception:
            came_out, why = "NOT as expected", traceback.format_exc()
        if came_out != "NOT as expected" and not self.keep:
            shutil.rmtree(here.home)
        did = ", ".join(here.did)
        return Row(number, seed, kind.name, flavour, did, len(here.codes), came_out, why)


def drawn(rounds: int, seed: int, only: Sequence[str] = (), ray: bool = False) -> list[Kind]:
    """Kinds in an order drawn, each as often as any other."""
    if only:
        known = [kind for kind in KINDS if kind.name in only]
    else:
        known = [kind for kind in KINDS if (kind.backend == "ray") == ray]
    if missing := set(only) - {kind.name for kind in known}:
        raise SystemExit(f"no such kind: {', '.join(sorted(missing))}; see --list")
    chance, found = random.Random(seed), list[Kind]()
    while len(found) < rounds:
        found += chance.sample(known, len(known))
    return found[:rounds]


def _listed() -> Iterator[str]:
    wide = max(len(kind.name) for kind in KINDS)
    for kind in KINDS:
        yield f"{kind.name:{wide}}  {kind.happens}\n{'':{wide}}  -> {kind.expected}\n{'':{wide}}  {', '.join(kind.flavours)}"


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=len(KINDS), help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: %(default)s)")
    parser.add_argument(
        "--only", action="append", default=[], metavar="KIND", help="this kind of fault; again for more"
    )
    parser.add_argument("--ray", action="store_true", help="on a local Ray cluster, in place of one process")
    parser.add_argument("--first", type=int, default=0, help="the number of the first round")
    parser.add_argument("--out", type=Path, default=Path("campaign.csv"), help="the table, which rows are added to")
    parser.add_argument(
        "--home", type=Path, help="where rounds lie; those that came out ill stay (default: a new folder)"
    )
    parser.add_argument("--list", action="store_true", help="print what is done, and what has to come of it")
    asked = parser.parse_args(words)
    if asked.list:
        print("\n".join(_listed()))
        return 0
    if asked.ray:  # by Ray's default workers are of niceness 15, and stand still beside whatever else this machine does
        os.environ.setdefault("RAY_worker_niceness", "0")
    home = asked.home or Path(tempfile.mkdtemp(prefix="campaign-"))
    campaign, ill = Campaign(home), 0
    new = not asked.out.exists()
    with asked.out.open("a", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(field.name for field in fields(Row))
        kinds = drawn(asked.first + asked.rounds, asked.seed, asked.only, asked.ray)
        for number, kind in enumerate(kinds[asked.first :], asked.first):
            begun = time.monotonic()
            row = campaign.round(number, asked.seed, kind)
            table.writerow(astuple(row))
            file.flush()
            ill += row.came_out == "NOT as expected"
            took = time.monotonic() - begun
            print(
                f"{number:4d}  {row.came_out:15}  {took:4.0f} s  {row.kind}, {row.sweep}: {row.did}  {row.why}",
                flush=True,
            )
    print(f"{len(kinds) - asked.first} rounds, {ill} not as expected" + (f"; see {home}" if ill else ""))
    if not ill and asked.home is None:
        shutil.rmtree(home, ignore_errors=True)
    return int(bool(ill))


if __name__ == "__main__":
    sys.exit(main())
