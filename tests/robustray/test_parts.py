"""Gradients gathered over parts of a batch: those of the whole where images do not meet, and of the parts' mean always."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.defenses import Defense, Rst
from robustray.defenses.step import Step
from robustray.errors import Paused
from robustray.models.heads import ClassLogits
from robustray.testing.minibatch import slopes
from robustray.training import Trainer, Update, checkpoints
from robustray.training.parts import Parts
from robustray.training.passes import per_batch
from tests.robustray.made import batch, every, generator, made, same, trial

THREAT = Threat(eps=0.1)
MEETING = {"self_supervised"}
"""Defenses whose images meet: it turns half of each part, and not half of the batch."""


def plain(defense: Defense, dropout: float = 0.0) -> nn.Sequential:
    """A network without batch norm, in float64."""
    torch.manual_seed(0)
    head = [ClassLogits(5)] if defense.aux_outputs else []
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.Softplus(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(64, 5 + defense.aux_outputs),
        *head,
    ).double()


def step_of(model: nn.Module, defense: Defense, n: int = 12) -> Step:
    x, y = batch(n)
    return Step(model, x, y, defense.published_attack.bind(THREAT), generator=generator())


def nearby(x: Tensor) -> Tensor:
    return (x + 0.05 * torch.sin(37 * x)).clamp(0, 1)


def gradient(model: nn.Module, parts: Parts) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the weights, and the parts of the loss, at images that are a function of the batch's."""
    model.zero_grad()
    loss = parts.backward(nearby(parts.x))
    return slopes(model), {name: value.detach() for name, value in loss.parts.items()}


@pytest.mark.parametrize("k", [2, 3, 6])
@every("defense")
def test_the_gradient_of_the_whole_batch(cls: type[Defense], k: int) -> None:
    defense = made(cls)
    if defense.name in MEETING:
        pytest.skip("its images meet")
    model = plain(defense)
    step = step_of(model, defense)
    whole, parts = (gradient(model, Parts(defense, step, count)) for count in (1, k))
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3])
@every("defense")
def test_the_mean_of_the_gradients_of_the_parts(cls: type[Defense], k: int) -> None:
    """Each part is a batch of its own, with its own draws in the same order; for defenses of every kind."""
    defense = made(cls)
    model = plain(defense)
    step = step_of(model, defense)
    found = gradient(model, Parts(defense, step, k))
    stream = generator()
    each = [
        Parts(defense, step.part(slice(begin, begin + 12 // k)).but(generator=stream), 1)
        for begin in range(0, 12, 12 // k)
    ]
    alone = [gradient(model, parts) for parts in each]
    for number in (0, 1):
        mean = {name: sum(one[number][name] for one in alone) / k for name in alone[0][number]}
        torch.testing.assert_close(found[number], mean, rtol=1e-10, atol=1e-12)


@every("defense")
def test_the_images_of_the_whole_batch(cls: type[Defense]) -> None:
    """From starts that are given, x' is that of the whole batch; and the gradient to x' is that of the whole loss."""
    defense = made(cls)
    if defense.name in MEETING:
        pytest.skip("its images meet")
    model = plain(defense)
    step = step_of(model, defense)
    if defense.name != "consistency":  # its second views have starts of their own
        start = THREAT.uniform(step.x, generator(3))
        first, second = (Parts(defense, step.but(start=start), count).perturb() for count in (1, 3))
        torch.testing.assert_close(second, first, rtol=0, atol=1e-12)
    slope = []
    for count in (1, 3):
        parts = Parts(defense, step, count)
        x_adv = nearby(parts.x).requires_grad_()
        parts.backward(x_adv)
        slope.append(torch.zeros_like(x_adv) if x_adv.grad is None else x_adv.grad)
    numbers = torch.arange(12.0).view(12, 1, 1, 1)
    numbered = step.but(x=numbers, view=lambda: (numbers, step.attacked))
    parted, whole = (Parts(defense, numbered, count).x.flatten().argsort(stable=True) for count in (3, 1))
    torch.testing.assert_close(slope[1][parted], slope[0][whole], rtol=1e-10, atol=1e-12)


def test_batch_norm_sees_parts() -> None:
    """Statistics are those of a part, and the running ones move once per part."""
    defense = made(Rst)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 5)).double()
    norm = model[0]
    assert isinstance(norm, nn.BatchNorm2d)
    step = step_of(model, defense)
    parts = Parts(defense, step, 3)
    parts.backward(parts.x)
    assert norm.num_batches_tracked == 6  # x' and x of three parts
    expected = torch.zeros(2, dtype=torch.float64)
    for part in torch.split(step.x, 4):
        for _ in range(2):
            expected = 0.9 * expected + 0.1 * part.mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)


def test_weights_that_are_shares_of_a_batch_are_shares_of_a_part() -> None:
    defense = Rst(unlabeled_weight=0.5)
    model = plain(defense)
    pseudo = torch.arange(12) < 3
    step = step_of(model, defense).but(pseudo=pseudo)
    _, whole = gradient(model, Parts(defense, step, 1))
    _, parts = gradient(model, Parts(defense, step, 2))
    losses = step.cross_entropy(model(step.x), "none").detach()
    weights = torch.where(pseudo, 0.5, 1.0)
    torch.testing.assert_close(whole["clean"], (weights * losses).sum() / weights.sum())
    halves = [(weights[rows] * losses[rows]).sum() / weights[rows].sum() for rows in (slice(6), slice(6, 12))]
    torch.testing.assert_close(parts["clean"], sum(halves) / 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@every("update")
def test_training_in_parts(cls: type[Update], precision: str, tmp_path: Path) -> None:
    """With every update: as many passes, all of the batch's images, weights near those of whole batches."""
    ends: list[Trainer] = []
    for parts in (1, 4):
        config = trial(
            update=made(cls),
            precision=precision,
            batch={"size": 400, "accumulate": parts},
            model={"name": "small_cnn", "width": 2},
            schedule={"name": "constant", "epochs": 1, "lr": 0.01},
            averaging="none",
        )
        trainer = Trainer(config, tmp_path / str(parts), device="cpu")
        report = trainer.run()
        assert trainer.progress.batch_passes == per_batch(config)
        assert report["cost_passes"] == trainer.progress.passes
        ends.append(trainer)
    assert ends[0].progress.passes == ends[1].progress.passes
    first, second = (end.history[-1] for end in ends)
    assert first.keys() == second.keys()
    assert second["loss"] == pytest.approx(first["loss"], rel=0.05)


FREE = {"update": {"name": "free", "replays": 2}}
RISING = {
    "schedule": {"name": "cosine", "epochs": 2, "lr": 0.2, "warmup": 1.5},
    "optimiser": {"name": "sgd", "max_norm": 0.5},
}


@pytest.mark.parametrize("select", [{"update": "plain"}, FREE, {"defense": "consistency"}, RISING])
def test_it_goes_on_where_it_stopped(select: dict[str, Any], tmp_path: Path) -> None:
    config = trial(batch={"size": 400, "accumulate": 4, "augment": ["crop", "flip"]}, **select)
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    broken = Trainer(config, tmp_path / "broken", device="cpu")
    with pytest.raises(Paused):
        stopped_after(broken, 2).run()
    Trainer(config, tmp_path / "broken", device="cpu").run()
    left, right = (checkpoints.load(tmp_path / name / "last.pt") for name in ("whole", "broken"))
    assert same(left["model"], right["model"])
    assert left["randomness"].keys() == right["randomness"].keys()


def stopped_after(trainer: Trainer, steps: int) -> Trainer:
    train, done = trainer.train_step, 0

    def counted(rows: Tensor) -> None:
        nonlocal done
        train(rows)
        done += 1
        if done == steps:
            trainer.stop.set()

    trainer.train_step = counted  # type: ignore[method-assign]
    return trainer


def test_one_part_is_the_batch(tmp_path: Path) -> None:
    """What a plain batch does is a training of one part, bit for bit; parts of it are another."""
    ends = {
        parts: Trainer(trial(batch={"size": 400, "accumulate": parts}), tmp_path / str(parts), device="cpu").run()[
            "weights"
        ]
        for parts in (1, 2)
    }
    plain = Trainer(trial(batch={"size": 400}), tmp_path / "plain", device="cpu").run()["weights"]
    assert plain == ends[1] != ends[2]


@every("defense")
def test_passes_are_those_of_the_whole_batch(cls: type[Defense]) -> None:
    whole, parts = (trial(defense=made(cls), batch={"size": 400, "accumulate": count}) for count in (1, 4))
    assert per_batch(parts) == per_batch(whole)


def test_statistics_are_estimated_over_parts(tmp_path: Path) -> None:
    """The batches of an average's batch norm are as large as those that training saw."""
    config = trial(
        batch={"size": 400, "accumulate": 4},
        model={"name": "resnet18", "width": 2},
        averaging={"name": "ema", "decay": 0.9, "buffers": "estimate"},
        schedule={"name": "constant", "epochs": 1, "lr": 0.01},
        defense="natural",
    )
    trainer, seen = Trainer(config, tmp_path, device="cpu"), list[int]()

    def look(batches: Iterable[Tensor], network: nn.Module | None = None) -> None:
        seen.extend(len(x) for x in batches)

    trainer.average.estimate = look  # type: ignore[method-assign]
    trainer.run()
    assert set(seen) == {100}


def test_sizes_are_refused() -> None:
    with pytest.raises(ValidationError, match="must divide size, which is 400, into parts of one size, not 3"):
        trial(batch={"size": 400, "accumulate": 3})
