"""The file behind the record: an Optuna study in a journal, opened, repaired, read.

Optuna lets nobody change a finished trial, so what is learnt of a trial later (its judgement) is an attribute of the study:
`judged/<number>/<split>`, `unjudged/<number>/<split>`, `skipped/<number>`, `reached/<number>`, and one `members/<k>` for each
time the test set was opened. So is the rest of a trial that was stopped and taken up again: see `taking_back.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._file import get_lock_file
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from robustray.errors import UserError
from robustray.plain import plain
from sweeps.record import last_lines, mending, taking_back
from sweeps.record.constraints import Limit
from sweeps.record.facts import Issued, Judged, Members, Reached, Rung, Sent, Skipped, Snapshot, TrialRecord
from sweeps.record.known import held_to
from sweeps.record.lines import Lines

STUDY = "sweep"
JOURNAL = "study.journal"
ISSUED = "issued"  # a trial's options; its presence says that the trial was handed out
ORIGIN = "origin"  # what else `Issued` says, where it is not the usual
OUTCOME = "outcome"
RUNG = "rung/"  # and the index: what was measured there
SENT = "sent"
CONSTRAINTS = "constraints"
REPLICATE_OF = "replicate_of"  # how folders of before say it
DIRECTIONS = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}

optuna.logging.set_verbosity(optuna.logging.ERROR)


class _Lock(JournalFileOpenLock):
    """Optuna's lock, which says what the storage said where it cannot be let go: a disk that takes no more is no bug."""

    def release(self) -> None:
        try:
            super().release()
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


class _File(JournalFileBackend):
    """Optuna's file, whose writes are taken back where they fail: half a line would make the next one unreadable."""

    def __init__(self, journal: Path) -> None:
        # an ordinary file for a lock, not a symbolic link: some file systems have none; whoever waits for one sees the other
        super().__init__(str(journal), _Lock(str(journal)))
        self._lines = Lines(journal, guarded=True)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock):
            self._lines.append(text, sync=True)


def storage(journal: Path) -> JournalStorage:
    """Optuna's storage over a journal."""
    return JournalStorage(_File(journal.absolute()))


def opened(journal: Path, objectives: Mapping[str, str]) -> optuna.Study:
    """The study in a journal, made where it is not there, for the one driver: whatever lock is left was of a dead one."""
    for stale in journal.parent.glob(f"{JOURNAL}.lock*"):
        stale.unlink()
    if journal.exists():
        mending.repair(journal)
    directions = [DIRECTIONS[mode] for mode in objectives.values()]
    kept, sampler = storage(journal), RandomSampler()  # nothing is asked of it: search/study.py has what samplers see
    try:
        return optuna.load_study(study_name=STUDY, storage=kept, sampler=sampler)
    except KeyError:  # not there yet; create_study(load_if_exists=True) would write a line at every opening
        return optuna.create_study(study_name=STUDY, storage=kept, sampler=sampler, directions=directions)


def read(folder: Path) -> Snapshot:
    """The record of a sweep, finished or running. Takes no lock and writes nothing.

    Raises:
        UserError: there is no readable record in the folder.
    """
    journal = folder.absolute() / JOURNAL
    if not journal.exists():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    try:
        study = optuna.load_study(study_name=STUDY, storage=storage(journal))
    except Exception as error:  # whatever Optuna stumbles over
        if isinstance(error, OSError):
            raise UserError(f"{journal}: not a readable record ({error.strerror})") from None
        found = mending.damage_of(journal)
        if found is None and isinstance(error, KeyError):
            raise UserError(f"{journal}: holds no sweep; is it the journal of another Optuna study?") from None
        raise UserError(f"{journal}: not a readable record ({found or error})") from None
    return snapshot(study)


def snapshot(study: optuna.Study) -> Snapshot:
    """Everything in a study, typed.

    Raises:
        UserError: it holds what no sweep has written.
    """
    try:
        return _snapshot(study)
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
    ) as error:  # valid lines of Optuna's, with other things in them
        raise UserError(
            f"{JOURNAL}: not a readable record (an entry that no sweep has written: {plain(str(error))})"
        ) from None


def _snapshot(study: optuna.Study) -> Snapshot:
    attributes = study.user_attrs
    judged: dict[tuple[int, str], Judged] = {}
    unjudged: dict[tuple[int, str], str] = {}
    skipped: dict[int, Skipped] = {}
    reached: dict[int, Reached] = {}
    members: list[Members] = []
    settings: dict[str, Any] = {}
    for key, value in attributes.items():
        kind, _, rest = key.partition("/")
        if value is None:
            continue  # withdrawn
        if kind == "judged":
            judged[_key(rest)] = Judged(**{**value, "flags": tuple(value.get("flags", ()))})
        elif kind == "unjudged":
            unjudged[_key(rest)] = plain(str(value))
        elif kind == "skipped":
            skipped[int(rest)] = Skipped(**value)
        elif kind == "reached":
            reached[int(rest)] = Reached(**{**value, "flags": tuple(value["flags"])})
        elif kind == "members":
            members.append(Members(**value))
        elif kind == "settings":
            settings[rest] = value
    limits = {name: Limit(**ends) for name, ends in attributes.get(CONSTRAINTS, {}).items()}
    lives = taking_back.lives(attributes)
    trials = [typed(trial, lives.get(trial.number)) for trial in study.get_trials(deepcopy=False)]
    return Snapshot(
        objectives=attributes.get("objectives", {}),
        trials=[
            held_to(trial, limits, judged.get((n, "validation")), skipped.get(n), reached.get(n))
            for n, trial in enumerate(trials)
        ],
        judged=judged,
        skipped=skipped,
        unjudged=unjudged,
        members=sorted(members, key=lambda event: event.event),
        settings=settings,
        reached=reached,
        constraints=limits,
    )


def _key(text: str) -> tuple[int, str]:
    number, _, split = text.partition("/")
    return int(number), split


def issued(trial: FrozenTrial) -> Issued:
    """What a trial was issued as."""
    told = Issued(dict(trial.user_attrs.get(ISSUED, trial.params)))
    if (first := trial.user_attrs.get(REPLICATE_OF)) is not None:
        return replace(told, origin="replicate", parents=(first,))
    more = dict(trial.user_attrs.get(ORIGIN, {}))
    return replace(told, **{**more, "parents": tuple(more.get("parents", ()))})


def typed(trial: FrozenTrial, again: taking_back.Again | None = None) -> TrialRecord:
    """A trial of the study as the record knows it. Args: again: what was written of it after its end was taken back."""
    attributes = trial.user_attrs if again is None else again.over(trial.user_attrs)
    told, origin = attributes.get(OUTCOME, {}), issued(trial)
    finished = trial.datetime_complete if again is None else again.finished(told)
    return TrialRecord(
        number=trial.number,
        params=origin.params,
        outcome=told.get("outcome"),
        metrics=told.get("metrics", {}),
        cause=None if (cause := told.get("cause")) is None else plain(cause),  # written as it came in folders of before
        epoch=told.get("epoch", 0),
        feasible=told.get("feasible", True),
        weights=told.get("weights"),
        exact=told.get("exact", True),
        replicate_of=origin.replicate_of,
        started=trial.datetime_start,
        finished=finished,
        origin=origin.origin,
        parents=origin.parents,
        request=origin.request,
        seed=origin.seed,
        violations=dict(trial.constraints) if again is None else dict(told.get("violations") or {}),
        rungs=_rungs(attributes),
        sent=None if (sent := attributes.get(SENT)) is None else Sent(**sent),
        order=told.get("order"),
        stops=() if again is None else again.stops,
        last=last_lines.kept(told.get("last", ())[-last_lines.LINES :]),
    )


def written(of: Rung | Sent) -> dict[str, Any]:
    """As a line of the journal has it: what is said of looks only where it is one."""
    return {name: value for name, value in asdict(of).items() if name != "look" or value is not None}


def _rungs(attributes: Mapping[str, Any]) -> tuple[Rung, ...]:
    """Those that were written down on the way, and the end of a training that came to it."""
    found = [Rung(**told) for key, told in attributes.items() if key.startswith(RUNG)]
    return tuple(sorted(found, key=lambda rung: rung.index)) + ending(attributes.get(OUTCOME, {}))


def ending(told: Mapping[str, Any]) -> tuple[Rung, ...]:
    """The end of a training as its last rung, where it is one: that much is in the outcome's own line."""
    if told.get("last_rung") is None:
        return ()
    metrics = told["metrics"]
    return (Rung(told["last_rung"], told["epoch"], told["order"], metrics, metrics.get("cost_seconds", 0.0)),)
