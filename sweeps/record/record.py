"""The sweep's one record: an Optuna study in a journal file, and its typed view.

Only the driver writes it. `read` opens it from anywhere, also while the sweep runs, and needs no lock. Numbers of trials
are Optuna's and name everything else: folder 0007 is trial 7.

Optuna lets nobody change a finished trial, so what is learnt of a trial later (its judgement) is an attribute of the study:
`judged/<number>/<split>`, `unjudged/<number>/<split>`, `skipped/<number>`, and one `members/<k>` for each time the test set
was opened.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from robustray.errors import UserError
from sweeps.record.lock import FolderLock

Outcome = Literal["complete", "stopped", "diverged", "out_of_memory", "failed"]
STUDY = "sweep"
JOURNAL = "study.journal"
REPLICATE_OF = "replicate_of"  # a trial's attribute
DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
_ISSUED = "issued"  # the last write of an ask: without it the trial was never handed out
_OUTCOME = "outcome"
_TOLD = {
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
}  # all else is PRUNED: the sampler learns to stay away

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the record knows it."""

    number: int
    params: dict[str, Any]
    outcome: Outcome | None  # None: not finished
    metrics: dict[str, float] = field(default_factory=dict)  # of the checkpoint that counts
    cause: str | None = None  # why it diverged, failed or was stopped
    epoch: int = 0
    feasible: bool = True
    weights: str | None = None  # sha256 of the weights that count
    exact: bool = True  # every resume continued bit for bit
    replicate_of: int | None = None  # the trial whose options it has, with another seed
    started: datetime | None = None
    finished: datetime | None = None


@dataclass(frozen=True)
class Judged:
    """A finished judgement of one trial on one split."""

    images: int
    clean_correct: float  # images classified correctly; a mean over forward passes where the model is randomised
    robust: float
    version: str
    autoattack: bool
    folder: str  # relative to the sweep's folder
    seconds: float  # device time spent on it
    flags: tuple[str, ...] = ()  # why its numbers cannot be trusted: see robustray.judging.flags.MEANING

    @property
    def clean_accuracy(self) -> float:
        """Fraction of images classified correctly."""
        return self.clean_correct / self.images

    @property
    def robust_accuracy(self) -> float:
        """Fraction of images no attack broke."""
        return self.robust / self.images


@dataclass(frozen=True)
class Skipped:
    """Why a trial was not judged in full: whatever the remaining attacks do, this finished trial is better."""

    dominator: int
    after: str  # the last attack that was run on all its images; "" for none
    bound: int  # images not broken so far: no attack can make it more
    clean_correct: int  # classified correctly as they are; a bound where `after` is ""
    images: int


@dataclass(frozen=True)
class Members:
    """The frontier's members, fixed in the record before the test set was opened for the new ones among them."""

    event: int
    trials: list[int]
    opened: list[int]
    at: str


@dataclass(frozen=True)
class Snapshot:
    """Everything in a record at one moment."""

    objectives: dict[str, str]
    trials: list[TrialRecord]
    judged: dict[tuple[int, str], Judged]  # by (number, split)
    skipped: dict[int, Skipped]
    unjudged: dict[tuple[int, str], str]  # judging failed, by (number, split): why; tried again in the next life
    members: list[Members]
    settings: dict[str, Any]  # decided once and kept: shard sizes ...


def read(folder: Path) -> Snapshot:
    """The record of a sweep, finished or running. Takes no lock and writes nothing.

    Raises:
        UserError: there is no readable record in the folder.
    """
    journal = folder.absolute() / JOURNAL
    if not journal.exists():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    try:
        study = optuna.load_study(study_name=STUDY, storage=JournalStorage(JournalFileBackend(str(journal))))
    except KeyError:
        raise UserError(f"{journal}: holds no sweep; is it the journal of another Optuna study?") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{journal}: not a readable record ({getattr(error, 'strerror', None) or error})") from None
    return _snapshot(study)


def _snapshot(study: optuna.Study) -> Snapshot:
    attributes = study.user_attrs
    judged = {}
    for key, value in attributes.items():
        if key.startswith("judged/"):
            _, number, split = key.split("/")
            judged[int(number), split] = Judged(**{**value, "flags": tuple(value.get("flags", ()))})
    unjudged = {}
    for key, value in attributes.items():
        if key.startswith("unjudged/") and value is not None:
            _, number, split = key.split("/")
            unjudged[int(number), split] = str(value)
    members = [Members(**value) for key, value in attributes.items() if key.startswith("members/")]
    return Snapshot(
        objectives=attributes.get("objectives", {}),
        trials=[_typed(trial) for trial in study.get_trials(deepcopy=False)],
        judged=judged,
        skipped={
            int(key.split("/")[1]): Skipped(**value)
            for key, value in attributes.items()
            if key.startswith("skipped/") and value is not None
        },
        unjudged=unjudged,
        members=sorted(members, key=lambda event: event.event),
        settings={key.split("/", 1)[1]: v for key, v in attributes.items() if key.startswith("settings/")},
    )


def _typed(trial: FrozenTrial) -> TrialRecord:
    told = trial.user_attrs.get(_OUTCOME, {})
    return TrialRecord(
        number=trial.number,
        params=dict(trial.user_attrs.get(_ISSUED, trial.params)),
        outcome=told.get("outcome"),
        metrics=told.get("metrics", {}),
        cause=told.get("cause"),
        epoch=told.get("epoch", 0),
        feasible=told.get("feasible", True),
        weights=told.get("weights"),
        exact=told.get("exact", True),
        replicate_of=trial.user_attrs.get(REPLICATE_OF),
        started=trial.datetime_start,
        finished=trial.datetime_complete,
    )


class Record:
    """The record, opened for writing by the one driver. Use as a context manager; closing frees the folder."""

    def __init__(self, folder: Path, objectives: Mapping[str, str], *, held: FolderLock | None = None) -> None:
        """Opens the record, made when it is not there, and mends what a killed driver left.

        The order matters: lock the folder, remove the journal's stale lock (ours by right now), cut a torn last line, cut
        a last ask that was never handed out, open, tell trials that have an outcome but were not told.

        Args:
            held: the folder's lock, where the caller has it already and keeps it.

        Raises:
            UserError: another driver works in this folder.
        """
        self.folder = folder.absolute()  # Optuna's lock file waits for ever on a relative path
        self._lock = None if held else FolderLock(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        journal = self.folder / JOURNAL
        for stale in self.folder.glob(f"{JOURNAL}.lock*"):
            stale.unlink()
        if journal.exists():
            repair(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        directions = [DIRECTIONS[mode] for mode in objectives.values()]
        try:
            self.study = optuna.load_study(study_name=STUDY, storage=storage)
        except KeyError:  # not there yet; create_study(load_if_exists=True) would write a line at every opening
            self.study = optuna.create_study(study_name=STUDY, storage=storage, directions=directions)
        self.objectives = dict(objectives)
        if self.study.user_attrs.get("objectives") != self.objectives:
            self.study.set_user_attr("objectives", self.objectives)
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if _OUTCOME in trial.user_attrs:
                self._tell(trial.number, trial.user_attrs[_OUTCOME])

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another driver in."""
        if self._lock is not None:
            self._lock.close()

    def trial_folder(self, number: int) -> Path:
        """Where a trial's files lie."""
        return self.folder / "trials" / f"{number:04d}"

    def judgements(self, number: int) -> Path:
        """Where a trial's judgements lie."""
        return self.folder / "judgements" / f"{number:04d}"

    def snapshot(self) -> Snapshot:
        """The record as it stands."""
        return _snapshot(self.study)

    def trials(self) -> list[TrialRecord]:
        """All trials, by number."""
        return [_typed(trial) for trial in self.study.get_trials(deepcopy=False)]

    def trial(self, number: int) -> TrialRecord:
        """One trial."""
        return _typed(self.study.get_trials(deepcopy=False)[number])

    def issue(self, trial: optuna.Trial, params: Mapping[str, Any]) -> None:
        """Marks an asked trial as handed out, with its parameters: the last write of an ask."""
        trial.set_user_attr(_ISSUED, dict(params))

    def finish(
        self,
        number: int,
        outcome: Outcome,
        *,
        metrics: Mapping[str, float],
        cause: str | None = None,
        epoch: int = 0,
        weights: str | None = None,
        exact: bool = True,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Ends a trial: the outcome into one attribute first, then Optuna's own state.

        Args:
            metrics: what was measured, by name; a complete trial has every objective, finite.
            violations: by constraint, how far it is missed (zero or less where it holds).
        """
        broken = {name: value for name, value in (violations or {}).items() if value > 0}
        told = {
            "outcome": outcome,
            "metrics": dict(metrics),
            "cause": cause,
            "epoch": epoch,
            "feasible": not broken,
            "weights": weights,
            "exact": exact,
        }
        trial = optuna.Trial(self.study, self._id(number))
        for name, value in (violations or {}).items():
            trial.set_constraint(name, value)
        trial.set_user_attr(_OUTCOME, told)
        self._tell(number, told)

    def _tell(self, number: int, told: Mapping[str, Any]) -> None:
        state = _TOLD.get(told["outcome"], TrialState.PRUNED)
        values = [told["metrics"][name] for name in self.objectives] if state is TrialState.COMPLETE else None
        self.study.tell(number, values=values, state=state)

    def _id(self, number: int) -> int:
        return self.study.get_trials(deepcopy=False)[number]._trial_id

    def judge(self, number: int, split: str, judged: Judged) -> None:
        """Writes a finished judgement."""
        self.study.set_user_attr(f"judged/{number}/{split}", asdict(judged))
        if self.study.user_attrs.get(f"unjudged/{number}/{split}") is not None:
            self.study.set_user_attr(f"unjudged/{number}/{split}", None)

    def skip(self, number: int, skipped: Skipped | None) -> None:
        """Writes why a trial needs no further judging; None withdraws it."""
        self.study.set_user_attr(f"skipped/{number}", None if skipped is None else asdict(skipped))

    def give_up_judging(self, number: int, split: str, cause: str) -> None:
        """Writes why a trial could not be judged in this life of the driver."""
        if self.study.user_attrs.get(f"unjudged/{number}/{split}") != cause:
            self.study.set_user_attr(f"unjudged/{number}/{split}", cause)

    def fix_members(self, trials: Sequence[int], opened: Sequence[int]) -> Members:
        """Fixes the frontier's members. Only after this may test images be read, and only for `opened`."""
        number = len(self.snapshot().members) + 1
        event = Members(number, sorted(trials), sorted(opened), datetime.now(UTC).isoformat(timespec="seconds"))
        self.study.set_user_attr(f"members/{number}", asdict(event))
        return event

    def setting(self, name: str, value: Any) -> Any:
        """A value decided once: what the record has, else `value`, which it has from now on."""
        key = f"settings/{name}"
        if key not in self.study.user_attrs:
            self.study.set_user_attr(key, value)
        return self.study.user_attrs[key]


def repair(journal: Path) -> None:
    """Cuts a torn last line and a last ask that was never handed out off a journal.

    The driver is the only writer, so what is unfinished is always last. A torn line left in place would be glued to the
    next write and make the file unreadable; an unmarked ask would stay in the study for ever as running.

    Raises:
        UserError: a line before the last is damaged, which no kill of a driver does.
    """
    data = journal.read_bytes()
    keep = data.rfind(b"\n") + 1
    lines = data[:keep].splitlines(keepends=True)
    try:
        kinds = [json.loads(line)["op_code"] for line in lines]
    except (ValueError, TypeError, KeyError):
        raise UserError(f"{journal}: damaged in the middle, not only at its end; --fresh begins anew") from None
    asked = max((i for i, kind in enumerate(kinds) if kind == JournalOperation.CREATE_TRIAL), default=None)
    unmarked = {JournalOperation.SET_TRIAL_PARAM, JournalOperation.SET_TRIAL_SYSTEM_ATTR}
    if asked is not None and set(kinds[asked + 1 :]) <= unmarked:
        keep = sum(map(len, lines[:asked]))
    if keep < len(data):
        with journal.open("r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())
