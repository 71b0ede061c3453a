"""Killed, broken, damaged: the same command goes on, and nothing is lost, doubled or renumbered."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from robustray import registry
from robustray.defenses._step import Loss, Step
from robustray.defenses.natural import Natural
from robustray.errors import UserError
from sweeps import record
from sweeps.worker import TrainTask
from tests.sweeps.small import SPACE, driver_process, facts, run_quietly, small_sweep


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder), folder / "small")
    return facts(folder / "small")


def _killed_until_done(space: Path, folder: Path, chance: random.Random, *, damage: bool) -> int:
    """Runs the sweep in processes that are killed at random moments; how many were."""
    kills = 0
    while True:
        with driver_process(space, folder) as driver:
            patience = chance.uniform(0.05, 1.5) if kills < 12 else 120.0
            driver.join(patience)
            if driver.exitcode == 0:
                return kills
            assert driver.exitcode is None, "the driver failed by itself"
            os.kill(int(driver.pid or 0), signal.SIGKILL)
            driver.join()
        kills += 1
        if damage and chance.random() < 0.5:
            _damage_newest_checkpoint(folder, chance)


def _damage_newest_checkpoint(folder: Path, chance: random.Random) -> None:
    there = sorted(folder.glob("trials/*/last.pt"), key=lambda path: path.stat().st_mtime)
    if there and (there[-1].parent / "previous.pt").exists():
        content = bytearray(there[-1].read_bytes())
        content[chance.randrange(len(content))] ^= 0xFF
        there[-1].write_bytes(content)


@pytest.mark.parametrize("damage", [False, True], ids=["killed", "killed and damaged"])
def test_a_driver_killed_at_random_moments_loses_nothing(
    tmp_path: Path, undisturbed: dict[str, Any], damage: bool
) -> None:
    small_sweep(tmp_path)
    folder = tmp_path / "small"
    kills = _killed_until_done(tmp_path / "small.yaml", folder, random.Random(f"kill {damage}"), damage=damage)
    assert kills >= 3
    assert facts(folder) == undisturbed
    assert sorted(path.name for path in (folder / "trials").iterdir()) == [f"{n:04d}" for n in range(5)]
    assert not [trial for trial in record.read(folder).trials if trial.outcome is None]


def test_sigterm_stops_within_a_step_and_the_same_command_goes_on(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    small_sweep(tmp_path)
    folder = tmp_path / "small"
    with driver_process(tmp_path / "small.yaml", folder) as driver:
        while not (folder / "trials" / "0001" / "last.pt").exists():
            time.sleep(0.01)
            assert driver.exitcode is None
        os.kill(int(driver.pid or 0), signal.SIGTERM)
        driver.join(60)
        assert driver.exitcode == 0
    assert [trial.outcome for trial in record.read(folder).trials].count(None) == 1
    assert run_quietly(small_sweep(tmp_path), folder)
    assert facts(folder) == undisturbed


def test_more_trials_are_added_to_a_finished_sweep(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    folder = tmp_path / "small"
    assert run_quietly(small_sweep(tmp_path, "search.trials=3"), folder)
    first = facts(folder)["trials"]
    opened = {n for event in record.read(folder).members for n in event.opened}
    assert run_quietly(small_sweep(tmp_path, "search.trials=5"), folder)
    assert facts(folder)["trials"] == undisturbed["trials"]
    assert facts(folder)["trials"][:3] == first
    assert facts(folder)["members"] == undisturbed["members"]
    events = record.read(folder).members
    assert len(events) == len({tuple(event.trials) for event in events})
    later = [n for event in events[1:] for n in event.opened]
    assert not opened & set(later), "a later extension reads test only for new members"


def test_a_finished_sweep_run_again_does_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    sweep = small_sweep(tmp_path, "search.trials=2")
    assert run_quietly(sweep, folder)
    journal = (folder / record.JOURNAL).read_bytes()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.p*t")}
    assert run_quietly(sweep, folder)
    assert (folder / record.JOURNAL).read_bytes() == journal
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.p*t")} == written


def test_a_changed_space_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    assert run_quietly(small_sweep(tmp_path, "search.trials=1"), folder)
    changed = small_sweep(tmp_path, "search.trials=1", "trial.schedule.epochs=4")
    with pytest.raises(UserError, match=r"schedule.epochs.*3.*4.*--fresh"):
        run_quietly(changed, folder)
    assert len(record.read(folder).trials) == 1


@pytest.fixture
def broken_defense() -> Iterator[None]:
    """A defense with a bug, as a user's plug-in may have one, and one whose loss is not a number."""

    @registry.register
    class Buggy(Natural):
        name: Literal["buggy"] = "buggy"  # type: ignore[assignment]
        calls: ClassVar[int] = 0

        def loss(self, step: Step, x_adv: torch.Tensor) -> Loss:
            type(self).calls += 1
            raise KeyError("no such layer")

    @registry.register
    class Unbounded(Natural):
        name: Literal["unbounded"] = "unbounded"  # type: ignore[assignment]

        def loss(self, step: Step, x_adv: torch.Tensor) -> Loss:
            return Loss(clean=step.logits(x_adv).sum() * float("nan"))

    from robustray.trial import TrialConfig

    TrialConfig.model_rebuild(force=True)
    yield
    for name in ("buggy", "unbounded"):
        del registry._PARTS["defense"][name]
    TrialConfig.model_rebuild(force=True)


@pytest.mark.usefixtures("broken_defense")
def test_a_bug_ends_a_trial_once_and_nan_diverges_and_the_sweep_goes_on(tmp_path: Path) -> None:
    text = SPACE.replace("natural]}", "natural, buggy, unbounded]}")
    folder = tmp_path / "small"
    assert run_quietly(small_sweep(tmp_path, "search.trials=10", "search.seed=1", text=text), folder)
    trials = record.read(folder).trials
    ends = {str(trial.params["defense"]): set[str]() for trial in trials}
    for trial in trials:
        ends[str(trial.params["defense"])].add(f"{trial.outcome}: {trial.cause}")
    assert ends["buggy"] == {"failed: KeyError: 'no such layer'"}
    assert ends["unbounded"] == {"diverged: the loss of epoch 1 is nan"}
    assert ends["natural"] == {"complete: None"}
    buggy = [trial.number for trial in trials if trial.params["defense"] == "buggy"]
    assert registry.parts("defense")["buggy"].calls == len(buggy), "a deterministic exception is not tried again"  # type: ignore[attr-defined]
    log = (folder / "trials" / f"{buggy[0]:04d}" / "log.txt").read_text()
    assert "Traceback" in log
    assert "no such layer" in log


def test_a_process_that_keeps_dying_at_one_place_is_given_up(tmp_path: Path) -> None:
    """Ray Tune retries without limit; the trial's own folder counts."""
    sweep = small_sweep(tmp_path)
    folder = tmp_path / "0000"
    folder.mkdir()
    (folder / "trial.yaml").write_text(sweep.trial_config({"defense": "natural", "schedule.lr": 0.1}).to_yaml())
    work = {"kind": "train", "folder": str(folder), "threads": 1, "session": "one", "max_failures": 2}

    def opened(session: str = "one") -> TrainTask:
        """A process that dies in its first step, after it has opened the trial."""
        task = TrainTask(work | {"session": session})
        assert task._count_attempt() >= 0
        return task

    for _ in range(3):
        opened()
    refused = TrainTask(work).step()
    assert refused["outcome"] == "failed"
    assert "died 3 times" in refused["cause"]
    report = TrainTask(work | {"session": "two"}).step()  # another life of the driver: its deaths are its own
    assert report["epoch"] == 1
    assert TrainTask(work).step()["epoch"] == 1  # there is progress, and the last report is said again


def test_constraints_make_trials_infeasible_and_keep_them_off_the_frontier(tmp_path: Path) -> None:
    text = SPACE + "constraints: {clean_accuracy: {min: 0.99}}\n"
    folder = tmp_path / "small"
    assert run_quietly(small_sweep(tmp_path, "search.trials=3", text=text), folder)
    snapshot = record.read(folder)
    assert {(trial.outcome, trial.feasible) for trial in snapshot.trials} == {("complete", False)}
    assert not snapshot.judged
    assert [event.trials for event in snapshot.members] == [[]]
