"""Processes that train one model together: real ones, over gloo, on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import Diverged, Paused, ProcessLost, UserError
from robustray.training import Trainer, checkpoints, processes
from robustray.training.processes import Crew
from robustray.training.together import rows
from tests.robustray import halves
from tests.robustray.made import trial
from tests.robustray.test_resume import after, ends_alike

ROOT = Path(__file__).parents[2]
GetCrew = Callable[[], Crew]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes find in float64, beside what one does."""
    folder = tmp_path_factory.mktemp("halves")
    done = subprocess.run(
        [sys.executable, "-m", "tests.robustray.halves", str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return answers


@pytest.fixture(scope="module")
def _kept() -> Iterator[list[Crew]]:
    crews: list[Crew] = []
    yield crews
    for each in crews:
        each.end()


@pytest.fixture
def crew(_kept: list[Crew]) -> GetCrew:
    """Two processes of one thread each: those of the test before, where they are still there."""

    def get() -> Crew:
        if not _kept or not _kept[-1].fit:
            _kept.append(Crew(2, device="cpu", threads=1))
            _kept[-1]._met()
        return _kept[-1]

    return get


@pytest.mark.parametrize("case", [case for case, *_ in halves.cases()])
def test_two_processes_find_the_gradients_statistics_and_draws_of_one(case: str, found: dict[str, Any]) -> None:
    """For every defense and update there is, also of batches that cannot be halved or leave one of them nothing."""
    assert found["differences"][case] < 1e-10


def test_processes_that_would_train_different_models_are_told_so(found: dict[str, Any]) -> None:
    assert "random draws of 2 processes differ" in found["differing"]


@given(st.integers(0, 1000), st.integers(1, 64))
def test_every_image_is_one_process_s_and_their_shares_differ_by_one_at_most(images: int, size: int) -> None:
    shares = rows(images, size)
    counts = [share.stop - share.start for share in shares]
    assert [row for share in shares for row in range(share.start, share.stop)] == list(range(images))
    assert len(shares) == size
    assert max(counts) - min(counts) <= 1


def followers(process: psutil.Process) -> list[psutil.Process]:
    """Those that a process has started to train with it, and no others of its children."""
    return [child for child in process.children() if processes.FOLLOWER in child.cmdline()]


def apart(a: Trainer, b: Trainer) -> float:
    """The largest difference of the weights, averages included."""
    pairs = ((a.model, b.model), (a.average.model, b.average.model))
    states = [(one.state_dict(), other.state_dict()) for one, other in pairs]
    return max(float((left[key].double() - right[key].double()).abs().max()) for left, right in states for key in left)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"defense": "natural", "batch": {"size": 125, "augment": ["crop", "flip"]}}, id="odd batches"),
        pytest.param(
            {
                "model": {"name": "preact_resnet18", "width": 2},
                "defense": "adversarial",
                "threat": {"norm": "l2", "eps": 0.5},  # whose steps have no sign to flip
                "batch": {"size": 300, "accumulate": 2, "label_noise": 0.1},
                "averaging": {"name": "ema", "decay": 0.5, "buffers": "estimate"},
                "schedule": {"name": "one_cycle", "epochs": 1, "lr": 0.001},
                "optimiser": {"name": "sgd", "max_norm": 1},
                "checkpoints": {"select": "best_robust", "collapse": 0.5, "every": 1},
            },
            id="batch norm, and all that is measured",
        ),
    ],
)
def test_two_processes_train_the_model_that_one_does(options: dict[str, Any], crew: GetCrew, tmp_path: Path) -> None:
    """Through whole trainings, within what the order of float32's sums makes of it."""
    config = trial(**options)
    one = Trainer(config, tmp_path / "one", device="cpu", threads=1)
    alone = one.run()
    two = crew().open(config, tmp_path / "two")
    together = two.run()
    assert apart(one, two) < 1e-4
    for name in ("images", "cost_passes", "clean_accuracy", "robust_accuracy"):
        assert together[name] == pytest.approx(alone[name], abs=0.01), name
    assert together["cost_device_hours"] == pytest.approx(2 * together["cost_seconds"] / 3600)
    assert {path.name for path in two.folder.iterdir()} == {path.name for path in one.folder.iterdir()}


def test_a_stop_is_a_checkpoint_within_the_step_and_the_next_two_go_on_bit_for_bit(
    crew: GetCrew, tmp_path: Path
) -> None:
    whole = crew().open(trial(), tmp_path / "whole")
    whole.run()
    stopped = crew().open(trial(), tmp_path / "parts")
    after(stopped, 2, stopped.stop.set)
    with pytest.raises(Paused):
        stopped.run()
    assert stopped.progress.batch_in_epoch == 2
    resumed = crew().open(trial(), tmp_path / "parts")
    resumed.run()
    assert resumed.exact
    ends_alike(whole, resumed)


def test_another_number_of_processes_goes_on_and_is_noted(crew: GetCrew, tmp_path: Path) -> None:
    begun = Trainer(trial(), tmp_path, device="cpu", threads=1)
    begun.run(until=1)
    resumed = crew().open(trial(), tmp_path)
    assert (resumed.completed, resumed.exact) == (1, False)
    assert resumed.run()["outcome"] == "complete"


def test_standing_at_a_rung_is_that_of_one_process(crew: GetCrew, tmp_path: Path) -> None:
    config = trial(schedule={"name": "one_cycle", "epochs": 8, "lr": 0.01})
    together = crew().open(config, tmp_path)
    together.run(until=1)
    alone = Trainer(config, tmp_path, device="cpu", threads=1)
    assert together.standing() == pytest.approx(alone.standing(), abs=0.01)


def test_numbers_that_are_not_finite_end_a_training_and_not_the_processes(crew: GetCrew, tmp_path: Path) -> None:
    both = crew()
    wild = trial(schedule={"name": "constant", "epochs": 2, "lr": 1e30}, optimiser={"name": "sgd"})
    with pytest.raises(Diverged):
        both.open(wild, tmp_path / "wild").run()
    assert both.fit
    assert both.open(trial(), tmp_path / "tame").run()["outcome"] == "complete"


def test_a_process_that_is_killed_is_named_and_the_next_two_go_on_bit_for_bit(crew: GetCrew, tmp_path: Path) -> None:
    whole = crew().open(trial(), tmp_path / "whole")
    whole.run()
    both = crew()
    (other,) = followers(psutil.Process())
    other.send_signal(signal.SIGTERM)  # schedulers send it to all processes: only the first one heeds it
    broken = after(both.open(trial(), tmp_path / "parts"), 4, other.kill)
    with pytest.raises(ProcessLost, match=r"process 1 of 2 \(from 0\) was killed by SIGKILL"):
        broken.run()
    assert not both.fit
    with pytest.raises(ProcessLost):
        broken.epoch()
    resumed = crew().open(trial(), tmp_path / "parts")
    assert resumed.completed == 1
    resumed.run()
    assert resumed.exact
    ends_alike(whole, resumed)


def test_no_other_machine_reaches_them(crew: GetCrew) -> None:
    assert crew().fit
    both = [psutil.Process(), *followers(psutil.Process())]
    sockets = [each for one in both for each in one.net_connections("inet") if each.status == psutil.CONN_LISTEN]
    assert len(sockets) >= 2
    assert {each.laddr.ip for each in sockets} <= {"127.0.0.1", "::1"}


def test_a_process_that_fails_says_why(crew: GetCrew) -> None:
    both = crew()
    group = both._group
    assert group is not None
    with pytest.raises(ProcessLost, match=r"process 1 of 2 \(from 0\): KeyError: 'nonsense'"), both.working("nonsense"):
        group.add_up(torch.zeros(1))


def test_what_needs_a_single_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="compile: several processes cannot share a compiled network"):
        processes.check(trial(compile="default"))
    processes.check(trial())


def test_each_process_has_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.devices(3, "cpu") == ["cpu"] * 3
    with pytest.raises(UserError, match="take a device each: auto, cpu or cuda, not cuda:0"):
        processes.devices(2, "cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes.devices(2) == ["cuda:0", "cuda:1"]
    with pytest.raises(UserError, match="3 processes need a GPU each, but there are 2"):
        processes.devices(3)


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_all_end_with_the_first_one_and_the_command_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Killed outright, and with the other one stopped, which could not see to it by itself."""
    path = tmp_path / "t.yaml"
    path.write_text(trial(schedule={"name": "one_cycle", "epochs": 12, "lr": 0.1}).to_yaml())
    command = [
        sys.executable,
        "-m",
        "robustray",
        "train",
        str(path),
        "--device",
        "cpu",
        "--threads",
        "1",
        "--processes",
        "2",
    ]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT)}

    def started(folder: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, "--folder", folder], cwd=tmp_path, env=surroundings, text=True, stdout=subprocess.PIPE
        )

    whole = started("whole")
    assert "done:" in whole.communicate()[0]
    for stops in (False, True):
        first = started("parts")
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("epoch"):
                break
        (other,) = followers(psutil.Process(first.pid))
        if stops:
            other.suspend()
        first.kill()
        first.communicate()
        other.wait(30)
    last = started("parts")
    said = last.communicate()[0]
    assert "going on at epoch" in said
    assert "done:" in said
    left, right = (checkpoints.load(tmp_path / name / "last.pt")["average"] for name in ("whole", "parts"))
    assert checkpoints.weights_hash(left) == checkpoints.weights_hash(right)
