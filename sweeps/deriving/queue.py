"""The queue of derived points: planned once training and judging have settled, made, and judged with the others.

What is planned goes into the record before a point is issued, so a killed driver goes on with the same points. Points are
trials of origin `derived`: the judging takes them in as it does trained ones, members are fixed after them, and no sampler
learns from them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter

from robustray import plugins
from robustray.derived.base import Maker
from robustray.derived.point import Recipe
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.measures.metrics import COSTS, SHARES
from robustray.registry import Registered
from sweeps.deriving import parents
from sweeps.deriving.parents import Group, Standing
from sweeps.events import Listener, PointEnded, Said
from sweeps.record import Issued, Outcome, Record, points
from sweeps.record.constraints import violations
from sweeps.record.points import ASKED, PLANNED
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.space import Sweep

MADE_BY = "derived"
"""The parameter that names a point's maker."""
_MAKER: TypeAdapter[Maker] = TypeAdapter(Annotated[Maker, Registered("derive")])


def name_of(maker: Maker) -> str:
    """A request's name in the record: equal requests are one."""
    return points.name_of(maker.model_dump(mode="json"))


def ask(record: Record, maker: Maker) -> None:
    """Writes a request into the record of a sweep."""
    record.setting(ASKED + name_of(maker), maker.model_dump(mode="json"))


class Deriving:
    """The queue of derived points."""

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        tell: Listener,
        *,
        session: str,
        settled: Callable[[], bool],
    ) -> None:
        """Reads the record.

        Args:
            tell: is told of every point that is made.
            session: names this life of the driver.
            settled: whether nothing is in training any more, and all that is to be judged so far is.
        """
        self.sweep, self.record, self.tell, self.session = sweep, record, tell, session
        self.settled = settled
        self._left = deque(self._requests())
        self._unfinished = deque(t.number for t in record.trials() if t.origin == "derived" and t.outcome is None)
        self._running: set[int] = set()

    @property
    def pending(self) -> bool:
        """Whether more points may come: the frontier's members are not fixed before."""
        return bool(self._left or self._unfinished or self._running)

    def _requests(self) -> list[Maker]:
        """Those that are not planned, or not issued to their end: the space's first, then those made after it."""
        asked = [value for name, value in self.record.snapshot().settings.items() if name.startswith(ASKED)]
        makers = [*self.sweep.derive, *(_MAKER.validate_python(value) for value in asked)]
        by_name = {name_of(maker): maker for maker in makers}
        issued = [trial.request for trial in self.record.trials()]
        return [
            maker
            for name, maker in by_name.items()
            if (plan := self.record.setting(PLANNED + name)) is None or len(plan) > issued.count(name)
        ]

    def next(self) -> Job | Signal:
        if self._unfinished:
            return self._job(self._unfinished.popleft())
        if self._left:
            if not self.settled():
                return WAIT
            standing = Standing.of(
                self.record.snapshot()
            )  # one for all: no point is a parent of the same command's others
            while self._left:
                self._plan(self._left.popleft(), standing)
            return self.next()
        return DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        number = job.number
        self._running.discard(number)
        outcome: Outcome = end.outcome if end.outcome in get_args(Outcome) else "failed"  # type: ignore[assignment]
        metrics = self._metrics(number, end) if outcome == "complete" else {}
        missing = [name for name in self.sweep.objectives if name not in metrics]
        cause = end.cause
        if outcome == "complete" and missing:
            why = f": {cause}" if cause else ""
            outcome, cause = "failed", f"no finite {' and no '.join(missing)} is known of it and its parents{why}"
        self.record.finish(
            number,
            outcome,
            metrics=metrics,
            cause=cause,
            weights=end.result.get("weights"),
            violations=violations(metrics, self.sweep.constraints) if outcome == "complete" else None,
        )
        self._tell(number, end)

    def _tell(self, number: int, end: End) -> None:
        every = [trial for trial in self.record.trials() if points.derived(trial)]
        done = sum(trial.outcome is not None for trial in every)
        seconds = end.result.get("cost_seconds")
        parents = points.parents(self.record.snapshot())[number]
        found = str(end.result.get("found", ""))
        self.tell(PointEnded(self.record.trial(number), parents, seconds, found, done, len(every)))

    def _metrics(self, number: int, end: End) -> dict[str, float]:
        """Accuracies as measured; costs with those of the parents, without which there would be no point."""
        named = (*SHARES, *self.sweep.measured_of_all)
        metrics = {name: float(end.result[name]) for name in named if end.result.get(name) is not None}
        own = {
            "cost_seconds": float(end.result["cost_seconds"]),
            "cost_device_hours": float(end.result["cost_seconds"]) / 3600,
            "cost_passes": float(end.result["cost_passes"]),
        }
        of = [self.record.trial(parent).metrics for parent in sorted(set(self.record.trial(number).parents))]
        for name in COSTS:
            if all(name in each for each in of):
                metrics[name] = own[name] + sum(each[name] for each in of)
        return metrics

    # Points are planned and handed out.

    def _plan(self, maker: Maker, standing: Standing) -> None:
        """Writes down what a request comes to, and issues its points; one that comes to nothing is said, no more."""
        name = name_of(maker)
        plan: Sequence[Mapping[str, Any]] | None = self.record.setting(PLANNED + name)
        if plan is None:
            try:
                plan = self._points(maker, standing)
            except UserError as error:
                self.tell(Said(f"{error}: no points of it are made", timed=True))
                plan = []
            plan = self.record.setting(PLANNED + name, plan)
            if plan:
                self.tell(Said(f"deriving {len(plan)} points by {maker.name}", timed=True))
        there = sum(trial.request == name for trial in self.record.trials())
        for point in plan[there:]:
            issued = Issued(point["params"], origin="derived", parents=tuple(point["parents"]), request=name)
            number = self.record.issue(issued)
            self._write(number, maker, point)
            self._unfinished.append(number)

    def _points(self, maker: Maker, standing: Standing) -> list[dict[str, Any]]:
        found = parents.groups(maker, standing, self._config, self.record.folder)
        return [self._point(maker, group, numbers) for group in found for numbers in maker.numbers(len(group.specs))]

    def _point(self, maker: Maker, group: Group, numbers: Mapping[str, Any]) -> dict[str, Any]:
        shown = {f"{MADE_BY}.{key}": _plain(value) for key, value in numbers.items()}
        params = {MADE_BY: maker.name, **shown}
        return {"params": params, "parents": group.numbers, "specs": group.specs, "numbers": dict(numbers)}

    def _config(self, number: int) -> Any:
        return self.sweep.trial_config(self.record.trial(number).params)

    def _write(self, number: int, maker: Maker, point: Mapping[str, Any]) -> None:
        folder = self.record.trial_folder(number)
        folder.mkdir(exist_ok=True)
        recipe = Recipe(maker, point["numbers"], list(point["specs"]), self.sweep.judge, self.sweep.plugins)
        plugins.keep(recipe.plugins, folder)
        write_whole(folder / "point.yaml", recipe.to_yaml())

    def _job(self, number: int) -> Job:
        folder = self.record.trial_folder(number)
        if not (folder / "point.yaml").exists():  # killed between the two
            maker, point = self._planned(number)
            self._write(number, maker, point)
        self._running.add(number)
        work = {
            "kind": "derive",
            "folder": str(folder),
            "kept": str(self.record.folder / "derived"),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
            **self.sweep.asked_of_all(),
        }
        return Job(f"point {number:04d}", number, work)

    def _planned(self, number: int) -> tuple[Maker, Mapping[str, Any]]:
        """The request of a point, and what was planned of it: the points of a request are issued in order."""
        name = self.record.trial(number).request
        same = [trial.number for trial in self.record.trials() if trial.request == name]
        asked = self.record.setting(ASKED + name)
        makers = [*self.sweep.derive, *([] if asked is None else [_MAKER.validate_python(asked)])]
        maker = next(maker for maker in makers if name_of(maker) == name)
        return maker, self.record.setting(PLANNED + name)[same.index(number)]


def _plain(value: Any) -> Any:
    return ", ".join(f"{each:.4g}" for each in value) if isinstance(value, list | tuple) else value
