"""Who else is told of a sweep: Prometheus, TensorBoard, and what happens when a listener fails, hangs or falls behind."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tensorboardX.proto import event_pb2

from robustray.errors import UserError
from robustray.plugins import trust
from sweeps.events import Event, JobEnded, JobHeard, Said, TrialEnded, TrialJudged
from sweeps.listeners import opening, telling
from sweeps.listeners.prometheus import Exporter, families
from sweeps.listeners.telling import Aside
from sweeps.listeners.tensorboard import Boards
from sweeps.listeners.tracking import Numbers, Tracking
from sweeps.record import Judged, Record, TrialRecord
from sweeps.record.status import Failure, Judging, Point, Status, Work, now
from sweeps.running.queues import End, Job
from sweeps.space import Sweep
from sweeps.space.listening import FILE
from tests.sweeps.small import run_quietly, small_sweep

_NAMES = re.compile(r"robustray_\w+")
TRAINS, JUDGES = Job("trial 0007", 7, {"kind": "train"}), Job("judge 0007", 7, {"kind": "judge"})
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}
ENDED = TrialRecord(7, {"defense": "trades", "schedule.lr": 0.1}, "complete", MEASURED, epoch=2)
STATUS = Status(
    name='a "sweep"',
    at=now(),
    phase="at work",
    outcomes={"complete": 3, "failed": 1},
    training=2,
    waiting=5,
    judging=Judging(in_full=1, waiting=2),
    frontier=(Point(trials=(7, 9), values=MEASURED, judged=True),),
    hypervolume=0.36,
    jobs=(Work(name="trial 0011", kind="train", trial=11, seconds=3.0),),
    failures=(Failure(trial=2, outcome="failed", cause="x"),),
    device_seconds=7200.0,
    busy=0.75,
)


class Ears:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.closed = False

    def event(self, event: Event) -> None:
        self.told.append(event)

    def status(self, status: Status) -> None:
        self.told.append(status)

    def close(self) -> None:
        self.closed = True


# Apart from the driver.


def test_a_listener_is_told_all_in_order_before_the_sweep_ends() -> None:
    ears, said = Ears(), list[str]()
    with Aside("x", lambda: ears, said.append) as aside:
        for number in range(100):
            aside(Said(str(number)))
        aside.heard(STATUS)
    assert ears.told == [*(Said(str(number)) for number in range(100)), STATUS]
    assert ears.closed
    assert not said


class Failing(Ears):
    def event(self, event: Event) -> None:
        super().event(event)
        raise RuntimeError("\x1b[1mno such server\nat all")


@pytest.mark.parametrize("when", ["opened", "told"])
def test_one_that_fails_is_left_out_with_a_line(when: str) -> None:
    ears, said = Failing(), list[str]()

    def opened() -> Ears:
        if when == "opened":
            raise OSError("no such server")
        return ears

    with Aside("x", opened, said.append) as aside:
        for _ in range(3):
            aside(Said("one"))
    assert len(ears.told) == (when == "told")
    (line,) = said
    assert "no such server" in line
    assert "the sweep goes on" in line


def test_one_that_hangs_keeps_neither_the_driver_nor_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "ROOM", 10)
    free, said = threading.Event(), list[str]()

    class Hanging(Ears):
        def event(self, event: Event) -> None:
            free.wait()

    with Aside("x", Hanging, said.append, patience=0.01) as aside:
        for _ in range(50):
            aside(Said("one"))
    free.set()
    assert said == ["listener x is not done after 0.01 s, and is left behind"]


def test_a_package_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(opening.PACKAGES, "mlflow", "no_such_package_at_all")
    sweep = small_sweep(tmp_path, "listeners=[mlflow]")
    with pytest.raises(UserError, match=r"listeners.mlflow: needs the package .* pip install 'robustray\[mlflow\]'"):
        run_quietly(sweep, tmp_path / "results" / "small")
    assert not (tmp_path / "results").exists()


# In a space.


def test_a_list_of_names_is_short_for_a_mapping_and_changes_no_sweep(tmp_path: Path) -> None:
    silent = small_sweep(tmp_path)
    listed = small_sweep(tmp_path, "listeners=[tensorboard, prometheus]")
    mapped = small_sweep(tmp_path, "listeners={tensorboard: {}, prometheus: {}}")
    assert listed == mapped
    assert listed.space_hash == silent.space_hash
    assert not silent.difference(listed.resolved())
    assert Sweep.model_validate(yaml.safe_load(yaml.safe_dump(listed.resolved()))) == listed
    assert "listeners" not in silent.resolved()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("[tensorbored]", "tensorboard"),
        ("{prometheus: {port: 70000}}", "65535"),
        ("{mlflow: {uri: 'https://me:secret@host/'}}", "holds a password"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, given: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        small_sweep(tmp_path, f"listeners={given}")
    assert "listeners" in str(error.value)


# Prometheus.


def parsed(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """By metric, values by what labels say besides the sweep."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["sweep"] == STATUS.name
            key = tuple(value for name, value in sorted(sample.labels.items()) if name != "sweep")
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def test_numbers_are_scraped_on_loopback_and_lie_in_a_textfile(tmp_path: Path) -> None:
    said: list[str] = []
    exporter = Exporter(tmp_path, 0, said.append)
    try:
        exporter.status(STATUS)
        (line,) = said
        url = line.removeprefix("metrics at ")
        with urllib.request.urlopen(url, timeout=60) as answer:
            scraped = parsed(answer.read().decode())
        port = int(url.split(":")[2].split("/")[0])
        listening = [each for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        assert {each.laddr.ip for each in listening if each.laddr.port == port} == {"127.0.0.1"}
    finally:
        exporter.close()
    assert scraped == parsed((tmp_path / FILE).read_text())
    assert scraped["robustray_hypervolume"] == {(): 0.36}
    assert scraped["robustray_device_seconds_total"] == {(): 7200.0}
    assert scraped["robustray_jobs_waiting"] == {(): 7.0}
    assert scraped["robustray_frontier_robust_accuracy"] == {("0007",): 0.4}
    assert scraped["robustray_trials"]["failed",] == 1
    assert scraped["robustray_jobs_running"] == {("train",): 1, ("judge",): 0}
    with socket.socket() as closed:
        assert closed.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_ends_no_sweep(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, said = taken.getsockname()[1], list[str]()
        with Aside("prometheus", lambda: Exporter(tmp_path, port, said.append), said.append) as aside:
            aside.heard(STATUS)
    assert any("in use" in line for line in said)


# Trackers.


class Kept:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def curve(self, trial: int, numbers: Numbers, epoch: int) -> None:
        self.calls.append(("curve", trial, dict(numbers), epoch))

    def judged(self, trial: int, numbers: Numbers) -> None:
        self.calls.append(("judged", trial, dict(numbers)))

    def ended(self, trial: TrialRecord, numbers: Numbers) -> None:
        self.calls.append(("ended", trial.number, dict(numbers)))

    def sweep(self, numbers: Numbers, seconds: int) -> None:
        self.calls.append(("sweep", dict(numbers), seconds))

    def close(self) -> None:
        self.calls.append(("close",))


def tell(tracking: Tracking) -> None:
    """A trial's whole life, and two statuses that say the same."""
    epoch = {"epoch": 1, "epochs": 2, "loss": 1.5, "weights": "abc", "training_iteration": 1}
    for event in (
        JobHeard(TRAINS, {**epoch, "loss": 2.0}),
        JobHeard(TRAINS, {**epoch, "loss": float("nan")}),
        JobEnded(TRAINS, End("complete", result={**epoch, "epoch": 2, **MEASURED})),
        JobEnded(JUDGES, End("complete", result={"broken": 3})),
        TrialEnded(ENDED, 1, 2),
        TrialJudged(7, "validation", Judged(100, 80, 30, "apgd-ce", False, "folder", 5.0)),
    ):
        tracking.event(event)
    tracking.status(STATUS)
    tracking.status(STATUS)
    tracking.close()


def test_trackers_hear_of_finite_numbers_epochs_and_ends() -> None:
    kept = Kept()
    tell(Tracking(kept))
    assert kept.calls == [
        ("curve", 7, {"loss": 2.0}, 1),
        ("curve", 7, {}, 1),
        ("curve", 7, {"loss": 1.5, **MEASURED}, 2),
        ("ended", 7, MEASURED),
        ("judged", 7, {"validation/clean_accuracy": 0.8, "validation/robust_accuracy": 0.3}),
        (
            "sweep",
            {"ended": 4, "complete": 3, "frontier_size": 1, "device_hours": 2.0, "hypervolume": 0.36},
            7200,
        ),
        ("close",),
    ]


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """What TensorBoard reads in a folder: length, checksum, event, checksum, again and again."""
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)


@pytest.mark.parametrize("room", [64, 1], ids=["", "one file at a time"])
def test_curves_are_there_for_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr("sweeps.listeners.tensorboard.OPEN", room)
    tell(Tracking(Boards(tmp_path)))
    of_trial = {(tag, step): value for tag, step, value in scalars(tmp_path / "0007")}
    assert of_trial["train/loss", 1] == 2.0
    assert of_trial["train/robust_accuracy", 2] == pytest.approx(0.4)
    assert of_trial["judged/validation/robust_accuracy", 0] == pytest.approx(0.3)
    assert ("_hparams_/session_start_info", 0) in of_trial
    assert ("hypervolume", 7200) in {(tag, step) for tag, step, _ in scalars(tmp_path / "sweep")}


def test_a_sweep_tells_those_that_its_space_names(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "listeners=[tensorboard, prometheus]")
    with Record(tmp_path / "kept", sweep.objectives) as record:
        failed: list[str] = []
        with opening.opened(sweep, record, failed.append) as ears:
            say: Callable[[Event], None]
            for say in ears:
                say(TrialEnded(ENDED, 1, 2))
            for ear in ears:
                ear.heard(STATUS)
    assert not failed
    assert (tmp_path / "kept" / FILE).exists()
    assert list((tmp_path / "kept" / "tensorboard").glob("0007/events.*"))


def test_the_dashboard_asks_for_numbers_that_there_are() -> None:
    board = json.loads((Path(__file__).parents[2] / "cluster" / "grafana" / "robustray.json").read_text())
    asked = {
        name for panel in board["panels"] for target in panel["targets"] for name in _NAMES.findall(target["expr"])
    }
    full = STATUS.model_copy(update={"left": 1.0, "images_per_second": 2.0})
    told = {sample.name for family in families(full) for sample in family.samples}
    assert asked
    assert asked <= told


def test_runs_go_to_a_server_that_the_user_has_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A results folder of somebody else's may name any; `sweeps derive` reads the space from it."""
    monkeypatch.setattr(trust, "_everything", False)
    monkeypatch.setattr(trust, "_trusted", set())
    sweep = small_sweep(tmp_path, "listeners={mlflow: {uri: 'http://192.0.2.1:5000'}}")
    with pytest.raises(
        UserError, match=r"listeners\.mlflow\.uri is http://192\.0\.2\.1:5000, which you have not named"
    ):
        opening.named(sweep, tmp_path, here=False)
    opening.named(small_sweep(tmp_path, "listeners=[mlflow]"), tmp_path, here=False)
    opening.named(sweep, tmp_path, here=True)
    opening.named(sweep, tmp_path, here=False)
