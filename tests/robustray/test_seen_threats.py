"""Within which threat each attack of a training works: the validation's, the steps', the collapse guard's."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustray.attacks import Pgd, Threat
from robustray.data.base import Images
from robustray.data.device import DeviceImages
from robustray.defenses import Adversarial, Defense
from robustray.measures.accuracy import accuracies
from robustray.training import Trainer
from robustray.training.overfitting import Guard
from tests.robustray.made import JUDGE, every, linear, made, same, state, trial

IN_STEPS, IN_VALIDATION, IN_GUARD = 1, 3, 5
"""Steps of each attack, which tell them apart."""
JUDGED = JUDGE | {"cheap": {"name": "pgd", "loss": "margin", "steps": IN_VALIDATION}}

Seen = dict[int, list[tuple[Threat, int]]]


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """By their steps, every attack that runs: its threat, and of how many images."""
    seen: Seen = defaultdict(list)
    run = Pgd.run

    def spy(self: Pgd, model: Any, x: Tensor, y: Tensor, threat: Threat, **options: Any) -> Tensor:
        seen[self.steps].append((threat, len(x)))
        return run(self, model, x, y, threat, **options)

    monkeypatch.setattr(Pgd, "run", spy)
    return seen


@pytest.mark.parametrize("threat", [{"eps": 0.02}, {"eps": 0.3}, {"norm": "l2", "eps": 0.5}])
def test_validation_is_within_the_judges_threat_and_training_and_guard_are_within_the_trials(
    threat: dict[str, Any], attacks: Seen, tmp_path: Path
) -> None:
    config = trial(
        judge=JUDGED, threat=threat, defense="fast", attack={"steps": IN_STEPS}, checkpoints={"collapse": 0.99}
    )
    Trainer(config, tmp_path, device="cpu").run()
    own = Threat.model_validate({"norm": "linf", **threat})
    assert own != config.judge.threat
    assert attacks[IN_STEPS] == [(own, 400)] * 6
    assert attacks[IN_GUARD] == [(own, 400)] * 2
    assert attacks[IN_VALIDATION] == [(config.judge.threat, 40)] * 2
    assert attacks.keys() == {IN_STEPS, IN_GUARD, IN_VALIDATION}


@every("defense")
def test_no_defense_is_validated_within_its_own_threat(cls: type[Defense], attacks: Seen, tmp_path: Path) -> None:
    adversary = "an_adversary" in cls.demands
    own = {"threat": {"eps": 0.02}, "attack": {"steps": IN_STEPS}} if adversary else {"attack": None}
    config = trial(judge=JUDGED, defense=made(cls), **own)
    Trainer(config, tmp_path, device="cpu").epoch()
    assert attacks[IN_VALIDATION] == [(config.judge.threat, 40)]
    assert {threat for threat, _ in attacks[IN_STEPS]} == ({Threat(eps=0.02)} if adversary else set())


def test_a_curriculum_scales_the_threat_of_steps_alone(attacks: Seen, tmp_path: Path) -> None:
    config = trial(
        judge=JUDGED,
        threat={"eps": 0.05},
        defense="adversarial",
        attack={"steps": IN_STEPS},
        curriculum={"name": "ramps", "eps_scale": {"first": 0.2, "last": 0.8}},
        checkpoints={"collapse": 0.99},
    )
    Trainer(config, tmp_path, device="cpu").run()
    scales = [0.2 + 0.6 * step / 5 for step in range(6)]
    assert [threat.eps for threat, _ in attacks[IN_STEPS]] == pytest.approx([0.05 * scale for scale in scales])
    assert {threat for threat, _ in attacks[IN_GUARD]} == {Threat(eps=0.05)}
    assert {threat for threat, _ in attacks[IN_VALIDATION]} == {config.judge.threat}


def test_training_without_a_radius_does_not_grade_itself(tmp_path: Path) -> None:
    """Within its own threat such a trial would be exactly as robust as it is accurate."""
    config = trial(
        judge=JUDGED,
        threat={"eps": 0},
        model={"name": "small_cnn", "width": 8},
        batch={"size": 100},
        defense="adversarial",
        averaging="none",
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    report = trainer.run()
    assert report["robust_accuracy"] < report["clean_accuracy"] - 0.1
    tune = DeviceImages(config.judge.data.load("validation").take(config.judge.lists()[1]), torch.device("cpu"))
    own = accuracies(trainer.model, tune, config.judge.cheap.bind(config.judge.threat))
    assert (report["clean_accuracy"], report["robust_accuracy"]) == own


def test_the_guard_looks_at_the_live_weights_and_validation_at_the_average(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    run = Pgd.run

    def spy(self: Pgd, model: Any, *arguments: Any, **options: Any) -> Tensor:
        seen.append((self.steps, id(model)))
        return run(self, model, *arguments, **options)

    monkeypatch.setattr(Pgd, "run", spy)
    config = trial(judge=JUDGED, defense="fast", attack={"steps": IN_STEPS}, checkpoints={"collapse": 0.99})
    trainer = Trainer(config, tmp_path, device="cpu")
    trainer.run()
    models = {steps: {model for number, model in seen if number == steps} for steps in (IN_GUARD, IN_VALIDATION)}
    assert models == {IN_GUARD: {id(trainer.model)}, IN_VALIDATION: {id(trainer.average.model)}}


class Dimming:
    """Ten images of one class, each darker than the one before, and a model that takes so many of them for that class."""

    def __init__(self) -> None:
        pixels = torch.arange(10, 0, -1, dtype=torch.uint8)[:, None, None, None] * 20
        images = Images(pixels.expand(10, 2, 2, 1).contiguous().numpy(), torch.ones(10, dtype=torch.int64).numpy())
        self.images = DeviceImages(images, torch.device("cpu"))
        self.model = linear(torch.tensor([[0.0] * 4, [1.0] * 4]))

    def right(self, count: int) -> None:
        """Takes the `count` brightest for class 1: the bias is that of the middle between two images."""
        with torch.no_grad():
            self.model.get_parameter("1.bias")[1] = -4 * 20 * (10.5 - count) / 255


@pytest.mark.parametrize(
    ("looks", "falls"),
    [
        ([10, 9, 8, 7, 6, 5, 4], False),  # far below the best look, and never far below the last
        ([10, 9, 8, 7, 5], True),
        ([5, 9, 7], True),  # above the first
        ([9, 5], True),
        ([3, 10, 9, 9, 10, 9], False),
    ],
)
def test_the_guard_compares_with_the_last_look(looks: list[int], falls: bool) -> None:
    """Whether it is the best one or the first does not matter; the weights that come back are those of the last."""
    seen = Dimming()
    guard = Guard(0.15, seen.images, Threat(eps=0))
    for count in looks[:-1]:
        seen.right(count)
        assert not guard.collapsed(seen.model)
    last = state(seen.model)
    seen.right(looks[-1])
    now = state(seen.model)
    assert accuracies(seen.model, seen.images, guard.attack)[1] == looks[-1] / 10
    assert guard.collapsed(seen.model) == falls
    assert same(state(seen.model), last if falls else now)


def test_the_guard_attacks_within_its_threat() -> None:
    """Images at a distance from the boundary that one threat reaches and another does not."""
    seen = Dimming()
    seen.right(10)
    for eps, robust in ((0.0, 1.0), (0.03, 1.0), (0.06, 0.9)):  # the darkest is 10 / 255 from the boundary, the next 30
        guard = Guard(0.0, seen.images, Threat(eps=eps))
        assert accuracies(seen.model, seen.images, guard.attack)[1] == robust
        guard.load_state_dict({"accuracy": 0.95, "kept": [state(seen.model)]})
        assert guard.collapsed(seen.model) == (robust < 0.95)


def test_a_training_that_collapses_ends_by_the_fall_between_two_epochs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Five epochs fall by 0.15 each, 0.75 in all; the one after by 0.3."""
    script = iter([0.9, 0.75, 0.6, 0.45, 0.3, 0.0])
    monkeypatch.setattr("robustray.training.overfitting.accuracies", lambda *_: (1.0, next(script)))
    config = trial(
        defense=Adversarial(), checkpoints={"collapse": 0.2}, schedule={"epochs": 9, "lr": 0.1}, attack={"steps": 1}
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    trainer.run()
    assert trainer.completed == 6
