"""Each optimiser step of a training: its rate and momentum, the draws and buffers of passes that are not descended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray import Loss, Step
from robustray.defenses import Adversarial
from robustray.training import Trainer, Update
from robustray.training.randomness import Randomness
from tests.robustray.made import JUDGE, every, made, same, state, trial

CPU = torch.device("cpu")


def stepped(trainer: Trainer) -> list[tuple[float, float]]:
    """Rate and momentum of every optimiser step of a training, run to its end."""
    used: list[tuple[float, float]] = []

    def note(optimiser: torch.optim.Optimizer, *_: object) -> None:
        used.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["momentum"]))

    trainer.optimiser.register_step_pre_hook(note)
    trainer.run()
    return used


SCHEDULES: list[dict[str, Any]] = [
    {"name": "one_cycle", "momentum_swing": 0.05},
    {"name": "cosine"},
    {"name": "cyclic", "cycles": 2},
    {"name": "multi_step", "milestones": (0.3, 0.5)},
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["name"])
@pytest.mark.parametrize("replays", [1, 2, 5])
def test_a_schedule_spans_every_replay_of_every_batch(replays: int, schedule: dict[str, Any], tmp_path: Path) -> None:
    """Two epochs of three batches, each in `replays` steps: as many points of the schedule, from its first to its last."""
    config = trial(
        update={"name": "free", "replays": replays},
        defense="adversarial",
        attack=None,
        schedule=schedule | {"epochs": 2, "lr": 0.2},
    )
    total = 2 * 3 * replays
    rule = config.schedule
    assert stepped(Trainer(config, tmp_path, device="cpu")) == [
        (0.2 * rule.factor(step, total), 0.9 + rule.momentum_shift(step, total)) for step in range(total)
    ]


def test_rates_under_replays_by_their_numbers(tmp_path: Path) -> None:
    """Twelve steps that drop after a third of them, in the middle of the second batch of the first epoch, and after half."""
    config = trial(
        update={"name": "free", "replays": 2},
        defense="adversarial",
        attack=None,
        schedule={"name": "multi_step", "epochs": 2, "lr": 0.5, "milestones": (0.25, 0.5), "drop": 0.5},
    )
    rates = [rate for rate, _ in stepped(Trainer(config, tmp_path, device="cpu"))]
    assert rates == [0.5] * 3 + [0.25] * 3 + [0.125] * 6


@every("update")
def test_every_update_reaches_the_end_of_the_schedule(cls: type[Update], tmp_path: Path) -> None:
    """However many passes it takes: one step per batch and descent, at the rates of a schedule of as many steps."""
    update = made(cls)
    attack = {"attack": None} if update.own_attack else {}
    config = trial(update=update, defense="adversarial", **attack)
    total = 2 * 3 * update.descents
    rates = [rate for rate, _ in stepped(Trainer(config, tmp_path, device="cpu"))]
    assert rates == [0.2 * config.schedule.factor(step, total) for step in range(total)]
    assert rates[-1] == pytest.approx(0.2 / 25 / 1e4)


def test_an_average_counts_replays_and_a_curriculum_batches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = trial(
        update={"name": "free", "replays": 3},
        defense="adversarial",
        attack=None,
        curriculum={"name": "ramps", "eps_scale": {"first": 0.5, "last": 1}},
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    averaged: list[int] = []
    radii: list[float] = []
    update, loss = trainer.average.update, Adversarial.loss

    def count(step: int) -> None:
        averaged.append(step)
        update(step)

    def spy(self: Adversarial, step: Step, x_adv: Tensor) -> Loss:
        radii.append(step.bound.threat.eps)
        assert not step.bound.threat.violated(x_adv, step.x)
        return loss(self, step, x_adv)

    monkeypatch.setattr(trainer.average, "update", count)
    monkeypatch.setattr(Adversarial, "loss", spy)
    trainer.run()
    assert averaged == list(range(1, 19))
    expected = [0.1 * (0.5 + 0.5 * batch / 5) for batch in range(6) for _ in range(3)]
    assert radii == pytest.approx(expected)


# Passes that are not descended


def drawing(monkeypatch: pytest.MonkeyPatch, trainer: Trainer) -> list[dict[str, Tensor]]:
    """Makes the loss draw from every stream that there is; what each of its passes drew."""
    drawn: list[dict[str, Tensor]] = []
    loss = Adversarial.loss

    def spy(self: Adversarial, step: Step, x_adv: Tensor) -> Loss:
        streams = trainer.randomness.streams
        numbers = {name: torch.rand(3, generator=stream) for name, stream in streams.items()}
        drawn.append(numbers | {"global": torch.rand(3)})
        return loss(self, step, x_adv)

    monkeypatch.setattr(Adversarial, "loss", spy)
    return drawn


def drawn(update: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """What each pass of one epoch draws. No dropout: its masks would move the global stream as often as it is passed."""
    config = trial(
        update=update,
        defense="adversarial",
        model={"name": "small_cnn", "width": 2},
        batch={"size": 400, "augment": ["crop", "flip"], "label_noise": 0.2},
        curriculum={"name": "ramps", "eps_scale": None, "rotation": {"first": 5, "last": 9}},
    )
    with monkeypatch.context() as patch:
        trainer = Trainer(config, folder, device="cpu")
        found = drawing(patch, trainer)
        trainer.epoch()
    return found


@pytest.mark.parametrize(
    ("update", "climbs"), [({"name": "awp"}, 1), ({"name": "awp", "steps": 3}, 3), ({"name": "sam"}, 1)]
)
def test_a_climb_and_the_step_after_it_draw_the_same_from_every_stream(
    update: dict[str, Any], climbs: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And what comes after draws as if there had been no climb: as plain training does, batch for batch."""
    plain = drawn({"name": "plain"}, tmp_path / "plain", monkeypatch)
    found = drawn(update, tmp_path / "climbing", monkeypatch)
    assert len(plain) == 3
    assert not same(plain[0], plain[1])
    assert plain[0].keys() >= {"augment", "spatial", "labels", "attack", "update", "global"}
    assert len(found) == 3 * (climbs + 1)
    for number, numbers in enumerate(found):
        expected = plain[number // (climbs + 1)]
        moved = [name for name in expected if not torch.equal(numbers[name], expected[name])]
        assert not moved, f"pass {number} draws otherwise from {moved}"


def test_every_stream_goes_back() -> None:
    randomness = Randomness(0, CPU)
    with randomness.active():
        before = {name: value.clone() for name, value in randomness.state_dict().items()}
        world = torch.get_rng_state()
        with randomness.rolled_back(nn.Identity()):
            for stream in randomness.streams.values():
                torch.rand(5, generator=stream)
            torch.rand(5)
            assert not any(torch.equal(stream.get_state(), before[name]) for name, stream in randomness.streams.items())
        for name, stream in randomness.streams.items():
            assert torch.equal(stream.get_state(), before[name]), name
        assert torch.equal(torch.get_rng_state(), world)


def test_buffers_go_back_whatever_their_type() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).train()
    model.register_buffer("flag", torch.tensor([True, False]))
    model.register_buffer("count", torch.tensor(3, dtype=torch.int32))
    before, randomness = state(model), Randomness(0, CPU)
    objects = [id(buffer) for buffer in model.buffers()]
    with randomness.rolled_back(model):
        model(torch.rand(8, 3))
        model.get_buffer("flag").logical_not_()
        model.get_buffer("count").add_(1)
        assert not any(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert same(state(model), before)
    assert [id(buffer) for buffer in model.buffers()] == objects


MOVELESS = [
    {"name": "awp", "xi": 0},
    {"name": "awp", "xi": 0, "steps": 2},
    {"name": "sam", "rho": 0},
    {"name": "weight_noise", "xi": 0},
    {"name": "entropy_sgd", "steps": 0},
]


@pytest.mark.parametrize("update", MOVELESS, ids=lambda update: "-".join(map(str, update.values())))
def test_a_climb_of_no_length_is_plain_training(
    update: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bit for bit in weights, batch norm, momentum and the average, with dropout, noise and a loss that draws."""
    ends = []
    loss = Adversarial.loss

    def drawing_loss(self: Adversarial, step: Step, x_adv: Tensor) -> Loss:
        noise = 0.01 * torch.randn(x_adv.shape, generator=step.generator)
        return loss(self, step, x_adv + noise)

    monkeypatch.setattr(Adversarial, "loss", drawing_loss)
    for number, rule in enumerate((update, {"name": "plain"})):
        config = trial(
            update=rule,
            defense="adversarial",
            model={"name": "resnet18", "width": 1},
            judge=JUDGE | {"data": {"name": "digits", "validation": 1250}},
            batch={"size": 16, "augment": ["crop", "flip"], "label_noise": 0.2},
            schedule={"name": "one_cycle", "epochs": 1, "lr": 0.2},
            attack={"steps": 1},
        )
        trainer = Trainer(config, tmp_path / str(number), device="cpu")
        trainer.epoch()
        moments = {str(key): kept["momentum_buffer"] for key, kept in enumerate(trainer.optimiser.state.values())}
        ends.append((state(trainer.model), state(trainer.average.model), moments))
    counters = {name: value for name, value in ends[0][0].items() if name.endswith("num_batches_tracked")}
    assert counters
    assert all(value == 3 for value in counters.values())
    for one, other in zip(*ends, strict=True):
        assert one
        assert same(one, other)


@pytest.mark.parametrize("update", [{"name": "awp"}, {"name": "awp", "steps": 3}, {"name": "sam"}])
def test_momentum_holds_descended_gradients_alone(update: dict[str, Any], tmp_path: Path) -> None:
    """After one batch torch's momentum is the gradient itself, which is the one at the end of the climb."""
    config = trial(
        update=update, defense="adversarial", optimiser={"name": "sgd", "weight_decay": 0}, batch={"size": 1000}
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    assert trainer.steps_per_epoch == 1
    trainer.epoch()
    for weight in trainer.model.parameters():
        assert weight.grad is not None
        assert weight.grad.abs().sum() > 0
        assert torch.equal(trainer.optimiser.state[weight]["momentum_buffer"], weight.grad)
