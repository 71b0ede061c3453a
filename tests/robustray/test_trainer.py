"""One trial's training: what it leaves, what it counts, what it refuses."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray import Loss, Step
from robustray.attacks import Pgd, Threat
from robustray.data import DataSource, Images
from robustray.data.device import DeviceImages
from robustray.defenses import Defense
from robustray.devices import pick_device
from robustray.errors import Diverged, UserError
from robustray.measures.accuracy import Measured, accuracies
from robustray.models.small_cnn import SmallCnn
from robustray.registry import parts
from robustray.subjects import load
from robustray.subjects.trial import load_model
from robustray.training import Trainer, selection
from robustray.training import checkpoints as files
from robustray.training.passes import per_batch
from robustray.trial import TrialConfig
from tests.robustray.combinations import covering
from tests.robustray.made import Passes, every, made, same, state, trial, variants


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def scripted(monkeypatch: pytest.MonkeyPatch, robust: list[float]) -> list[dict[str, Tensor]]:
    """Gives validation these robust accuracies in order, and keeps the weights that were validated."""
    validated: list[dict[str, Tensor]] = []
    left = iter(robust)

    def script(model: nn.Module, images: object, attack: object) -> Measured:
        validated.append(state(model))
        return Measured(0.9, next(left), 0.0)

    monkeypatch.setattr(selection, "measured", script)
    return validated


def best_of_four(**checkpoints: Any) -> TrialConfig:
    return trial(schedule={"epochs": 4, "lr": 0.1}, checkpoints={"select": "best_robust", **checkpoints})


def test_reports(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    trainer = Trainer(trial(), tmp_path, device="cpu")
    last = trainer.run(seen.append)
    assert [report["epoch"] for report in seen] == [1, 2]
    assert [report["training_iteration"] for report in seen] == [1, 2]
    assert [report["done"] for report in seen] == [False, True]
    assert last == seen[-1]
    assert last["outcome"] == "complete"
    assert last["weights"] == files.weights_hash(state(trainer.average.model))
    assert "outcome" not in seen[0]
    assert "weights" not in seen[0]
    for report in seen:
        assert report["epochs"] == 2
        assert report["exact"] is True
        assert 0 <= report["robust_accuracy"] <= report["clean_accuracy"] <= 1
        assert report["loss"] == pytest.approx(report["loss_clean"] + report["loss_robust"], rel=1e-5)
        assert report["cost_device_hours"] == report["cost_seconds"] / 3600


def test_training_learns_and_the_average_is_what_is_validated(tmp_path: Path) -> None:
    config = trial(
        model={"name": "small_cnn", "width": 8},
        batch={"size": 100},
        schedule={"epochs": 4, "lr": 0.2},
        defense="adversarial",
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    report = trainer.run()
    assert report["clean_accuracy"] > 0.7  # chance is 0.1
    assert report["robust_accuracy"] > 0.3
    assert trainer.history[-1]["loss"] < 0.6 * trainer.history[0]["loss"]
    x, y = trainer.selection.images.batch(slice(None))
    assert (trainer.average.model.eval()(x).argmax(1) == y).float().mean().item() == pytest.approx(
        report["clean_accuracy"]
    )


def test_metrics_are_the_history(tmp_path: Path) -> None:
    trainer = Trainer(trial(checkpoints={"validate_every": 2}), tmp_path, device="cpu")
    trainer.run()
    assert len(trainer.history) == 2
    for row, written in zip(trainer.history, rows(tmp_path), strict=True):
        assert {key: float(value) for key, value in written.items() if value} == row
    assert "robust_accuracy" not in trainer.history[0]  # validated every second epoch
    assert "robust_accuracy" in trainer.history[1]


def test_the_last_epoch_is_always_validated(tmp_path: Path) -> None:
    report = Trainer(trial(checkpoints={"validate_every": 50}), tmp_path, device="cpu").run()
    assert "robust_accuracy" in report


def test_metrics_have_no_rows_from_the_future(tmp_path: Path) -> None:
    trainer = Trainer(trial(schedule={"epochs": 3}), tmp_path, device="cpu")
    trainer.epoch()
    path = tmp_path / "metrics.csv"
    path.write_text(path.read_text() + "2.0" + ",9" * 7 + "\n3.0" + ",9" * 7 + "\n")
    trainer = Trainer(trial(schedule={"epochs": 3}), tmp_path, device="cpu")
    trainer.epoch()
    assert [row["epoch"] for row in rows(tmp_path)] == ["1.0", "2.0"]
    assert "9" not in rows(tmp_path)[1].values()


def test_rates_follow_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = trial()
    trainer = Trainer(config, tmp_path, device="cpu")
    used: list[float] = []
    step = trainer.optimiser.step

    def spy() -> None:
        used.append(trainer.optimiser.param_groups[0]["lr"])
        step()

    monkeypatch.setattr(trainer.optimiser, "step", spy)
    trainer.run()
    total = 2 * trainer.steps_per_epoch
    assert trainer.steps_per_epoch == 3
    assert used == [config.schedule.lr * config.schedule.factor(step, total) for step in range(total)]
    assert trainer.history[-1]["lr"] == used[-1]


def test_each_epoch_sees_each_image_at_most_once_in_a_new_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(trial(), tmp_path, device="cpu")
    seen: list[list[int]] = []
    step = trainer.train_step

    def spy(batch: Tensor) -> None:
        seen.append(batch.tolist())
        step(batch)

    monkeypatch.setattr(trainer, "train_step", spy)
    trainer.run()
    assert [len(batch) for batch in seen] == [400] * 6
    epochs = [[row for batch in seen[begin : begin + 3] for row in batch] for begin in (0, 3)]
    assert all(len(set(epoch)) == len(epoch) and max(epoch) < len(trainer.batches.images) for epoch in epochs)
    assert epochs[0] != epochs[1]


@every("defense")
@pytest.mark.parametrize("averaging", ["ema", "none"])
def test_counted_passes_are_true(cls: type[Defense], averaging: str, tmp_path: Path) -> None:
    """Counted by hooks on the model and its average, validation and a guard's looks included."""
    defense = made(cls)
    config = trial(defense=defense, averaging=averaging)
    trainer = Trainer(config, tmp_path, device="cpu")
    counted = {id(model): Passes(model) for model in (trainer.model, trainer.average.model)}
    report = trainer.run()
    guard = 0 if trainer.guard is None else trainer.guard.passes
    expected = 2 * (3 * per_batch(config) + guard + 40 * (2 + config.judge.cheap.passes))
    assert report["cost_passes"] == expected
    assert sum(passes.images for passes in counted.values()) == expected


def watched(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A trainer none of whose steps may read a number off the device."""
    train = trainer.train_step

    def read(self: Tensor, *_: object) -> object:
        raise AssertionError("a step read a tensor's value")

    def step(batch: Tensor) -> None:
        with monkeypatch.context() as watch:
            for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__"):
                watch.setattr(torch.Tensor, name, read)
            train(batch)

    monkeypatch.setattr(trainer, "train_step", step)
    return trainer


@variants("defense", "defense")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_host_waits_for_nothing_inside_an_epoch(
    defense: Any, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU each read would stop the queue."""
    if precision != "fp32" and "float32" in defense.demands:
        pytest.skip("is refused")
    watched(Trainer(trial(defense=defense, precision=precision), tmp_path, device="cpu"), monkeypatch).epoch()


@pytest.mark.usefixtures("extra_images")
@covering()
def test_nor_for_any_other_choice(options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(Trainer(trial(**options), tmp_path, device="cpu"), monkeypatch).epoch()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.usefixtures("extra_images")
@covering()
def test_the_device_itself_sees_no_wait(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(trial(**options), tmp_path, device="cuda")
    train = trainer.train_step

    def step(batch: Tensor) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            train(batch)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    trainer.epoch()  # the first epoch builds what is kept
    monkeypatch.setattr(trainer, "train_step", step)
    trainer.epoch()


def test_the_watch_is_awake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = watched(Trainer(trial(defense="natural"), tmp_path, device="cpu"), monkeypatch)
    update = trainer.average.update
    monkeypatch.setattr(trainer.average, "update", lambda step: update(int(torch.tensor(step))))
    with pytest.raises(AssertionError, match="read a tensor's value"):
        trainer.epoch()


def test_the_global_generator_is_untouched(tmp_path: Path) -> None:
    """And what it holds does not matter: dropout and initialisation draw from the trial's own stream."""
    weights = []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        trainer = Trainer(trial(), tmp_path / str(number), device="cpu")
        trainer.run()
        assert torch.equal(torch.get_rng_state(), before)
        weights.append(state(trainer.model))
    assert same(*weights)


def test_seeds_matter(tmp_path: Path) -> None:
    weights = []
    for seed in range(2):
        trainer = Trainer(trial(seed=seed), tmp_path / str(seed), device="cpu")
        trainer.epoch()
        weights.append(state(trainer.model))
    assert not same(*weights)


def test_the_best_epoch_is_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of equals; its weights in a file of their own, its numbers in the report, earlier files gone."""
    validated = scripted(monkeypatch, [0.1, 0.5, 0.5, 0.3])
    reports: list[dict[str, Any]] = []
    trainer = Trainer(best_of_four(), tmp_path, device="cpu")
    trainer.run(reports.append)
    assert [report["robust_accuracy"] for report in reports] == [0.1, 0.5, 0.5, 0.5]
    assert (tmp_path / "best-0002.pt").exists()
    _, model, found = load_model(tmp_path, "cpu")
    assert same(state(model), validated[1])
    assert not same(state(trainer.average.model), validated[1])
    assert found == reports[-1]["weights"]
    assert [row["robust_accuracy"] for row in rows(tmp_path)] == ["0.1", "0.5", "0.5", "0.3"]
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-0002.pt"]


def test_the_last_epoch_may_be_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validated = scripted(monkeypatch, [0.1, 0.2, 0.3, 0.4])
    report = Trainer(best_of_four(), tmp_path, device="cpu").run()
    assert report["weights"] == files.weights_hash(validated[3])
    assert same(state(load_model(tmp_path, "cpu")[1]), validated[3])


def test_the_best_epoch_survives_the_loss_of_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`previous` names a best epoch too: its file must still be there when `previous` takes over."""
    validated = scripted(monkeypatch, [0.1, 0.5, 0.9])
    trainer = Trainer(best_of_four(), tmp_path, device="cpu")
    for _ in range(3):
        trainer.epoch()
    (tmp_path / "last.pt").write_bytes(b"damaged")
    _, model, _ = load_model(tmp_path, "cpu")
    assert same(state(model), validated[1])

    later = scripted(monkeypatch, [0.2, 0.3])  # going on elsewhere, epoch 3 comes out worse this time
    report = Trainer(best_of_four(), tmp_path, device="cpu").run()
    assert len(later) == 2
    assert report["robust_accuracy"] == 0.5
    assert report["weights"] == files.weights_hash(validated[1])


def test_load_model_of_the_last_epoch(tmp_path: Path) -> None:
    trainer = Trainer(trial(), tmp_path, device="cpu")
    report = trainer.run()
    world = torch.get_rng_state()
    config, model, found = load_model(tmp_path, "cpu")
    assert torch.equal(torch.get_rng_state(), world)
    assert config == trial().resolved()
    assert found == report["weights"]
    assert same(state(model), state(trainer.average.model))
    assert not any(module.training for module in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_load_model_without_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        load_model(tmp_path)
    (tmp_path / "last.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"no checkpoint.*last\.pt"):
        load_model(tmp_path)
    scripted(monkeypatch, [0.5, 0.1, 0.1, 0.1])
    Trainer(best_of_four(), tmp_path / "b", device="cpu").run()
    (tmp_path / "b" / "best-0001.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"best-0001\.pt"):
        load_model(tmp_path / "b")


def big_step() -> TrialConfig:
    """One step at a rate beyond all reason, after which everything is written."""
    return trial(
        batch={"size": 1240},
        schedule={"name": "cosine", "epochs": 1, "lr": 1e30},
        defense="adversarial",
        averaging="none",
    )


def nan_weight(trainer: Trainer) -> None:
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(math.nan)


@pytest.mark.parametrize(
    ("config", "spoil"),
    [
        pytest.param(trial(), nan_weight, id="nan weight"),
        pytest.param(trial(defense="natural"), nan_weight, id="nan weight, no attack"),
        pytest.param(trial(schedule={"lr": 1e12, "epochs": 2}), lambda trainer: None, id="huge rate"),
        pytest.param(big_step(), lambda trainer: None, id="finite loss, then one huge step"),
        pytest.param(
            big_step().model_copy(update={"schedule": big_step().schedule.model_copy(update={"lr": 1e25})}),
            lambda trainer: None,
            id="finite weights whose logits overflow",
        ),
    ],
)
def test_divergence_is_named(config: TrialConfig, spoil: Callable[[Trainer], None], tmp_path: Path) -> None:
    """Never a crash of the attack's, never numbers in the table."""
    world = torch.get_rng_state()
    trainer = Trainer(config, tmp_path, device="cpu")
    spoil(trainer)
    with pytest.raises(Diverged):
        trainer.run()
    assert trainer.report is None
    assert not (tmp_path / "last.pt").exists()
    assert torch.equal(torch.get_rng_state(), world)


def test_a_broken_promise_in_training_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack left the ball: noticed at the epoch's edge, and not called divergence."""
    trainer = Trainer(trial(defense="adversarial"), tmp_path, device="cpu")
    monkeypatch.setattr(type(trainer.attack.threat), "project", lambda self, x_adv, x, rule: x_adv)
    with pytest.raises(RuntimeError, match="pgd left the threat"):
        trainer.epoch()


def test_batches_larger_than_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch\.size is 1241, but there are only 1240"):
        Trainer(trial(batch={"size": 1241}), tmp_path, device="cpu")


def test_validation_counts_every_image_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches that do not divide the list; modes as before; robust only where correct as it is."""
    monkeypatch.setattr("robustray.measures.accuracy.BATCH", 7)
    trainer = Trainer(trial(), tmp_path, device="cpu")
    trainer.run()
    model = trainer.average.model.train()
    clean, robust = accuracies(model, trainer.selection.images, trainer.selection.attack)
    assert all(module.training for module in model.modules())
    x, y = trainer.selection.images.batch(slice(None))
    assert clean == (model.eval()(x).argmax(1) == y).float().mean().item()
    assert robust <= clean
    assert accuracies(model, trainer.selection.images, trainer.selection.attack) == (clean, robust)


def test_an_image_that_is_wrong_as_it_is_is_not_robust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the attack's own image may be classified correctly, by bad luck for the attack."""
    model = nn.Flatten()  # an image of two pixels is its own logits
    images = DeviceImages(
        Images(np.array([[[[9], [0]]], [[[0], [9]]]], np.uint8), np.array([0, 0])), torch.device("cpu")
    )
    attack = Pgd().bind(Threat(eps=1))
    monkeypatch.setattr(Pgd, "run", lambda self, model, x, y, threat, **options: x[:1].expand_as(x))
    assert accuracies(model, images, attack) == (0.5, 0.5)
    monkeypatch.setattr(Pgd, "run", lambda self, model, x, y, threat, **options: x[1:].expand_as(x))
    assert accuracies(model, images, attack) == (0.5, 0.0)


def test_the_average_counts_steps_from_one_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the step, over all epochs: warm-up and decay are the published ones."""
    trainer = Trainer(trial(), tmp_path, device="cpu")
    steps: list[int] = []
    monkeypatch.setattr(trainer.average, "update", steps.append)
    trainer.run()
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bfloat16_trains_and_float32_validates(precision: str, tmp_path: Path) -> None:
    """What is validated is what the judge will see: the average, in float32."""
    trainer = Trainer(trial(precision=precision), tmp_path, device="cpu")
    seen: dict[str, set[torch.dtype]] = {"training": set(), "validation": set()}
    for name, model in (("training", trainer.model), ("validation", trainer.average.model)):
        layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen[name].add(output.dtype))
    trainer.epoch()
    assert seen == {
        "training": {torch.bfloat16 if precision == "bf16" else torch.float32},
        "validation": {torch.float32},
    }
    assert all(weight.dtype == torch.float32 for weight in trainer.model.parameters())


def test_tune_and_judge_images_are_different(tmp_path: Path) -> None:
    trainer = Trainer(trial(), tmp_path, device="cpu")
    config = trial()
    data: DataSource = config.judge.data
    judged = data.load("validation").take(config.judge.lists()[0])
    tuned = {image.numpy().tobytes() for image in trainer.selection.images.batch(slice(None))[0]}
    assert len(tuned) == len(trainer.selection.images) == 40
    assert not tuned & {
        image.numpy().tobytes() for image in DeviceImages(judged, torch.device("cpu")).batch(slice(None))[0]
    }


@pytest.mark.parametrize("device", ["foo", "cuda:77", "mps", ""])
def test_a_device_that_is_not_there_is_a_clear_error(device: str) -> None:
    with pytest.raises(UserError, match="device"):
        pick_device(device)


def test_averages_are_kept_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every so many epochs, whatever is best; each is a checkpoint of its own that `--model` takes."""
    validated = scripted(monkeypatch, [0.4, 0.3, 0.2, 0.1])
    Trainer(best_of_four(every=2), tmp_path, device="cpu").run()
    assert sorted(path.name for path in tmp_path.glob("*-*.pt")) == ["best-0001.pt", "epoch-0002.pt", "epoch-0004.pt"]
    for epoch in (2, 4):
        assert same(files.load(tmp_path / f"epoch-{epoch:04d}.pt")["average"], validated[epoch - 1])
        loaded = load(str(tmp_path / f"epoch-{epoch:04d}.pt"), architecture=None, data=None, norm="linf")
        assert same(state(loaded.model), validated[epoch - 1])


@pytest.mark.parametrize("every", [None, 1])
def test_statistics_are_estimated_where_they_are_used(
    every: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a validation and before an average is kept: once an epoch at most, at one pass per image of the epoch."""

    def network(*_: object) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 36, 10))

    monkeypatch.setattr(SmallCnn, "network", network)
    ema = {"name": "ema", "decay": 0.9, "buffers": "estimate"}
    config = trial(
        averaging=ema, defense="natural", schedule={"epochs": 3}, checkpoints={"validate_every": 2, "every": every}
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    forwards: list[tuple[int, bool]] = []
    trainer.average.model.register_forward_hook(lambda m, x, _: forwards.append((len(x[0]), m[1][1].training)))
    report = trainer.run()
    estimated = sum(images for images, training in forwards if training)
    assert estimated == (2 if every is None else 3) * 3 * 400
    validating = 2 * 40 * (2 + config.judge.cheap.passes)
    assert report["cost_passes"] == 3 * 3 * 400 * 3 + validating + estimated


def seen_labels(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The rows, and the labels that attacks and losses see of them, from here on."""
    rows: list[Tensor] = []
    attacked: list[Tensor] = []
    descended: list[Tensor] = []
    defense = type(trainer.config.defense)
    train, perturb, loss = trainer.train_step, defense.perturb, defense.loss

    def of_step(batch: Tensor) -> None:
        rows.append(batch)
        train(batch)

    def of_attack(self: Defense, step: Step) -> Tensor:
        attacked.append(step.attacked)
        return perturb(self, step)

    def of_loss(self: Defense, step: Step, x_adv: Tensor) -> Loss:
        descended.append(step.targets)
        return loss(self, step, x_adv)

    monkeypatch.setattr(trainer, "train_step", of_step)
    monkeypatch.setattr(defense, "perturb", of_attack)
    monkeypatch.setattr(defense, "loss", of_loss)
    return rows, attacked, descended


def test_only_the_loss_sees_noise_on_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(trial(batch={"size": 1000, "label_noise": 0.5}), tmp_path, device="cpu")
    rows, attacked, descended = seen_labels(trainer, monkeypatch)
    trainer.run()
    assert len(rows) == 2
    for batch, y, targets in zip(rows, attacked, descended, strict=True):
        assert torch.equal(y, trainer.batches.images.batch(batch)[1])
        assert (targets == y).float().mean().item() == pytest.approx(1 - 0.5 * 0.9, abs=0.08)
    assert not torch.equal(descended[0] == attacked[0], descended[1] == attacked[1])


def test_mixed_labels_reach_attack_and_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = {"size": 400, "augment": ["flip", "cutmix"]}
    trainer = Trainer(trial(batch=batch, defense="adversarial"), tmp_path, device="cpu")
    _, attacked, descended = seen_labels(trainer, monkeypatch)
    trainer.run()
    for y, targets in zip(attacked, descended, strict=True):
        assert y.shape == (400, 10)
        assert torch.equal(y, targets)
        torch.testing.assert_close(y.sum(1), torch.ones(400))
        assert (y.amax(1) < 1).float().mean() > 0.5


def test_mixed_labels_need_a_defense_that_takes_them() -> None:
    for name, cls in parts("defense").items():
        options: dict[str, Any] = {"batch": {"size": 400, "augment": ["cutmix"]}, "defense": name}
        assert issubclass(cls, Defense)
        if "hard_labels" not in cls.demands:
            assert trial(**options)
        else:
            with pytest.raises(ValueError, match=f"{name} needs labels of one class, but cutmix"):
                trial(**options)
