"""A sweep's status, out of what a frame of the live view shows: one set of numbers for all who look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from robustray.measures.metrics import ACCURACIES
from sweeps.record import Snapshot
from sweeps.record.facts import BAD_ENDS
from sweeps.record.status import Failure, Judging, Phase, Point, Status, Work, now
from sweeps.standing import SELECTION
from sweeps.view.activity import Run
from sweeps.view.live import Frame
from sweeps.view.places import Place

FAILURES = 5
EVENTS = 10


def status(frame: Frame, snapshot: Snapshot, phase: Phase, **of_the_driver: Any) -> Status:
    """Everything that a status says.

    Args:
        frame: what is to be seen. snapshot: the record that it was made from.
        of_the_driver: fields of `Status` that only the writing process knows.
    """
    seen = frame.overview
    judged = seen.judgements
    return Status(
        name=frame.name,
        at=now(),
        phase=phase,
        where=frame.where,
        slots=frame.slots,
        dashboard=frame.dashboard,
        elapsed=frame.elapsed,
        worked=frame.worked,
        left=_finite(frame.left),
        until=_finite(frame.until),
        budget=frame.budget,
        wanted=seen.wanted,
        outcomes=dict(seen.outcomes),
        infeasible=seen.infeasible,
        training=seen.training,
        waiting=seen.waiting,
        paused=seen.paused,
        taken_up=seen.taken_up,
        judging=None if judged is None else Judging.model_validate(vars(judged)),
        device_seconds=seen.device_seconds,
        images_per_second=_finite(seen.images_per_second),
        objectives=dict(snapshot.objectives) or dict.fromkeys(frame.objectives, "max"),
        hypervolume=_finite(seen.volume),
        frontier=tuple(map(_point, seen.frontier)),
        jobs=tuple(_work(run, frame.now) for run in frame.runs),
        failures=tuple(islice(_failures(snapshot), FAILURES)),
        events=tuple(frame.events)[-EVENTS:],
        **of_the_driver,
    )


def _point(place: Place) -> Point:
    params = {name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in _of(place)}
    return Point(
        trials=place.numbers,
        values=_numbers(place.values),
        judged=place.judged,
        tested=_numbers(place.tested),
        params=params,
    )


def _of(place: Place) -> Iterator[tuple[str, Any]]:
    for name, value in place.params.items():
        yield name, str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _work(run: Run, at: float) -> Work:
    result = run.result
    return Work(
        name=run.job.name,
        kind=str(run.job.work["kind"]),
        trial=run.job.number,
        seconds=max(0.0, at - run.since),
        epoch=_whole(result.get("epoch")),
        epochs=_whole(result.get("epochs")),
        metrics=_numbers({name: result[name] for name in ACCURACIES if name in result}),
    )


def _failures(snapshot: Snapshot) -> Iterator[Failure]:
    """The last ones first: of training, then of judging."""
    for trial in reversed(snapshot.trials):
        if trial.outcome in BAD_ENDS:
            yield Failure(trial=trial.number, outcome=trial.outcome, cause=trial.cause or "", last=trial.last)
    for (number, split), cause in reversed(list(snapshot.unjudged.items())):
        if split != SELECTION or number not in snapshot.skipped:
            yield Failure(trial=number, outcome="unjudged", cause=f"{cause} (on {split})")


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
