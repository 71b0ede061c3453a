"""A status in lines, for a terminal of any kind."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from robustray.measures.metrics import ACCURACIES, METRICS, duration, figures, is_share
from sweeps.record.status import Point, Status, Work
from sweeps.view.outside import Seen
from sweeps.view.words import about, accuracies, clock, short

_STYLES = {"at work": "green", "ended": "green", "silent": "bold yellow", "gone": "bold red"}
_ROWS = 20


def told(seen: Seen) -> RenderableType:
    """Everything that a user asks first: is it alive, how far is it, what has it found, what went wrong."""
    status = seen.status
    parts: list[RenderableType] = [
        Text.assemble((status.name, "bold"), "   ", (seen.driver.told, _STYLES.get(seen.driver.state, "")))
    ]
    if seen.note:
        parts.append(Text(seen.note, "yellow"))
    parts += [Text(f"{name:<10}{line}") for name, line in _lines(status) if line]
    if status.jobs:
        parts += [Text(), Text("at work", "bold"), *(Text(f"  {_job(job)}") for job in status.jobs[:_ROWS])]
        parts += [Text(f"  and {len(status.jobs) - _ROWS} more", "dim")] if len(status.jobs) > _ROWS else []
    if status.frontier:
        parts += [Text(), _frontier(status)]
    if status.failures:
        parts += [Text(), Text("failures, the last first", "bold")]
        parts += [Text(f"  {each.trial:04d} {each.outcome}: {each.cause}") for each in status.failures]
        if lines := status.failures[0].last:
            parts += [Text(), Text(f"how the log of trial {status.failures[0].trial:04d} ends", "bold")]
            parts += [Text(f"  {line}", "dim") for line in lines]
    if status.events:
        parts += [Text(), Text("last lines", "bold"), *(Text(f"  {line}", "dim") for line in status.events[-5:])]
    return Group(*parts)


def _lines(status: Status) -> Iterator[tuple[str, str]]:
    worked = status.worked or status.elapsed  # a driver of before says its own life alone
    ran = f"{clock(worked)} of work" if worked else ""
    yield "where", ", ".join(filter(None, [status.where, ran, status.dashboard or ""]))
    ended = sum(status.outcomes.values())
    counts = [f"{count} {outcome.replace('_', ' ')}" for outcome, count in status.outcomes.items()]
    counts += [f"{status.infeasible} infeasible"] if status.infeasible else []
    rest = {"running": status.training, "waiting": status.waiting, "paused": status.paused}
    rest["taken up again"] = status.taken_up
    counts += [f"{count} {what}" for what, count in rest.items() if count]
    yield "trials", ", ".join([f"{ended} of {status.wanted} ended", *counts])
    if status.judging is not None:
        judged = status.judging
        named = {
            "in full": judged.in_full,
            "skipped": judged.skipped,
            "running": judged.running,
            "waiting": judged.waiting,
            "failed": judged.failed,
            "flagged": judged.flagged,
        }
        tested = f"{judged.tested} of {judged.members} members tested" if judged.members else ""
        yield "judging", ", ".join(filter(None, [*(f"{n} {what}" for what, n in named.items() if n), tested]))
    speed = f"{figures(status.images_per_second)} training images/s" if status.images_per_second else ""
    busy = "" if status.busy is None else f"workers busy {status.busy:.0%}"
    yield (
        "cost",
        ", ".join(filter(None, [f"{duration(status.device_seconds)} of device time", speed, busy, status.budget])),
    )
    yield "left", "" if status.left is None else about(status.left)
    yield (
        "frontier",
        ""
        if status.hypervolume is None
        else (
            f"{len(status.frontier)} setting{'s' if len(status.frontier) > 1 else ''}, hypervolume {status.hypervolume:.4f}"
        ),
    )


def _job(job: Work) -> str:
    epoch = "" if job.epoch is None else f"  epoch {job.epoch}" + (f"/{job.epochs}" if job.epochs else "")
    return f"{job.name}{epoch}{accuracies(job.metrics)}  {clock(job.seconds)}"


def _frontier(status: Status) -> Table:
    names = list(dict.fromkeys([*ACCURACIES, *status.objectives]))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("trial", *(METRICS[name].short if name in list(METRICS) else name for name in names), "", "options"):
        table.add_column(name, justify="left" if name in ("", "options") else "right")
    for point in status.frontier[:_ROWS]:
        numbers = ", ".join(f"{number:04d}" for number in point.trials)
        values = (_value(point, name) for name in names)
        state = "tested" if point.tested else "judged" if point.judged else "at best"
        table.add_row(numbers, *values, state, escape(short(point.params)))
    if len(status.frontier) > _ROWS:
        table.add_row(f"and {len(status.frontier) - _ROWS} more")
    return table


def _value(point: Point, name: str) -> str:
    value = point.values.get(name)
    return "" if value is None else f"{value:.1%}" if is_share(name) else figures(value)
