"""Stores that fail when they are told to, folders with the files of a sweep, and a record in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from robustray.files import write_whole
from sweeps.record import Issued, Record
from sweeps.storage.store import Store, Trouble

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}


class Cut(Store):
    """A store that takes so many changes and no more: as it looks when its writer was killed then."""

    def __init__(self, url: str, left: int) -> None:
        super().__init__(url)
        self.left = left

    def _whole(self, name: str, write: Any) -> None:
        self._spend()
        super()._whole(name, write)

    def delete(self, name: str) -> None:
        self._spend()
        super().delete(name)

    def _spend(self) -> None:
        if self.left == 0:
            raise Trouble("cut off")
        self.left -= 1


def epoch(folder: Path, number: int, at: int) -> None:
    """What an epoch of a trial leaves, written as training writes it: `last.pt` names the best checkpoint by its hash."""
    home = folder / "trials" / f"{number:04d}"
    home.mkdir(parents=True, exist_ok=True)
    best = f"best {number} {at} {'x' * 30}"
    write_whole(home / f"best-{at:04d}.pt", best)
    write_whole(home / "metrics.csv", "epoch\n" + "".join(f"{each}\n" for each in range(1, at + 1)))
    if (home / "last.pt").exists():
        (home / "last.pt").replace(home / "previous.pt")
    named = {"epoch": at, "best": f"best-{at:04d}.pt", "hash": hashlib.sha256(best.encode()).hexdigest()}
    write_whole(home / "last.pt", json.dumps(named))
    for old in home.glob("best-*.pt"):
        if int(old.stem.split("-")[1]) < at - 1:
            old.unlink()
    with (home / "log.txt").open("a") as file:
        file.write(f"epoch {at}\n")


def fit(home: Path) -> int:
    """The epoch that a trial's folder can go on from, 0 for none. Fails where a checkpoint names what is not there."""
    last = next((path for name in ("last.pt", "previous.pt") if (path := home / name).exists()), None)
    if last is None:
        return 0
    named = json.loads(last.read_text())
    assert hashlib.sha256((home / named["best"]).read_bytes()).hexdigest() == named["hash"]
    return int(named["epoch"])


def begin(record: Record) -> int:
    """Issues a trial."""
    return record.issue(Issued({"beta": float(len(record.trials()))}))


def end(record: Record, number: int, at: int) -> None:
    """Ends a trial after so many epochs."""
    record.finish(number, "complete", metrics=MEASURED, epoch=at)
