"""What the record says of trials, kept from one frame of the view to the next: only what is new is looked at."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from itertools import chain, compress, repeat
from operator import eq, is_not
from typing import Any, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from sweeps.record import Outcome, Snapshot, TrialRecord, points
from sweeps.space import Sweep
from sweeps.standing import SELECTION, TEST, eligible, flagged
from sweeps.view.activity import Activity
from sweeps.view.places import Places

K = TypeVar("K", bound=Hashable)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_TRIAL = np.dtype(
    [
        ("outcome", np.int8),  # 1 + the position in OUTCOMES; 0 for none
        ("feasible", np.bool_),
        ("paused", np.bool_),  # at a rung
        ("taken_up", np.bool_),  # after it was stopped
        ("length", np.int64),  # epochs of its whole training, where it was sent to a rung
        ("paid", np.float64),  # of them, those that are paid for, a look as the part of a training that it costs
        ("derived", np.bool_),  # made of others, without training
        ("making", np.float64),  # seconds that took
        ("timed", np.bool_),  # what its training cost is known
        ("seconds", np.float64),  # of training
        ("epoch", np.int64),
        ("eligible", np.bool_),
        ("flagged", np.bool_),
        ("skipped", np.bool_),
        ("cut", np.bool_),  # skipped because of a constraint
        ("unjudged", np.bool_),  # on the selection set
        ("judged", np.bool_),  # there, and so the next two
        ("judge_seconds", np.float64),
        ("judge_images", np.int64),
        ("tested", np.bool_),
        ("test_seconds", np.float64),
        ("test_images", np.int64),
        ("judge_seconds_here", np.float64),  # in this life, on the selection set
        ("test_seconds_here", np.float64),
    ]
)
_JUDGED = {SELECTION: ("judged", "judge_seconds", "judge_images"), TEST: ("tested", "test_seconds", "test_images")}
_HERE = {SELECTION: "judge_seconds_here", TEST: "test_seconds_here"}


class Tally:
    """A record in columns. Trials and judgements come and change; skips and failed judgements may go again as well.

    Attributes:
        trials: by number.
        rows: [n] a structured array, a row per number.
        places: where settings stand.
        members: of the frontier as last fixed; none before.
    """

    def __init__(self, sweep: Sweep) -> None:
        """Knows nothing yet."""
        self.sweep = sweep
        self.trials: dict[int, TrialRecord] = {}
        self.rows: NDArray[Any] = np.zeros(0, _TRIAL)
        self.places = Places(sweep.objectives)
        self.members: frozenset[int] = frozenset()
        self._snapshot = Snapshot({}, (), {}, {}, {}, (), {})
        self._heard = 0  # of the activity's news
        self._unplanned: bool | None = None  # what is known of this snapshot

    def update(self, snapshot: Snapshot, activity: Activity) -> None:
        """Takes in what is new in the record and in what is going on. To be called with the activity's lock held.

        Args:
            snapshot: the record as it stands; the same object as before where it has not changed.
        """
        changed = set[int]()
        if snapshot is not self._snapshot:
            changed = self._read(snapshot)
            self._snapshot, self._unplanned = snapshot, None
        for number, split in set(activity.news[self._heard :]):
            changed.add(number)
            self._make_room(number + 1)
            if split in _HERE:
                self.rows[_HERE[split]][number] = activity.judge_seconds.get((number, split), 0.0)
        self._heard = len(activity.news)
        self.places.update(changed, self.trials, snapshot.judged, snapshot.skipped, activity.standing)

    @property
    def wanted(self) -> int:
        """Trials that the sweep will have had, derived points apart; those so far, where it counts trainings and not trials."""
        if self.sweep.stopping.pauses:
            return len(self.trials) - int(np.count_nonzero(self.rows["derived"]))
        return max(self.sweep.wanted, len(self.trials) - int(np.count_nonzero(self.rows["derived"])))

    @property
    def spent(self) -> float | None:
        """Whole trainings that are paid for; None where the sweep counts trials."""
        sent = self.rows[self.rows["length"] > 0]
        return float((sent["paid"] / sent["length"]).sum()) if self.sweep.stopping.pauses else None

    @property
    def unplanned(self) -> bool:
        """Whether more points will be derived than are known of yet."""
        if self._unplanned is None:
            self._unplanned = points.unplanned(
                self._snapshot, (maker.model_dump(mode="json") for maker in self.sweep.derive)
            )
        return self._unplanned

    @property
    def ended(self) -> int:
        """Trials and points that have an outcome."""
        return int(np.count_nonzero(self.rows["outcome"]))

    def judging_here(self, split: str) -> NDArray[np.float64]:
        """[n] device-seconds of judging in this life, of trials that the record has no judgement of."""
        return np.where(self.rows[_JUDGED[split][0]], 0.0, self.rows[_HERE[split]])

    def _read(self, snapshot: Snapshot) -> set[int]:
        """Takes in a record; gives the numbers of trials of which something is new."""
        before = self._snapshot
        trials = list(compress(snapshot.trials, map(is_not, snapshot.trials, chain(before.trials, repeat(None)))))
        judged = _differing(before.judged, snapshot.judged)
        skipped = _differing(before.skipped, snapshot.skipped)
        unjudged = {number for number, split in _differing(before.unjudged, snapshot.unjudged) if split == SELECTION}
        changed = {trial.number for trial in trials} | {number for number, _ in judged} | skipped
        self._make_room(1 + max((*changed, *unjudged), default=-1))
        for trial in trials:
            self._take(trial)
        for number, split in judged:
            done = snapshot.judged[number, split]
            for name, value in zip(_JUDGED.get(split, ()), (True, done.seconds, done.images), strict=False):
                self.rows[name][number] = value
        for number in skipped:
            found = snapshot.skipped.get(number)
            self.rows["skipped"][number] = found is not None
            self.rows["cut"][number] = found is not None and found.dominator is None
        for number in unjudged:
            self.rows["unjudged"][number] = (number, SELECTION) in snapshot.unjudged
        self.members = frozenset(snapshot.members[-1].trials if snapshot.members else ())
        keys = [(number, split) for number in changed for split in _JUDGED if (number, split) in snapshot.judged]
        part = replace(snapshot, trials=trials, judged={key: snapshot.judged[key] for key in keys})
        every = self.sweep.judge.trials == "all"
        self._mark("eligible", (t.number for t in trials), (t.number for t in eligible(part, infeasible=every)))
        self._mark("flagged", changed, flagged(part))
        return changed

    def _make_room(self, rows: int) -> None:
        if rows > len(self.rows):
            more = np.zeros(max(rows, 2 * len(self.rows)), _TRIAL)
            more[: len(self.rows)] = self.rows
            self.rows = more

    def _take(self, trial: TrialRecord) -> None:
        self.trials[trial.number] = trial
        row = self.rows[trial.number]
        row["outcome"] = 0 if trial.outcome is None else 1 + OUTCOMES.index(trial.outcome)
        row["feasible"], row["paused"], row["taken_up"] = trial.feasible, trial.paused, trial.taken_up
        if trial.sent is not None:
            row["length"], row["paid"] = trial.sent.epochs, trial.paid + trial.looked * trial.sent.epochs
        row["derived"] = points.derived(trial)
        row["timed"] = "cost_seconds" in trial.metrics and not row["derived"]
        own = points.own_cost(trial, self.trials.__getitem__, "cost_seconds")
        row["seconds"], row["making"] = (0.0, own) if row["derived"] else (own, 0.0)
        row["epoch"] = trial.epoch
        if trial.paused and not trial.looked_only:  # one that has gone on says itself what it took from the beginning
            row["timed"], row["seconds"], row["epoch"] = True, trial.rungs[-1].seconds, trial.rungs[-1].epoch

    def _mark(self, name: str, of: Iterable[int], marked: Iterable[int]) -> None:
        self.rows[name][list(of)] = False
        self.rows[name][list(marked)] = True


def _differing(before: Mapping[K, object], after: Mapping[K, object]) -> set[K]:
    """Keys whose values are other objects, or that only one of both has.

    Nearly always the same keys come first in the same order: then no line of Python runs for each of them.
    """
    if len(after) >= len(before) and all(map(eq, before, after)):
        return set(compress(after, map(is_not, after.values(), chain(before.values(), repeat(None)))))
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}
