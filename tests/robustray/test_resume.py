"""Training that was interrupted, anywhere, ends as if it had not been."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustray.defenses import Defense
from robustray.errors import Paused, UserError
from robustray.training import Trainer, checkpoints
from robustray.trial import TrialConfig
from tests.robustray.combinations import covering
from tests.robustray.made import every, made, same, state, trial

STEPS = 6


def after(trainer: Trainer, step: int, do: Callable[[], None]) -> Trainer:
    """Calls `do` after the trainer's optimiser step number `step`, counted from 1 as it was made."""
    train, count = trainer.train_step, itertools.count(1)

    def counted(rows: Tensor) -> None:
        train(rows)
        if next(count) == step:
            do()

    trainer.train_step = counted  # type: ignore[method-assign]
    return trainer


CLOCK = ("cost_seconds", "cost_device_hours", "seconds")


def identical(left: Any, right: Any, where: str) -> None:
    """Bit for bit, whatever is in it, but for the clock."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left.keys() - set(CLOCK):
            identical(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            identical(one, other, f"{where}.{number}")
    elif isinstance(left, Tensor):
        assert left.dtype == right.dtype, where
        assert torch.equal(left, right), where
    else:
        assert left == right, where


def ends_alike(a: Trainer, b: Trainer) -> None:
    """Everything a checkpoint holds: weights, average, optimiser, update, generators, history and report."""
    left, right = (checkpoints.load(trainer.folder / "last.pt") for trainer in (a, b))
    assert left["optimiser"]["state"]
    assert left["report"]["weights"]
    identical(left, right, "last.pt")


@every("defense")
def test_stopped_after_every_step(cls: type[Defense], tmp_path: Path) -> None:
    """With dropout, augmentation, averaging and a random attack in play."""
    stopped_after_every_step(trial(defense=made(cls)), tmp_path)


@pytest.mark.parametrize(
    "options", [{"checkpoints": {"select": "best_robust"}}, {"precision": "bf16", "averaging": "none"}]
)
def test_stopped_after_every_step_otherwise(options: dict[str, Any], tmp_path: Path) -> None:
    stopped_after_every_step(trial(**options), tmp_path)


@pytest.mark.usefixtures("extra_images")
@covering()
def test_stopped_in_the_middle(options: dict[str, Any], tmp_path: Path) -> None:
    """Every registered part of every kind has its turn, inside an epoch and between two."""
    config = trial(**options)
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    for step in (2, 3):
        first = Trainer(config, tmp_path / str(step), device="cpu")
        with pytest.raises(Paused):
            after(first, step, first.stop.set).run()
        torch.rand(step)
        second = Trainer(config, tmp_path / str(step), device="cpu")
        second.run()
        assert second.exact
        ends_alike(second, whole)


def stopped_after_every_step(config: TrialConfig, tmp_path: Path) -> None:
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    assert whole.steps_per_epoch * whole.epochs == STEPS
    for step in range(1, STEPS + 1):  # the last of an epoch is followed by validation, which is left to the next life
        folder = tmp_path / str(step)
        first = Trainer(config, folder, device="cpu")
        world = torch.get_rng_state()
        with pytest.raises(Paused):
            after(first, step, first.stop.set).run()
        assert torch.equal(torch.get_rng_state(), world)
        torch.rand(step)  # the next process finds the world elsewhere
        second = Trainer(config, folder, device="cpu")
        assert (second.completed, second.progress.batch_in_epoch) == (first.completed, first.progress.batch_in_epoch)
        second.run()
        assert second.exact
        ends_alike(second, whole)
        assert same(state(second.model), state(whole.model))


def test_stopped_after_each_step_in_turn(tmp_path: Path) -> None:
    whole = Trainer(trial(), tmp_path / "whole", device="cpu")
    whole.run()
    for number in range(STEPS + 1):
        trainer = Trainer(trial(), tmp_path / "parts", device="cpu")
        try:
            after(trainer, 1, trainer.stop.set).run()
            break
        except Paused:
            assert number < STEPS
    assert number > 2
    ends_alike(trainer, whole)


@pytest.mark.parametrize("minutes", [10, 1e-9])
def test_killed_after_every_step(minutes: float, tmp_path: Path) -> None:
    """Without warning: it goes on from the last checkpoint, of the epoch or of the clock, to the same end."""
    config = trial(checkpoints={"minutes": minutes})
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()

    def kill() -> None:
        raise KeyboardInterrupt

    for step in range(1, STEPS + 1):
        folder = tmp_path / str(step)
        with pytest.raises(KeyboardInterrupt):
            after(Trainer(config, folder, device="cpu"), step, kill).run()
        again = Trainer(config, folder, device="cpu")
        done = again.completed * again.steps_per_epoch + again.progress.batch_in_epoch
        assert done == (step - 1 if minutes < 1 else (step - 1) // 3 * 3)
        again.run()
        ends_alike(again, whole)


def test_a_failed_write_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full at the end of epoch 1, and again at the end of epoch 2."""
    whole = Trainer(trial(), tmp_path / "whole", device="cpu")
    whole.run()
    save = checkpoints.save

    def full(path: Path, state: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    for _ in range(2):
        trainer = Trainer(trial(), tmp_path / "full", device="cpu")
        monkeypatch.setattr(checkpoints, "save", full)
        with pytest.raises(OSError, match="No space"):
            trainer.epoch()
        monkeypatch.setattr(checkpoints, "save", save)
        trainer = Trainer(trial(), tmp_path / "full", device="cpu")
        trainer.epoch()
    ends_alike(trainer, whole)


def test_a_damaged_checkpoint_gives_way_and_stays_out_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = trial(schedule={"epochs": 3, "lr": 0.1})
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    folder = tmp_path / "damaged"
    trainer = Trainer(config, folder, device="cpu")
    trainer.epoch()
    trainer.epoch()
    last = folder / "last.pt"
    last.write_bytes(last.read_bytes()[:-100])
    again = Trainer(config, folder, device="cpu")
    assert "last.pt" in caplog.text
    assert again.completed == 1
    again.epoch()
    assert checkpoints.load(folder / "previous.pt")["completed"] == 1  # not what was damaged
    again.run()
    ends_alike(again, whole)


@pytest.mark.parametrize("select", ["last", "best_robust"])
def test_a_finished_trial_whose_last_checkpoint_is_damaged_ends_alike_again(select: str, tmp_path: Path) -> None:
    """From the checkpoint before it, twice over: as it is after the last epoch, and inside it."""
    for minutes in (10, 1e-9):
        config, folder = trial(checkpoints={"select": select, "minutes": minutes}), tmp_path / str(minutes)
        folder.mkdir()
        whole = Trainer(config, folder / "whole", device="cpu")
        whole.run()
        Trainer(config, folder / "damaged", device="cpu").run()
        (folder / "damaged" / "last.pt").write_bytes(b"damaged")
        again = Trainer(config, folder / "damaged", device="cpu")
        assert (again.done, again.completed, again.progress.batch_in_epoch) == (False, 1, 2 if minutes < 1 else 0)
        again.run()
        assert again.exact
        ends_alike(again, whole)


@pytest.mark.usefixtures("extra_images")
@covering()
def test_a_training_that_stops_after_an_epoch_is_gone_on_with(options: dict[str, Any], tmp_path: Path) -> None:
    """As if it had never stopped, whichever parts take part; another trainer does so, of the same folder."""
    config = trial(**options, checkpoints={"select": "best_robust"})
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    first = Trainer(config, tmp_path / "parts", device="cpu")
    report = first.run(until=1)
    assert (report["epoch"], report["done"], "outcome" in report) == (1, False, False)
    assert first.run(until=1) == report  # there is nothing to do
    worth = first.standing()
    torch.rand(3)
    second = Trainer(config, tmp_path / "parts", device="cpu")
    assert second.report == report
    assert second.standing() == worth  # and looking changes nothing of what follows
    assert second.run(until=7)["done"]
    assert second.exact
    ends_alike(second, whole)


@pytest.mark.parametrize("until", [0, -1])
def test_a_training_stops_after_an_epoch_that_there_is(until: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from 1"):
        Trainer(trial(), tmp_path, device="cpu").run(until=until)


def test_nothing_whole_is_a_new_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "last.pt").write_bytes(b"damaged")
    trainer = Trainer(trial(), tmp_path, device="cpu")
    assert trainer.completed == 0
    assert "last.pt" in caplog.text
    trainer.run()
    assert checkpoints.load(tmp_path / "last.pt")["completed"] == 2


def test_a_finished_trial_stays_finished(tmp_path: Path) -> None:
    first = Trainer(trial(), tmp_path, device="cpu")
    report = first.run()
    before = (tmp_path / "last.pt").read_bytes()
    again = Trainer(trial(), tmp_path, device="cpu")
    assert again.done
    assert again.report == report
    assert again.run() == report
    assert (tmp_path / "last.pt").read_bytes() == before


def test_the_last_report_is_there_again(tmp_path: Path) -> None:
    trainer = Trainer(trial(), tmp_path, device="cpu")
    assert trainer.report is None
    report = trainer.epoch()
    with pytest.raises(Paused):
        after(trainer, 1, trainer.stop.set).epoch()
    assert Trainer(trial(), tmp_path, device="cpu").report == report


def test_seconds_add_up(tmp_path: Path) -> None:
    """The costs of every part of an interrupted trial are paid."""
    first = Trainer(trial(), tmp_path, device="cpu")
    with pytest.raises(Paused):
        after(first, 2, first.stop.set).run()
    second = Trainer(trial(), tmp_path, device="cpu")
    assert second.progress.seconds == first.progress.seconds > 0
    assert second.run()["cost_seconds"] > first.progress.seconds


@pytest.mark.parametrize("step", [3, 4])
def test_other_threads_are_not_exact(step: int, tmp_path: Path) -> None:
    first = Trainer(trial(), tmp_path, device="cpu", threads=1)
    with pytest.raises(Paused):
        after(first, step, first.stop.set).run()
    assert Trainer(trial(), tmp_path, device="cpu", threads=1).exact
    second = Trainer(trial(), tmp_path, device="cpu", threads=2)
    assert not second.exact
    second.epoch()
    third = Trainer(trial(), tmp_path, device="cpu", threads=2)  # once inexact, for good
    assert third.report is not None
    assert third.report["exact"] is False
    assert third.exact is False


def test_reading_a_finished_trial_elsewhere_keeps_it_exact(tmp_path: Path) -> None:
    Trainer(trial(), tmp_path, device="cpu", threads=1).run()
    assert Trainer(trial(), tmp_path, device="cpu", threads=2).exact


def other_options() -> list[Any]:
    changes: dict[str, dict[str, Any]] = {
        "seed": {"seed": 1},
        "defense": {"defense": {"name": "trades", "beta": 3}},
        "epochs": {"schedule": {"epochs": 3, "lr": 0.2}},
        "attack": {"attack": {"steps": 3}},
        "threat": {"threat": {"eps": 0.2}},
    }
    return [pytest.param(trial(**change), id=name) for name, change in changes.items()]


@pytest.mark.parametrize("config", other_options())
def test_another_trials_folder(config: TrialConfig, tmp_path: Path) -> None:
    Trainer(trial(), tmp_path, device="cpu").epoch()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match="other options"):
        Trainer(config, tmp_path, device="cpu")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_defaults_written_out_are_the_same_options(tmp_path: Path) -> None:
    Trainer(trial(), tmp_path, device="cpu").epoch()
    assert Trainer(trial().resolved(), tmp_path, device="cpu").completed == 1
