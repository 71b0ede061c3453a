"""What is read, what a whole one looks like, and the errors that a reader may answer with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import ValidationError

from analysis import sheet
from robustray.errors import UserError
from robustray.training import checkpoints, metrics_csv
from robustray.training.checkpoints import DamagedCheckpoint
from robustray.trial import TrialConfig
from robustray.verdicts import Shard, read_shard, shard_path, stages, write_shard
from sweeps import record
from sweeps.record import JOURNAL, Issued, Judged, Record, ledger, lives, provenance
from sweeps.record import status as statuses
from sweeps.record.status import Point, Status, Work, now
from sweeps.space import Sweep
from sweeps.view import outside
from tests.fuzz import stored
from tests.sweeps.small import SPACE

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}


@dataclass(frozen=True)
class Reader:
    """A file in a folder, and what reads it.

    Attributes:
        file: relative to the folder. make: fills the folder. read: reads the file there.
        errors: what it may raise. Nothing where it answers damage with a value of its own.
    """

    file: str
    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = (UserError,)


def _space(folder: Path) -> None:
    (folder / "space.yaml").write_text(SPACE)


def _trial(folder: Path) -> None:
    sweep = Sweep.model_validate(yaml.safe_load(SPACE))
    config = next(iter(sweep.examples()))
    (folder / "trial.yaml").write_text(config.to_yaml())


def _sweep(folder: Path) -> None:
    """A folder with a record: trials of every kind, judgements, a description, a ledger, lives, a status."""
    sweep = Sweep.model_validate(yaml.safe_load(SPACE))
    with Record(folder, OBJECTIVES) as kept:
        for number in range(3):
            kept.issue(Issued({"defense": "natural", "schedule.lr": 0.1 + number}))
        metrics = {"clean_accuracy": 0.9, "robust_accuracy": 0.5, "cost_seconds": 5.0, "cost_device_hours": 0.1}
        kept.finish(0, "complete", metrics=metrics, epoch=3, weights="abc")
        kept.finish(1, "diverged", metrics={}, cause="the loss is nan", epoch=1)
        kept.judge(0, "validation", Judged(100, 80, 40, "apgd-ce", False, "judgements/0000/x", 6.0))
        kept.fix_members([0], [0])
    about = {"space": sweep.resolved(), "space_hash": sweep.space_hash, "versions": {"python": "3"}, "resumed": []}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(about))
    (folder / ledger.FILE).write_text(
        "at,kind,trial,outcome,device_seconds,job\n2026,train,0,complete,1.5,trial 0000\n"
    )
    (folder / lives.FILE).write_text("life,at,seconds\nabc,2026,60.0\n")
    point = Point(trials=(0,), values={"clean_accuracy": 0.9}, judged=True, params={"lr": 0.1})
    work = Work(name="trial 0002", kind="train", trial=2, seconds=1.0)
    said = Status(name="small", at=now(), phase="stopped", frontier=(point,), jobs=(work,), outcomes={"complete": 1})
    statuses.write(folder, said)
    metrics_csv.write(folder, [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}])


def _checkpoint(folder: Path) -> None:
    checkpoints.save(folder / "last.pt", {"model": {"w": torch.arange(40.0)}, "epoch": 3, "config": "a: 1"})


def _signed(folder: Path) -> None:
    torch.save({"model": {"w": torch.arange(40.0)}, "epoch": 3}, folder / "unsigned.pt")


def _read_signed(folder: Path) -> Any:
    """Whoever can write a file can write its hash too."""
    content = (folder / "unsigned.pt").read_bytes()
    content = content[:-2] + b"\0\0"
    mark = b"sha256=" + hashlib.sha256(content).hexdigest().encode()
    (folder / "last.pt").write_bytes(content[:-2] + len(mark).to_bytes(2, "little") + mark)
    return checkpoints.load(folder / "last.pt")


def _verdicts(folder: Path) -> None:
    images = np.arange(20, dtype=np.int32)
    zeros = np.zeros(20, np.int16)
    write_shard(folder, Shard("clean", 0, images, zeros, zeros, zeros > 0, np.ones(20, np.float32), {"seconds": 1.0}))
    (folder / "judgement.json").write_text(json.dumps({"attacks": ["apgd-ce"], "extras": []}))


_SHARD = str(shard_path(Path(), "clean", 0))
READERS = {
    "space": Reader("space.yaml", _space, lambda folder: Sweep.from_yaml(folder / "space.yaml")),
    "trial": Reader("trial.yaml", _trial, lambda folder: TrialConfig.from_yaml(folder / "trial.yaml")),
    "recorded trial": Reader(
        "trial.yaml",
        _trial,
        lambda folder: TrialConfig.recorded((folder / "trial.yaml").read_text(errors="replace"), folder),
        (UserError, ValidationError, yaml.YAMLError),
    ),
    "description": Reader("sweep.yaml", _sweep, provenance.sweep_in),
    "sheet": Reader("sweep.yaml", _sweep, sheet.read),
    "journal": Reader(JOURNAL, _sweep, record.read),
    "journal, to go on": Reader(JOURNAL, _sweep, lambda folder: Record(folder, OBJECTIVES).close()),
    "checkpoint": Reader(
        "last.pt", _checkpoint, lambda folder: checkpoints.load(folder / "last.pt"), (DamagedCheckpoint,)
    ),
    "checkpoint, signed": Reader("unsigned.pt", _signed, _read_signed, (DamagedCheckpoint,)),
    "verdicts": Reader(_SHARD, _verdicts, lambda folder: read_shard(folder, "clean", 0), ()),
    "judgement": Reader("judgement.json", _verdicts, stages),
    "status": Reader(statuses.FILE, _sweep, outside.look, ()),
    "ledger": Reader(ledger.FILE, _sweep, ledger.read, ()),
    "lives": Reader(lives.FILE, _sweep, lives.read, ()),
    "metrics": Reader("metrics.csv", _sweep, lambda folder: metrics_csv.column(folder, "loss"), ()),
    "record, a few words of it": Reader(JOURNAL, _sweep, stored.read_record, ()),
    **{name: Reader(file, make, read, errors) for name, file, make, read, errors in stored.READS},
}
