"""Ends that a larger budget takes back: trials that waited at a rung when the budget was spent, and wait again.

Optuna lets nobody change a trial that has ended, so from then on what is written of such a trial is an attribute of the
study: one `waits/<k>` for each time that ends were taken back, which says of whom and how they had ended, and then
`again/<number>/<times>/sent`, `.../rung/<index>`, `.../outcome`, where an attribute of the trial would be. Optuna's own tools
go on showing what it was before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from sweeps.record.facts import Stop, TrialRecord

WAITS, AGAIN = "waits", "again"
_OUTCOME = "outcome"


@dataclass
class Again:
    """What was written of a trial after its end was taken back."""

    stops: tuple[Stop, ...] = ()
    attributes: dict[int, dict[str, Any]] = field(default_factory=dict)  # by how often that was

    def over(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """All that is known of it by now. Args: before: attributes of the trial, whose end no longer counts."""
        found = {key: value for key, value in before.items() if key != _OUTCOME}
        for times in sorted(self.attributes):
            told = self.attributes[times]
            found |= {key: value for key, value in told.items() if key != _OUTCOME or times == len(self.stops)}
        return found

    def finished(self, told: Mapping[str, Any]) -> datetime | None:
        """When it ended. Args: told: of its end; empty where it has none."""
        return datetime.fromisoformat(told["at"]) if "at" in told else None


def lives(attributes: Mapping[str, Any]) -> dict[int, Again]:
    """By trial, what a study's attributes say of those whose end was taken back."""
    found: dict[int, Again] = {}
    events = {int(key.partition("/")[2]): value for key, value in attributes.items() if key.startswith(f"{WAITS}/")}
    for event in sorted(events):
        for number, stop in events[event].items():
            again = found.setdefault(int(number), Again())
            again.stops = (*again.stops, Stop(**stop))
    for key, value in attributes.items():
        if key.startswith(f"{AGAIN}/"):
            _, number, times, name = key.split("/", 3)
            found[int(number)].attributes.setdefault(int(times), {})[name] = value
    return found


def key(trial: TrialRecord, name: str) -> str:
    """The study's attribute that is written in place of one of the trial."""
    return f"{AGAIN}/{trial.number}/{len(trial.stops)}/{name}"


def event(attributes: Iterable[str]) -> str:
    """The attribute that says of the next time. Args: attributes: names of those that there are."""
    return f"{WAITS}/{1 + sum(name.startswith(f'{WAITS}/') for name in attributes)}"


def stop(trial: TrialRecord) -> Stop:
    """How a trial that waited at a rung has ended."""
    return Stop(trial.cause or "", trial.epoch, trial.reached, trial.order)


def told(stops: Mapping[int, Stop]) -> dict[str, Any]:
    """As the journal has it."""
    return {str(number): asdict(each) for number, each in stops.items()}


def waiting(trial: TrialRecord) -> TrialRecord:
    """The trial as it was while it waited, with the end that is taken back among its stops."""
    return replace(
        trial,
        outcome=None,
        metrics={},
        cause=None,
        epoch=0,
        feasible=True,
        weights=None,
        exact=True,
        finished=None,
        violations={},
        order=None,
        stops=(*trial.stops, stop(trial)),
    )
