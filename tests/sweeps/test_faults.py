"""Killed, broken, damaged: the same command goes on, and nothing is lost, doubled or renumbered."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
import yaml

import sweeps
from robustray import registry
from robustray.defenses.natural import Natural
from robustray.defenses.step import Loss, Step
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.training import checkpoints
from robustray.training.trainer import Trainer
from sweeps import record
from sweeps.record.lock import FolderLock
from sweeps.running.tasks.train import TrainTask
from sweeps.space import Sweep
from tests.faults import sabotage
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
    """Of a trial that is not done: what a finished one left is its result, and judging says that it was changed."""
    try:
        undone = [trial.number for trial in record.read(folder).trials if trial.outcome is None]
    except UserError:  # killed before there was a record
        return
    there = [path for number in undone if (path := folder / "trials" / f"{number:04d}" / "last.pt").exists()]
    there.sort(key=lambda path: path.stat().st_mtime)
    if there and (there[-1].parent / "previous.pt").exists():
        content = bytearray(there[-1].read_bytes())
        content[chance.randrange(len(content))] ^= 0xFF
        there[-1].write_bytes(content)


@pytest.mark.faults
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


@pytest.mark.faults
def test_halving_killed_at_random_moments_decides_as_the_undisturbed_one(tmp_path: Path) -> None:
    """Which trials begin, wait, go on and are stopped, and what they measured, in every process that takes them up. (A race
    looks at seconds, too, which are others every time.)
    """
    text = SPACE.replace("trials: 5", "trials: 4") + "stopping: {name: pareto_halving, rungs: [1, 2], eta: 2}\n"
    assert run_quietly(small_sweep(tmp_path / "undisturbed", text=text), tmp_path / "undisturbed" / "small")
    small_sweep(tmp_path, text=text)
    assert _killed_until_done(tmp_path / "small.yaml", tmp_path / "small", random.Random("halving"), damage=True) >= 3
    assert facts(tmp_path / "small") == facts(tmp_path / "undisturbed" / "small")
    both = [record.read(folder / "small").trials for folder in (tmp_path, tmp_path / "undisturbed")]
    ours, theirs = ([(t.sent, [(r.index, r.epoch, r.order) for r in t.rungs]) for t in trials] for trials in both)
    assert ours == theirs
    assert {trial.outcome for trial in both[0]} == {"complete", "stopped"}


@pytest.mark.e2e
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


def test_a_default_that_changed_is_refused_and_an_option_that_is_new_is_not(tmp_path: Path) -> None:
    """As a folder of another version has it: another number where the space says none, or no number at all."""
    folder = tmp_path / "small"
    sweep = small_sweep(tmp_path, "search.trials=1", "judge.trials=none", "trial.schedule.epochs=1")
    assert run_quietly(sweep, folder)
    path = folder / "trials" / "0000" / "trial.yaml"
    described = yaml.safe_load(path.read_text())
    del described["batch"]["label_noise"], described["checkpoints"]["minutes"]
    path.write_text(yaml.safe_dump(described))
    assert run_quietly(sweep, folder)
    described["optimiser"]["weight_decay"] = 0.125
    path.write_text(yaml.safe_dump(described))
    with pytest.raises(
        UserError, match=r"trial.optimiser.weight_decay: 0.125 -> 0.0005 in trial 0000, a default .*--fresh"
    ):
        run_quietly(sweep, folder)


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


@pytest.mark.parametrize("steps", [(0,), (13,), (8, 12), (26,)], ids=str)
def test_an_epoch_that_is_not_finite_is_trained_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...]
) -> None:
    """A weight that a device spoilt leaves no trace, in the last step of an epoch neither, whose loss is finite; one that the
    trial itself spoils ends it.
    """
    sweep = small_sweep(tmp_path)
    params = {"defense": "natural", "schedule.lr": 0.1}
    weights, kept = [], []
    for kind in ("none", "nan", "nan for ever"):
        folder = tmp_path / kind.replace(" ", "-") / "0000"
        folder.mkdir(parents=True)
        (folder / "trial.yaml").write_text(sweep.trial_config(params).to_yaml())
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "train_step", Trainer.train_step)  # put back afterwards
            for step in () if kind == "none" else steps:
                sabotage.install(sabotage.Plan(kind, 0, step, folder / f"happened-{step}"))  # type: ignore[arg-type]
            task = TrainTask({"folder": str(folder), "session": "one", "max_failures": 1, "cpus": 1, "gpus": 0})
            while not (report := task.step())["done"]:
                pass
        weights.append(report.get("weights"))
        if kind != "nan for ever":
            state = checkpoints.load(folder / "last.pt")
            kept.append([checkpoints.weights_hash(state[part]) for part in ("model", "average", "optimiser")])
            assert all((folder / f"happened-{step}").exists() for step in steps if kind == "nan")
    assert weights[0] is not None
    assert weights[:2] == [weights[0], weights[0]]
    assert kept == [kept[0], kept[0]]
    epoch, last = 1 + steps[0] // sabotage.STEPS, (steps[0] + 1) % sabotage.STEPS == 0
    cause = f"epoch {epoch}: the loss or a weight is not finite" if last else f"the loss of epoch {epoch} is nan"
    assert (report["outcome"], report["cause"]) == ("diverged", cause)


def test_a_process_that_keeps_dying_at_one_place_is_given_up(tmp_path: Path) -> None:
    """Ray Tune retries without limit; the trial's own folder counts."""
    sweep = small_sweep(tmp_path)
    folder = tmp_path / "0000"
    folder.mkdir()
    (folder / "trial.yaml").write_text(sweep.trial_config({"defense": "natural", "schedule.lr": 0.1}).to_yaml())
    work = {"kind": "train", "folder": str(folder), "cpus": 1.0, "gpus": 0.0, "session": "one", "max_failures": 2}

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


def test_fresh_does_not_pull_the_folder_from_under_a_running_driver(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "search.trials=1")
    folder = tmp_path / "small"
    assert run_quietly(sweep, folder)
    about = (folder / "sweep.yaml").read_text()
    more = small_sweep(tmp_path, "search.trials=2")
    with FolderLock(folder):
        for fresh in (False, True):
            with pytest.raises(UserError, match="another driver"):
                sweeps.run(more, folder, "local", fresh=fresh, write=lambda line: None)
    assert (folder / "sweep.yaml").read_text() == about
    assert [path.name for path in tmp_path.glob("small*")] == ["small", "small.yaml"] or folder.exists()
    assert len(record.read(folder).trials) == 1


def _npz(folder: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 6, 6), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(folder / f"{name}.npz", images=pixels, labels=np.arange(60) % 5)


def _on_files(folder: Path, *overrides: str) -> Sweep:
    data = f"{{name: npz, train: {folder}/train.npz, test: {folder}/test.npz, validation: 20}}"
    text = SPACE.replace("{name: digits, validation: 400}", data).replace("size: 100", "size: 20")
    text = text.replace("{validation: 60, test: 80}", "{validation: 20, test: 20}")
    return small_sweep(folder, "search.trials=1", *overrides, text=text)


def test_other_images_under_the_same_name_are_refused(tmp_path: Path) -> None:
    _npz(tmp_path, 0)
    folder = tmp_path / "small"
    assert run_quietly(_on_files(tmp_path), folder)
    _npz(tmp_path, 1)
    with pytest.raises(UserError, match="the images are others than before"):
        run_quietly(_on_files(tmp_path, "search.trials=2"), folder)
    assert len(record.read(folder).trials) == 1


@pytest.mark.parametrize(
    ("spoil", "overrides", "said"),
    [
        ("test.npz", [], "test.npz: no such file"),
        ("train.npz", [], "train.npz: no such file"),
        ("", ["trial.batch.size=41"], "batch.size is 41, but there are only 40"),
    ],
)
def test_what_would_stop_every_trial_is_found_before_anything_is_written(
    tmp_path: Path, spoil: str, overrides: list[str], said: str
) -> None:
    _npz(tmp_path, 0)
    sweep = _on_files(tmp_path, *overrides)
    if spoil:
        (tmp_path / spoil).unlink()
    with pytest.raises(UserError, match=said):
        run_quietly(sweep, tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_attacks_that_compare_more_classes_than_there_are_are_refused(tmp_path: Path) -> None:
    _npz(tmp_path, 0)
    for name in ("train", "test"):
        with np.load(tmp_path / f"{name}.npz") as arrays:
            np.savez(tmp_path / f"{name}.npz", images=arrays["images"], labels=arrays["labels"] % 3)
    with pytest.raises(UserError, match="apgd-t compares 4 classes, but npz has 3"):
        run_quietly(_on_files(tmp_path, "judge.version=standard"), tmp_path / "small")


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_images_that_an_attack_cannot_begin_on_are_refused(norm: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 12, 12), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=np.arange(60) % 5)
    with pytest.raises(UserError, match=f"judge.version: square in {norm} .* 12 x 12 pixels; list other attacks"):
        run_quietly(
            _on_files(tmp_path, "judge.version=standard", f"judge.threat={{norm: {norm}, eps: 0.5}}"),
            tmp_path / "small",
        )
    assert not (tmp_path / "small").exists()


def test_a_full_disk_stops_the_sweep_and_fails_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustray.training import checkpoints

    folder = tmp_path / "small"
    sweep = small_sweep(tmp_path, "search.trials=3", "disk.wait=null")
    calls = [0]

    def full(path: Path, content: bytes | str) -> None:
        calls[0] += 1
        if calls[0] > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(checkpoints, "write_whole", full)
    with pytest.raises(UserError, match="no space left"):
        run_quietly(sweep, folder)
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete", None]
    monkeypatch.undo()
    assert run_quietly(sweep, folder)
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete"] * 3


def test_a_journal_damaged_in_its_middle_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    sweep = small_sweep(tmp_path, "search.trials=1")
    assert run_quietly(sweep, folder)
    journal = folder / record.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"]damaged[\n", *lines[4:]]))
    with pytest.raises(UserError, match=r"line 4 is no JSON; python -m sweeps repair .* keeps what comes before it"):
        run_quietly(sweep, folder)


def test_a_sweep_in_which_nothing_completes_names_the_cause(tmp_path: Path) -> None:
    said: list[str] = []
    text = SPACE.replace("lr: {loguniform: [0.05, 0.5]}", "lr: 1.0e30")
    sweep = small_sweep(tmp_path, "search.trials=2", text=text)
    assert sweeps.run(sweep, tmp_path / "small", "local", write=said.append)
    assert "no trial completed; 2 times: " in said[-1]
    assert "log.txt" in said[-1]
