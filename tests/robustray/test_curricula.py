"""Curricula: what applies when, against published tables and straight lines, and what a training makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustray import Step
from robustray.attacks import Pgd, Threat
from robustray.attacks.pgd import StepSize
from robustray.defenses import Adversarial, Trades
from robustray.training import Constant, Cosine, Cusp, Late, MultiStep, Ramps, Schedule, Stages, Trainer
from robustray.training.curricula import Amounts, Moment
from robustray.training.ramps import Ramp
from tests.robustray.made import trial

PUBLISHED = MultiStep(epochs=120, lr=0.1, milestones=(74 / 120, 89 / 120, 99 / 120))


def moments(schedule: Schedule, per_epoch: int = 7) -> list[Moment]:
    total = schedule.epochs * per_epoch
    return [Moment(step, total, per_epoch, schedule) for step in range(total)]


def test_cusp_is_the_published_table() -> None:
    """In every batch of every epoch: learning rate, rotation, eps of 8/255."""
    table = {
        **dict.fromkeys(range(1, 75), (0.1, 120, 2)),
        **dict.fromkeys(range(75, 90), (0.01, 150, 4)),
        **dict.fromkeys(range(90, 100), (0.001, 180, 8)),
        **dict.fromkeys(range(100, 121), (0.0001, 180, 8)),
    }
    for moment in moments(PUBLISHED):
        lr, rotation, eps = table[moment.step // 7 + 1]
        amounts = Cusp().at(moment)
        assert 0.1 * PUBLISHED.factor(moment.step, moment.total) == pytest.approx(lr)
        assert amounts == Amounts(eps_scale=eps / 8, rotation=rotation)


@pytest.mark.parametrize(
    "begins",
    [
        [{"epoch": 74}, {"epoch": 89}],
        [{"fraction": "74/120"}, {"fraction": "89/120"}],
        [{"drop": 1}, {"drop": 2}],
        [{"epoch": 74}, {"drop": 2}],
    ],
)
def test_stages_begin_at_epochs_fractions_and_drops(begins: list[dict[str, Any]]) -> None:
    """All the same moments here: those of CuSP."""
    stages = Stages.model_validate(
        {
            "stages": [
                {"eps_scale": 0.25, "rotation": 120},
                {"begin": begins[0], "eps_scale": 0.5, "rotation": 150},
                {"begin": begins[1], "eps_scale": 1, "rotation": 180},
            ]
        }
    )
    stages.check(PUBLISHED)
    assert all(stages.at(moment) == Cusp().at(moment) for moment in moments(PUBLISHED))


@pytest.mark.parametrize("schedule", [MultiStep(epochs=9), Late(epochs=40), MultiStep(epochs=10, milestones=(0.37,))])
def test_a_drop_is_where_the_rate_drops(schedule: Schedule) -> None:
    """At the very batch, wherever that is in an epoch."""
    stages = Stages.model_validate({"stages": [{}, {"begin": {"drop": 1}, "rotation": 10}]})
    for moment in moments(schedule):
        dropped = schedule.factor(moment.step, moment.total) < 1
        assert (stages.at(moment).rotation == 10) == dropped


def test_what_a_stage_does_not_say_stays() -> None:
    stages = Stages.model_validate(
        {
            "stages": [
                {"eps_scale": 0.5, "translation": 2},
                {"begin": {"fraction": 0.25}, "beta_scale": 0.1, "step_scale": 2},
                {"begin": {"fraction": 0.5}, "eps_scale": 1, "translation": 0},
            ]
        }
    )
    found = [stages.at(moment) for moment in moments(Constant(epochs=4), per_epoch=1)]
    assert found == [
        Amounts(eps_scale=0.5, translation=2),
        Amounts(eps_scale=0.5, translation=2, beta_scale=0.1, step_scale=2),
        Amounts(eps_scale=1, translation=0, beta_scale=0.1, step_scale=2),
        Amounts(eps_scale=1, translation=0, beta_scale=0.1, step_scale=2),
    ]
    assert stages.changed == {"eps_scale", "translation", "beta_scale", "step_scale"}


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99), st.floats(0.01, 1), st.integers(1, 30), st.integers(1, 9))
def test_ramps_are_straight_lines(
    first: float, last: float, begin: float, end: float, epochs: int, per_epoch: int
) -> None:
    if begin >= end:
        with pytest.raises(ValueError, match="begin must be below end"):
            Ramp(first=first, last=last, begin=begin, end=end)
        return
    ramps = Ramps(rotation=Ramp(first=first, last=last, begin=begin, end=end), eps_scale=None)
    total = epochs * per_epoch
    for moment in moments(Cosine(epochs=epochs), per_epoch):
        progress = moment.step / max(total - 1, 1)
        place = 0 if progress <= begin else 1 if progress >= end else (progress - begin) / (end - begin)
        assert ramps.at(moment).rotation == pytest.approx((1 - place) * first + place * last, abs=1e-9)
        assert ramps.at(moment)._replace(rotation=0) == Amounts()


def test_a_ramp_reaches_its_ends() -> None:
    ramps = Ramps(beta_scale=Ramp(first=2, last=0.5, begin=0.2, end=0.6))
    found = [ramps.at(moment) for moment in moments(Constant(epochs=11), per_epoch=1)]
    assert [amounts.eps_scale for amounts in found] == pytest.approx([step / 10 for step in range(11)])
    assert [amounts.beta_scale for amounts in found] == pytest.approx(
        [2, 2, 2, 1.625, 1.25, 0.875, 0.5, 0.5, 0.5, 0.5, 0.5]
    )


def test_amounts_scale_what_is_there() -> None:
    attack = Pgd(step_size=StepSize(of_eps=0.25)).bind(Threat(eps=0.1))
    scaled, defense = Amounts(eps_scale=0.5, step_scale=3, beta_scale=2).applied(attack, Trades(beta=4))
    assert scaled.threat == Threat(eps=0.05)
    assert isinstance(scaled.attack, Pgd)
    assert scaled.attack.step_size == StepSize(of_eps=0.75)
    assert defense == Trades(beta=8)
    pixels = Pgd(step_size=StepSize(pixels=0.01)).bind(Threat(eps=0.1))
    bound, same = Amounts(step_scale=0.5).applied(pixels, Adversarial())
    assert isinstance(bound.attack, Pgd)
    assert bound.attack.step_size == StepSize(pixels=0.005)
    assert Amounts(rotation=90).applied(attack, same) == (attack, same)


def seen_steps(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    steps: list[Step] = []
    defense = type(trainer.config.defense)
    perturb = defense.perturb

    def spy(self: Any, step: Step) -> Tensor:
        steps.append(step)
        assert self.beta == step_beta(trainer, len(steps) - 1)
        return perturb(self, step)

    monkeypatch.setattr(defense, "perturb", spy)
    return steps


def step_beta(trainer: Trainer, number: int) -> float:
    config = trainer.config
    assert isinstance(config.defense, Trades)
    assert config.curriculum is not None
    moment = Moment(number, 6, 3, config.schedule)
    return config.defense.beta * config.curriculum.at(moment).beta_scale


STAGED = {
    "name": "stages",
    "stages": [
        {"eps_scale": 0.25, "beta_scale": 0.5, "rotation": 90},
        {"begin": {"epoch": 1}, "eps_scale": 1, "beta_scale": 2, "rotation": 0, "translation": 2},
        {"begin": {"fraction": "5/6"}, "translation": 0},
    ],
}


def test_a_training_goes_by_its_curriculum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Radius and beta of every batch, images moved before the attack, and a row per epoch that says so."""
    batch = {"size": 400}
    trainer = Trainer(trial(curriculum=STAGED, batch=batch), tmp_path / "a", device="cpu")
    steps = seen_steps(trainer, monkeypatch)
    rows: list[Tensor] = []
    train = trainer.train_step

    def noting(batch: Tensor) -> None:
        rows.append(batch)
        train(batch)

    monkeypatch.setattr(trainer, "train_step", noting)
    trainer.run()
    eps = trainer.config.training_threat.eps
    assert [step.bound.threat.eps for step in steps] == pytest.approx([eps / 4] * 3 + [eps] * 3)
    plain = [trainer.batches.images.batch(batch)[0] for batch in rows]
    moved = [not torch.equal(step.x, x) for step, x in zip(steps, plain, strict=True)]
    assert moved == [True] * 5 + [False]
    apart = [(step.x - x).flatten(1).abs().amax(1) for step, x in zip(steps[:5], plain[:5], strict=True)]
    assert all((distance > 0.05).float().mean() > 0.95 for distance in apart)  # each image by a draw of its own
    assert [(row["eps_scale"], row["rotation"], row["translation"]) for row in trainer.history] == [
        (0.25, 90, 0),
        (1, 0, 0),
    ]


def test_a_curriculum_that_changes_nothing_changes_nothing(tmp_path: Path) -> None:
    """Bit for bit: it draws from its own stream, and only where images move."""
    ends = []
    for name, curriculum in (("a", None), ("b", {"name": "stages", "stages": [{}]})):
        trainer = Trainer(trial(curriculum=curriculum), tmp_path / name, device="cpu")
        trainer.run()
        ends.append(trainer.history)
    assert [{k: v for k, v in row.items() if k != "cost_seconds"} for row in ends[0]] == [
        {k: v for k, v in row.items() if k != "cost_seconds"} for row in ends[1]
    ]


def test_validation_knows_no_curriculum(tmp_path: Path) -> None:
    trainer = Trainer(trial(curriculum={"name": "cusp"}), tmp_path, device="cpu")
    trainer.run()
    assert trainer.selection.attack.threat == trainer.config.judge.threat
    assert "robust_accuracy" in trainer.history[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"curriculum": {"name": "ramps", "beta_scale": {"first": 0, "last": 1}}, "defense": "natural"},
         "beta_scale needs something to scale, but defense natural has no beta"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"begin": {"drop": 1}, "rotation": 5}]}},
         "waits for drop 1 of the learning rate, but schedule one_cycle has none; use multi_step"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"begin": {"drop": 4}}]},
          "schedule": {"name": "multi_step", "epochs": 2}}, "has 3"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"begin": {"epoch": 2}, "rotation": 5}]}},
         "stage 2 begins after the last of 2 epochs; use a fraction"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"begin": {"fraction": 0.5}}, {"begin": {"epoch": 1}}]}},
         "stage 3 must begin after stage 2, at 0.5 of"),
        ({"curriculum": {"name": "stages", "stages": [{"begin": {"fraction": 0.5}}]}}, "stage 1 begins with training"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"begin": {}}]}}, "one of epoch, fraction and drop"),
        ({"curriculum": {"name": "stages", "stages": [{}, {"rotation": 5}]}}, "stage 2 needs a begin"),
        ({"curriculum": {"name": "stages", "stages": []}}, "at least 1"),
        ({"curriculum": {"name": "stages", "stages": [{"eps_scale": 2}]}}, "eps_scale"),
        ({"curriculum": {"name": "ramps", "eps_scale": {"first": 0, "last": 2}}}, "must stay between 0 and 1"),
        ({"curriculum": {"name": "ramps", "rotation": {"first": -5, "last": 5}}}, "must stay between 0 and 180"),
        ({"curriculum": {"name": "ramps", "step_scale": {"first": 0, "last": 1}}}, "must stay between 0.001 and 100"),
        ({"curriculum": {"name": "cusp", "boundaries": [0.6, 0.5]}}, "ascending"),
        ({"curriculum": {"name": "cusp", "rotations": [10, 20]}}, "rotations"),
    ],
)  # fmt: skip
def test_curricula_that_never_happen(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trial(**options)
