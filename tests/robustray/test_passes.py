"""Passes of one training step, counted on the first: what the papers' algorithms cost, for all parts and what they share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.defenses import Adversarial, Defense
from robustray.registry import parts
from robustray.training import Trainer, Update, checkpoints
from robustray.training.passes import per_batch
from tests.robustray.made import made, trial

IMAGES = 400
K = 3
Counts = tuple[int, int]
"""Of one image: making x', and the loss with its gradient."""
DEFENSES: dict[str, Counts] = {
    "adversarial": (2 * K, 3),
    "consistency": (2 * 2 * K, 6),
    "fast": (2 * K, 3),
    "llr": (2 + 2 * K, 9),
    "mart": (2 * K, 6),
    "natural": (0, 3),
    "rst": (2 * K, 6),
    "score": (1 + 2 * K, 6),
    "score_pgd": (2 * K, 3),
    "self_supervised": (2 * K, 3),
    "trades": (1 + 2 * K, 6),
    "tulip": (0, 7),
}
OWN = {"llr": 2, "score": 1, "trades": 1}
"""What an objective of their own needs once, and an attack's own loss does not."""
UPDATES: dict[str, Callable[[Any, int, int], int]] = {
    "awp": lambda update, attack, loss: attack + (update.steps + 1) * loss,
    "entropy_sgd": lambda update, attack, loss: max(update.steps, 1) * (attack + loss),
    "free": lambda update, _, loss: update.replays * loss,
    "plain": lambda _, attack, loss: attack + loss,
    "sam": lambda _, attack, loss: attack + 2 * loss,
    "weight_noise": lambda _, attack, loss: attack + loss,
}
ATTACKS: list[tuple[dict[str, Any], int]] = [
    ({}, 2 * K),
    ({"loss": "ce"}, 2 * K),
    ({"loss": "kl"}, 2 * K + 1),
    ({"loss": "margin-targeted"}, 2 * K + 1),
    ({"restarts": 2}, 2 * (2 * K + 1)),
    ({"steps": 0}, 0),
]


def test_every_part_has_its_published_cost() -> None:
    assert set(DEFENSES) == set(parts("defense"))
    assert set(UPDATES) == set(parts("update"))


@pytest.mark.parametrize("update", [made(cls) for cls in parts("update").values()], ids=lambda update: update.name)
@pytest.mark.parametrize("defense", DEFENSES)
def test_a_step_costs_what_is_published(defense: str, update: Update) -> None:
    cls = parts("defense")[defense]
    assert issubclass(cls, Defense)
    if update.own_attack and "an_adversary" not in cls.demands:
        pytest.skip("is refused")
    attack = {"steps": K} if "an_adversary" in cls.demands and not update.own_attack else None
    config = trial(defense=defense, update=update, batch={"size": IMAGES}, attack=attack)
    assert per_batch(config) == IMAGES * UPDATES[update.name](update, *DEFENSES[defense])


@pytest.mark.parametrize(("options", "cost"), ATTACKS, ids=lambda value: str(value))
@pytest.mark.parametrize("defense", [name for name, (attack, _) in DEFENSES.items() if attack])
def test_the_attack_counts_as_it_is(defense: str, options: dict[str, Any], cost: int) -> None:
    objective = 0 if "loss" in options else OWN.get(defense, 0)
    views = 2 if defense == "consistency" else 1
    config = trial(defense=defense, batch={"size": IMAGES}, attack={"steps": K, "start": "uniform"} | options)
    assert per_batch(config) == IMAGES * (objective + views * cost + DEFENSES[defense][1])


@pytest.mark.parametrize(
    ("options", "cost"),
    [
        ({"keep_clean": True}, IMAGES * (2 * K + 6)),
        ({"ignore_incorrect": True}, IMAGES * (2 * K + 1 + 3)),
        ({"prevent_label_leaking": True}, IMAGES * (2 * K + 1 + 3)),
        ({"clean_fraction": 0.25}, 300 * 2 * K + IMAGES * 3),
        ({"clean_fraction": 0.25, "ignore_incorrect": True}, 300 * (2 * K + 1) + IMAGES * 3),
        ({"clean_fraction": 1}, IMAGES * 3),
    ],
)
def test_variants_of_adversarial_training(options: dict[str, Any], cost: int) -> None:
    config = trial(defense=Adversarial(**options), batch={"size": IMAGES}, attack={"steps": K})
    assert per_batch(config) == cost


@pytest.mark.parametrize("defense", DEFENSES)
def test_training_counts_its_first_batch(defense: str, tmp_path: Path) -> None:
    config = trial(defense=defense, batch={"size": IMAGES})
    trainer = Trainer(config, tmp_path, device="cpu")
    with trainer.at_work():
        for number in (1, 2):
            trainer.train_step(torch.arange(IMAGES))
            assert trainer.progress.passes == number * per_batch(config)


def test_counting_changes_no_bit(tmp_path: Path) -> None:
    """A training that knows what a batch costs, and so counts none, is the same."""
    ends = []
    for known in (False, True):
        trainer = Trainer(trial(), tmp_path / str(known), device="cpu")
        trainer.progress.batch_passes = 7 if known else None
        ends.append(trainer.run())
    assert ends[0]["weights"] == ends[1]["weights"]
    assert ends[0]["cost_passes"] != ends[1]["cost_passes"]


def test_a_checkpoint_without_a_count_is_counted_on(tmp_path: Path) -> None:
    whole = Trainer(trial(), tmp_path / "whole", device="cpu").run()
    Trainer(trial(), tmp_path / "old", device="cpu").epoch()
    path = tmp_path / "old" / "last.pt"
    state = checkpoints.load(path)
    assert state.pop("batch_passes") == per_batch(trial())
    checkpoints.save(path, state)
    again = Trainer(trial(), tmp_path / "old", device="cpu")
    assert (again.completed, again.progress.batch_passes) == (1, None)
    assert again.run()["cost_passes"] == whole["cost_passes"]
