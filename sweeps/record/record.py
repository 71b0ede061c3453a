"""The sweep's one record, opened for writing by the one driver, and kept in memory as well.

The journal is what lasts; since nobody else writes it, what it says is known without reading it again. Numbers of trials are
Optuna's and name everything else: folder 0007 is trial 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState, create_trial

from sweeps.record import journal, taking_back
from sweeps.record.constraints import Limits, missed
from sweeps.record.facts import Issued, Judged, Members, Outcome, Reached, Rung, Sent, Skipped, Snapshot, TrialRecord
from sweeps.record.known import held_to
from sweeps.record.lock import FolderLock

_TOLD = {
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAIL,
}  # all else is PRUNED, as Optuna's own tools show it


class Record:
    """The record. Use as a context manager; closing frees the folder."""

    def __init__(
        self,
        folder: Path,
        objectives: Mapping[str, str],
        *,
        constraints: Limits | None = None,
        held: FolderLock | None = None,
    ) -> None:
        """Opens the record, made when it is not there, and mends what a killed driver left.

        The order matters: lock the folder, remove the journal's stale lock (ours by right now), cut a torn last line, cut
        a last ask that was never handed out, open, tell trials that have an outcome but were not told, and asks elsewhere
        that were never handed out.

        Args:
            constraints: what trials are held to; None: what the record says.
            held: the folder's lock, where the caller has it already and keeps it.

        Raises:
            UserError: another driver works in this folder.
        """
        self.folder = folder.absolute()
        lock = held or FolderLock(self.folder)
        self._lock = None if held else lock
        try:
            for name in ("trials", "judgements"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            lock.cover(self.folder)
            self._open(objectives, constraints)
        except BaseException:
            self.close()
            raise

    def _open(self, objectives: Mapping[str, str], constraints: Limits | None) -> None:
        self.study = journal.opened(self.folder / journal.JOURNAL, objectives)
        """What optuna-dashboard sees. Samplers see another one: `search/study.py`."""
        self._storage = self.study._storage
        self.objectives = dict(objectives)
        if constraints is not None:
            self._keep_constraints(constraints)
        known = journal.snapshot(self.study)
        self.constraints = dict(known.constraints)
        if known.objectives != self.objectives:
            self.study.set_user_attr("objectives", self.objectives)
        self._trials = list(known.trials)
        self._judged, self._skipped, self._reached = dict(known.judged), dict(known.skipped), dict(known.reached)
        self._unjudged, self._settings = dict(known.unjudged), dict(known.settings)
        self._members = list(known.members)
        frozen = self.study.get_trials(deepcopy=False)
        self._ids = [trial._trial_id for trial in frozen]
        self._ended: list[int] = []
        orders = [
            [trial.order, *(rung.order for rung in trial.rungs), *(stop.order for stop in trial.stops)]
            for trial in self._trials
        ]
        self._orders = 1 + max((order for each in orders for order in each if order is not None), default=-1)
        self._sent = 1 + max((trial.sent.decision for trial in self._trials if trial.sent is not None), default=-1)
        for trial in frozen:
            if trial.state is TrialState.RUNNING and journal.OUTCOME in trial.user_attrs:
                self._tell(trial.number, trial.user_attrs[journal.OUTCOME])
            elif trial.state is TrialState.RUNNING and journal.ISSUED not in trial.user_attrs:
                self._lost(trial.number)
        self._ended[:] = [trial.number for trial in self._trials if trial.outcome is not None]

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another driver in."""
        if self._lock is not None:
            self._lock.close()

    # Where things lie.

    def trial_folder(self, number: int) -> Path:
        """Where a trial's files lie."""
        return self.folder / "trials" / f"{number:04d}"

    def judgements(self, number: int) -> Path:
        """Where a trial's judgements lie."""
        return self.folder / "judgements" / f"{number:04d}"

    # What is known. All of it is in memory: asking costs nothing, whatever the number of trials.

    def snapshot(self) -> Snapshot:
        """The record as it stands; later writes do not change it."""
        return Snapshot(
            objectives=self.objectives,
            trials=tuple(self._trials),
            judged=dict(self._judged),
            skipped=dict(self._skipped),
            unjudged=dict(self._unjudged),
            members=tuple(self._members),
            settings=dict(self._settings),
            reached=dict(self._reached),
            constraints=self.constraints,
        )

    def trials(self) -> Sequence[TrialRecord]:
        """All trials, by number. The list grows and its entries are replaced as the record is written."""
        return self._trials

    def trial(self, number: int) -> TrialRecord:
        """One trial."""
        return self._trials[number]

    def ended(self) -> Sequence[int]:
        """Numbers of the trials that have ended, in the order in which they did. It only grows, but for `take_back`."""
        return self._ended

    def judged(self, number: int, split: str) -> Judged | None:
        """A finished judgement."""
        return self._judged.get((number, split))

    def skipped(self, number: int) -> Skipped | None:
        """Why a trial needs no further judging, where it does not."""
        return self._skipped.get(number)

    def reached(self, number: int) -> Reached | None:
        """How far judging had come when that was last written down."""
        return self._reached.get(number)

    def members(self) -> Members | None:
        """The frontier's members as they were last fixed."""
        return self._members[-1] if self._members else None

    def setting(self, name: str, value: Any = None) -> Any:
        """A value decided once: what the record has, else `value`, which it has from now on. None asks only."""
        if name not in self._settings and value is not None:
            self.study.set_user_attr(f"settings/{name}", value)
            self._settings[name] = value
        return self._settings.get(name)

    # What is written. The journal comes first: what is in memory is on disk.

    def issue(
        self,
        issued: Issued,
        distributions: Mapping[str, BaseDistribution] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
    ) -> int:
        """Writes down a trial that is about to be handed out, in one line, and gives its number.

        Args:
            distributions: of the parameters that Optuna's own tools are to show.
            system_attrs: what the sampler noted of it.
        """
        distributions = dict(distributions or {})
        attrs: dict[str, Any] = {journal.ISSUED: dict(issued.params)}
        more = {
            key: value for key, value in asdict(issued).items() if key != "params" and value != getattr(Issued({}), key)
        }
        if more:
            attrs[journal.ORIGIN] = more
        trial_id = self._storage.create_new_trial(
            self.study._study_id,
            create_trial(
                state=TrialState.RUNNING,
                params={name: issued.params[name] for name in distributions},
                distributions=distributions,
                user_attrs=attrs,
                system_attrs=dict(system_attrs or {}),
            ),
        )
        number = len(self._trials)
        self._ids.append(trial_id)
        self._trials.append(
            TrialRecord(
                number=number,
                params=dict(issued.params),
                outcome=None,
                replicate_of=issued.replicate_of,
                started=datetime.now(),
                origin=issued.origin,
                parents=issued.parents,
                request=issued.request,
                seed=issued.seed,
            )
        )
        return number

    @property
    def sent(self) -> int:
        """How many times a trial was sent to a rung."""
        return self._sent

    def send(self, number: int, index: int, *, epoch: int, epochs: int, look: float | None = None) -> None:
        """Writes down that a trial is about to be sent to a rung: one that is on its way when the driver dies goes on first.

        Args:
            index, epoch: of the rung. epochs: of the trial's whole training.
            look: where the rung is a look of so many epochs, what it costs as a share of the whole training.
        """
        sent = Sent(index, epoch, epochs, self._sent, look)
        self._write(number, journal.SENT, journal.written(sent))
        self._sent += 1
        self._trials[number] = replace(self._trials[number], sent=sent)

    def rung(self, number: int, index: int, *, epoch: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Writes down what a trial measured at the rung that it was sent to. Said again, it changes nothing.

        Args:
            metrics: every objective, finite. seconds: of training, from the beginning.
        """
        trial = self._trials[number]
        if index <= trial.reached:
            return
        look = trial.sent.look if trial.sent is not None and trial.sent.index == index else None
        rung = Rung(index, epoch, self._orders, dict(metrics), seconds, look)
        self._write(number, f"{journal.RUNG}{index}", journal.written(rung))
        self._orders += 1
        self._trials[number] = replace(trial, rungs=(*trial.rungs, rung))

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
        last_rung: int | None = None,
        last: Sequence[str] = (),
    ) -> None:
        """Ends a trial: the outcome into one attribute first, then Optuna's own state.

        Args:
            metrics: what was measured, by name; a complete trial has every objective, finite.
            violations: by constraint, how far it is missed (zero or less where it holds).
            last_rung: the index of the rung that the end of training is, where there are rungs and it came to it.
            last: lines of the log, of a trial that failed.
        """
        broken = missed(violations or {})
        told: dict[str, Any] = {
            "outcome": outcome,
            "metrics": dict(metrics),
            "cause": cause,
            "epoch": epoch,
            "feasible": not broken,
            "weights": weights,
            "exact": exact,
        }
        if last:
            told["last"] = list(last)
        order = None if self._trials[number].sent is None else self._orders
        if order is not None:
            told |= {"order": order, "last_rung": last_rung}
        finished = datetime.now()
        if self._trials[number].stops:  # to Optuna it has ended
            told |= {"violations": dict(violations or {}), "at": finished.isoformat()}
            self._write(number, journal.OUTCOME, told)
        else:
            for name, value in (violations or {}).items():
                if name not in self._trials[number].violations:  # else a life that ended in between has set it
                    optuna.Trial(self.study, self._ids[number]).set_constraint(name, value)
            self._write(number, journal.OUTCOME, told)
            self._tell(number, told)
        self._orders += order is not None
        self._trials[number] = replace(
            self._trials[number],
            rungs=self._trials[number].rungs + journal.ending(told),
            order=order,
            outcome=outcome,
            metrics=dict(metrics),
            cause=cause,
            epoch=epoch,
            feasible=not broken,
            weights=weights,
            exact=exact,
            finished=finished,
            violations=dict(violations or {}),
            last=tuple(last),
        )
        self._ended.append(number)

    def take_back(self, numbers: Sequence[int]) -> None:
        """Lets trials wait again that were stopped while they waited at a rung, all in one line."""
        stops = {number: taking_back.stop(self._trials[number]) for number in numbers}
        if not stops:
            return
        self.study.set_user_attr(taking_back.event(self.study.user_attrs), taking_back.told(stops))
        for number in stops:
            self._trials[number] = taking_back.waiting(self._trials[number])
        self._ended[:] = [number for number in self._ended if number not in stops]

    def _write(self, number: int, name: str, value: Any) -> None:
        """Writes something down of a trial."""
        trial = self._trials[number]
        if trial.stops:
            self.study.set_user_attr(taking_back.key(trial, name), value)
        else:
            self._storage.set_trial_user_attr(self._ids[number], name, value)

    def _lost(self, number: int) -> None:
        """An ask that a driver of before did not finish: nobody can have worked on it, unless there is a folder of it."""
        if not self.trial_folder(number).exists():
            self._storage.set_trial_user_attr(self._ids[number], journal.ORIGIN, {"origin": "lost"})
            self._trials[number] = replace(self._trials[number], origin="lost")
            self.finish(number, "failed", metrics={}, cause="never handed out: the driver ended while it asked for it")

    def _tell(self, number: int, told: Mapping[str, Any]) -> None:
        state = _TOLD.get(told["outcome"], TrialState.PRUNED)
        values = [told["metrics"][name] for name in self.objectives] if state is TrialState.COMPLETE else None
        self._storage.set_trial_state_values(self._ids[number], state, values)

    def judge(self, number: int, split: str, judged: Judged) -> None:
        """Writes a finished judgement."""
        self.study.set_user_attr(f"judged/{number}/{split}", asdict(judged))
        self._judged[number, split] = judged
        self._hold(number)
        if (number, split) in self._unjudged:
            self.study.set_user_attr(f"unjudged/{number}/{split}", None)
            del self._unjudged[number, split]

    def skip(self, number: int, skipped: Skipped | None) -> None:
        """Writes why a trial needs no further judging; None withdraws it."""
        self.study.set_user_attr(f"skipped/{number}", None if skipped is None else asdict(skipped))
        if skipped is None:
            self._skipped.pop(number, None)
        else:
            self._skipped[number] = skipped
        self._hold(number)

    def reach(self, number: int, reached: Reached) -> None:
        """Writes how far the judging of a trial has come."""
        self.study.set_user_attr(f"reached/{number}", asdict(reached))
        self._reached[number] = reached
        self._hold(number)

    def _hold(self, number: int) -> None:
        """Holds a trial to the constraints by what is known best of it now."""
        judged, skipped = self._judged.get((number, "validation")), self._skipped.get(number)
        held = held_to(self._trials[number], self.constraints, judged, skipped, self._reached.get(number))
        if held != self._trials[number]:
            self._trials[number] = held

    def _keep_constraints(self, constraints: Limits) -> None:
        told = {name: {"min": ends.min, "max": ends.max} for name, ends in constraints.items()}
        if self.study.user_attrs.get(journal.CONSTRAINTS, {}) != told:
            self.study.set_user_attr(journal.CONSTRAINTS, told)

    def give_up_judging(self, number: int, split: str, cause: str) -> None:
        """Writes why a trial could not be judged in this life of the driver."""
        if self._unjudged.get((number, split)) != cause:
            self.study.set_user_attr(f"unjudged/{number}/{split}", cause)
            self._unjudged[number, split] = cause

    def fix_members(self, trials: Sequence[int], opened: Sequence[int]) -> Members:
        """Fixes the frontier's members. Only after this may test images be read, and only for `opened`."""
        number = len(self._members) + 1
        event = Members(number, sorted(trials), sorted(opened), datetime.now(UTC).isoformat(timespec="seconds"))
        self.study.set_user_attr(f"members/{number}", asdict(event))
        self._members.append(event)
        return event
