"""What only a GPU can show: training as on a CPU, compiled, recorded, resumed, within its memory. Skipped without one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from robustray.defenses import Defense
from robustray.errors import Paused
from robustray.training import Trainer
from tests.robustray.combinations import covering
from tests.robustray.made import every, made, same, state, trial

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
RESNET = {"name": "preact_resnet18", "width": 16}


def test_recorded_training_learns_the_same(tmp_path: Path) -> None:
    """`compile: max` replays CUDA graphs, and its losses are those of the plain way up to rounding."""
    losses = {}
    for compiled in ("off", "default", "max"):
        config = trial(compile=compiled, model=RESNET, defense="trades", averaging="none")
        counters.clear()
        losses[compiled] = Trainer(config, tmp_path / compiled, device="cuda").run()["loss"]
        assert not counters["inductor"]["cudagraph_skips"], "something forbids graphs"
    assert losses["default"] == pytest.approx(losses["off"], rel=0.05)
    assert losses["max"] == pytest.approx(losses["off"], rel=0.05)


@pytest.mark.usefixtures("extra_images")
@covering()
def test_any_choice_trains(options: dict[str, Any], tmp_path: Path) -> None:
    assert math.isfinite(Trainer(trial(**options), tmp_path, device="cuda").run()["loss"])


@every("defense")
def test_stopped_training_ends_as_if_it_had_not_been(cls: type[Defense], tmp_path: Path) -> None:
    """Bit for bit with `deterministic`, its generators on the device included."""
    config = trial(defense=made(cls), deterministic=True)
    whole = Trainer(config, tmp_path / "whole", device="cuda")
    whole.run()
    first = Trainer(config, tmp_path / "stopped", device="cuda")
    first.stop.set()
    with pytest.raises(Paused):
        first.epoch()
    second = Trainer(config, tmp_path / "stopped", device="cuda")
    report = second.run()
    assert report["exact"]
    assert same(state(second.model), state(whole.model))
    assert same(state(second.average.model), state(whole.average.model))


@pytest.mark.parametrize(("here", "there"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_training_goes_on_on_the_other_kind_of_device(here: str, there: str, tmp_path: Path) -> None:
    """Layouts differ in float32, and moments follow their weights."""
    config = trial(model=RESNET, schedule={"name": "one_cycle", "epochs": 3, "lr": 0.1})
    Trainer(config, tmp_path, device=here).epoch()
    second = Trainer(config, tmp_path, device=there)
    for weight, kept in second.optimiser.state.items():
        assert all(moment.stride() == weight.stride() for moment in kept.values() if torch.is_tensor(moment))
    report = second.run()
    assert math.isfinite(report["loss"])
    assert not report["exact"]


def test_a_deterministic_trial_may_follow_any_other(tmp_path: Path) -> None:
    """cuBLAS reads its setting at its first product."""
    torch.rand(8, 8, device="cuda") @ torch.rand(8, 8, device="cuda")
    weights = []
    for number in range(2):
        trainer = Trainer(trial(deterministic=True), tmp_path / str(number), device="cuda")
        trainer.run()
        weights.append(state(trainer.model))
    assert same(*weights)


def test_a_full_device_is_an_error_that_leaves_it_usable(tmp_path: Path) -> None:
    config = trial(model={"name": "preact_resnet18", "width": 512})
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            Trainer(config, tmp_path / "large", device="cuda").run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()
    Trainer(trial(), tmp_path / "small", device="cuda").run()
