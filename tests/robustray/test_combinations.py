"""Choices are independent: every two of different kinds train together, and every part keeps the loop's promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from robustray.training import Trainer
from tests.robustray.combinations import covering, pairwise
from tests.robustray.made import Passes, state, trial
from tests.robustray.test_trainer import watched


@pytest.mark.usefixtures("extra_images")
@pairwise()
def test_every_pair_of_choices_trains_a_step(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the host waiting for the device, at the declared cost, to finite weights that are others."""
    trainer = Trainer(trial(**options), tmp_path, device="cpu")
    counted, before = Passes(trainer.model), state(trainer.model)
    trainer.batch_in_epoch = 1  # one_cycle and others begin low
    with trainer.randomness.active():
        watched(trainer, monkeypatch)._train_step(torch.arange(30))
    after = state(trainer.model)
    assert all(value.isfinite().all() for value in after.values())
    moved = [name for name, _ in trainer.model.named_parameters() if not torch.equal(after[name], before[name])]
    assert len(moved) >= len(list(trainer.model.parameters())) - 2  # of dead units maybe
    assert trainer.passes == counted.images


@pytest.mark.usefixtures("extra_images")
@covering()
def test_every_part_is_a_function_of_the_seed(options: dict[str, Any], tmp_path: Path) -> None:
    ends: list[dict[str, Tensor]] = []
    for number in range(2):
        torch.manual_seed(number)
        trainer = Trainer(trial(**options), tmp_path / str(number), device="cpu")
        trainer.epoch()
        ends.append(state(trainer.model))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
