"""A sweep's numbers for Prometheus: a textfile in its folder, and on 127.0.0.1 where a port is asked for.

All gauges carry `sweep`, the sweep's name; accuracies are fractions, times seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from robustray.measures.metrics import ACCURACIES
from sweeps.events import Event
from sweeps.record.status import Status
from sweeps.space.listening import FILE

HOST = "127.0.0.1"
_PHASES = ("at work", "ended", "stopped")


class Exporter:
    """An ear that hands the last status to Prometheus."""

    def __init__(self, folder: Path, port: int | None, say: Callable[[str], None]) -> None:
        """Opens the port, where one is asked for.

        Raises:
            OSError: it is taken.
        """
        self._path = folder / FILE
        self._status: Status | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._server = None
        if port is not None:
            self._server, _ = start_http_server(port, addr=HOST, registry=self._registry)
            say(f"metrics at http://{HOST}:{self._server.server_port}/metrics")

    def event(self, event: Event) -> None:
        """Nothing: the next status has it."""

    def status(self, status: Status) -> None:
        """Writes the textfile, whole or not at all."""
        self._status = status
        write_to_textfile(str(self._path), self._registry)

    def close(self) -> None:
        """Closes the port; the textfile stays, and says that the sweep is over."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def collect(self) -> Iterator[Metric]:
        """What prometheus_client asks for at every scrape."""
        if self._status is not None:
            yield from families(self._status)


def families(status: Status) -> Iterator[Metric]:
    """All metrics of a status."""

    def gauge(name: str, about: str, values: Iterable[tuple[dict[str, str], float | None]]) -> Iterator[Metric]:
        known = [(labels, value) for labels, value in values if value is not None]
        if known:
            made = GaugeMetricFamily(f"robustray_{name}", about, labels=["sweep", *known[0][0]])
            for labels, value in known:
                made.add_metric([status.name, *labels.values()], float(value))
            yield made

    def one(name: str, about: str, value: float | None) -> Iterator[Metric]:
        yield from gauge(name, about, [({}, value)])

    phases = [({"phase": phase}, float(status.phase == phase)) for phase in _PHASES]
    yield from gauge("driver", "1 for the phase that the driver is in", phases)
    yield from one("status_timestamp_seconds", "when this was said, seconds since 1970", status.at.timestamp())
    yield from one("quiet_seconds", "since a job last said something", status.quiet)
    yield from one("elapsed_seconds", "of this life of the driver", status.elapsed)
    yield from one("left_seconds", "until the end, as far as it can be guessed", status.left)
    states = {**status.outcomes, "training": status.training, "waiting": status.waiting, "paused": status.paused}
    yield from gauge("trials", "trials by state", [({"state": state}, count) for state, count in states.items()])
    yield from one("trials_wanted", "trials that the sweep is to have", status.wanted)
    if status.judging is not None:
        judging = status.judging.model_dump()
        yield from gauge(
            "judgements", "trials by the state of their judging", [({"state": key}, n) for key, n in judging.items()]
        )
    waiting = status.waiting + (0 if status.judging is None else status.judging.waiting)
    yield from one("jobs_waiting", "trials that wait for training or judging", waiting)
    kinds = sorted({job.kind for job in status.jobs} | {"train", "judge"})
    running = [({"kind": kind}, float(sum(job.kind == kind for job in status.jobs))) for kind in kinds]
    yield from gauge("jobs_running", "jobs at work by kind", running)
    yield from one("slots", "jobs at a time", status.slots)
    yield from one("busy_ratio", "share of the slots' time that jobs worked, in this life", status.busy)
    yield from one("images_per_second", "training images, of all trials at work together", status.images_per_second)
    spent = CounterMetricFamily("robustray_device_seconds", "device time of the sweep so far", labels=["sweep"])
    spent.add_metric([status.name], status.device_seconds)
    yield spent
    yield from one("frontier_size", "settings on the standing frontier", len(status.frontier))
    yield from one("hypervolume", "of the standing frontier's accuracies, from 0", status.hypervolume)
    for name in ACCURACIES:
        values = [
            ({"trial": f"{point.trials[0]:04d}"}, point.values.get(name)) for point in status.frontier if point.trials
        ]
        yield from gauge(
            f"frontier_{name}", f"{name} of settings on the standing frontier, by their first trial", values
        )
