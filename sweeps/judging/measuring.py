"""Which measure of which member to take next: last of all, beside what is left to judge, and never in its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.events import Listener, Said
from sweeps.record import Record
from sweeps.record.measured import Measured, key, plain
from sweeps.running.queues import DONE, End, Job, Result, Signal, Verdict
from sweeps.space import Sweep


@dataclass(frozen=True)
class _Wanted:
    """A measure of a member on images of one split."""

    number: int
    split: str
    name: str
    key: str  # of the record


class Measuring:
    """The queue of measures of members. It has work once the members are fixed, test that is named included."""

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        tell: Listener,
        *,
        session: str,
        members: Callable[[], Sequence[int] | None],
    ) -> None:
        """Reads nothing yet.

        Args:
            tell: is told of what was found, and of what could not be measured.
            session: names this life of the driver. What failed in another one is tried again.
            members: as they are fixed; None while they may change.
        """
        self.sweep, self.record, self.tell, self.session = sweep, record, tell, session
        self.members = members
        images = sweep.measuring.images
        self._most = None if images == "all" else images
        self._asked = {name: measure.model_dump(mode="json") for name, measure in sweep.measures.items()}
        self._begun = dict[str, _Wanted]()  # by name of the job: at work, or failed in this life

    def next(self) -> Job | Signal:
        wanted = next(self._wanted(), None)
        return DONE if wanted is None else self._job(wanted)

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        wanted, told = self._begun[job.name], end.result
        where = f"{wanted.name} of {wanted.number:04d} on {wanted.split}"
        if end.outcome != "complete":
            self.tell(Said(f"{where} could not be measured: {end.cause or end.outcome}", timed=True))
            return
        numbers = {name: told[name] for name in ("value", "low", "high")}
        folder = str((self.record.trial_folder(wanted.number) / told["folder"]).relative_to(self.record.folder))
        found = Measured(
            wanted.number, wanted.split, wanted.name, **numbers, unit=told["unit"], images=told["images"], folder=folder
        )
        self.record.setting(wanted.key, plain(found))
        value = "not finite" if found.value is None else f"{found.value:.3g}"
        self.tell(Said(f"{where} is {value}", timed=True))

    def _wanted(self) -> Iterator[_Wanted]:
        """What is not measured, not at work, and did not fail in this life."""
        begun = set(self._begun.values())
        for number in self.members() or ():
            for split in self.sweep.measuring.splits:
                for name, asked in self._asked.items():
                    at = key(number, split, name, {"measure": asked, "images": self._most})
                    wanted = _Wanted(number, split, name, at)
                    if wanted not in begun and self.record.setting(at) is None:
                        yield wanted

    def _job(self, wanted: _Wanted) -> Job:
        work: dict[str, Any] = {
            "kind": "explain",
            "folder": str(self.record.trial_folder(wanted.number)),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
            "measure": self._asked[wanted.name],
            "name": wanted.name,
            "split": wanted.split,
            "images": self._most,
            "weights": self.record.trial(wanted.number).weights,
        }
        job = Job(f"explain {wanted.number:04d} {wanted.split} {wanted.name}", wanted.number, work)
        self._begun[job.name] = wanted
        return job
