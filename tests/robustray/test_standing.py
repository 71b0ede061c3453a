"""What the weights of an unfinished training are worth, wherever it stands; looking changes nothing of what follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustray.measures.accuracy import measured
from robustray.training import Trainer
from sweeps.running.tasks.base import PAUSED
from sweeps.running.tasks.train import TrainTask
from tests.robustray.made import same, state, trial

LONG = {"schedule": {"name": "one_cycle", "epochs": 5, "lr": 0.2}}
WORTH = ("clean_accuracy", "robust_accuracy", "adversarial_fooling_rate")


def _rows(trainer: Trainer) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "cost_seconds"} for row in trainer.history]


def test_live_weights_before_a_quarter_of_training_and_averaged_ones_after(tmp_path: Path) -> None:
    config = trial(**LONG)
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    whole.run()
    looked = Trainer(config, tmp_path / "looked", device="cpu")
    for epoch in range(1, 5):
        looked.run(until=epoch)
        found, model = looked.standing(), looked.model if epoch == 1 else looked.average.model
        worth = measured(model, looked.selection.images, looked.selection.attack).named()
        assert {name: found[name] for name in WORTH} == worth
        assert (found["standing_passes"] > 0) is (epoch == 1), "what was validated is not measured again"
    looked.run()
    assert same(state(looked.average.model), state(whole.average.model))
    assert _rows(looked) == _rows(whole), "costs too: looking is no part of the training"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"averaging": "none"},
        {"model": {"name": "resnet18", "width": 2}, "averaging": {"name": "ema", "buffers": "estimate"}},
    ],
    ids=["copied", "no average", "statistics estimated anew"],
)
def test_where_nothing_was_validated_it_is_what_validation_would_have_found(
    options: dict[str, Any], tmp_path: Path
) -> None:
    often = Trainer(trial(**LONG, **options), tmp_path / "often", device="cpu")
    seldom = Trainer(trial(**LONG, **options, checkpoints={"validate_every": 5}), tmp_path / "seldom", device="cpu")
    for epoch in (2, 4):
        often.run(until=epoch)
        seldom.run(until=epoch)
        assert "clean_accuracy" not in seldom.history[-1]
        found = seldom.standing()
        assert {name: found[name] for name in WORTH} == {name: often.history[-1][name] for name in WORTH}
        assert found["standing_passes"] >= often.selection.passes
    assert same(state(often.model), state(seldom.model))


def test_a_job_that_ends_at_a_rung_says_so_again_if_nobody_heard_it(tmp_path: Path) -> None:
    config = trial(**LONG, checkpoints={"select": "best_robust"})
    (tmp_path / "trial.yaml").write_text(config.to_yaml())
    work = {"kind": "train", "folder": str(tmp_path), "cpus": 1.0, "gpus": 0.0, "session": "one", "max_failures": 0}
    timed = ("cost_seconds", "cost_device_hours")

    def last(until: int | None, session: str) -> dict[str, Any]:
        task = TrainTask(work | {"session": session} | ({} if until is None else {"until": until}))
        while not (report := task.step())["done"]:
            assert "outcome" not in report
        return {name: value for name, value in report.items() if name not in timed}

    first = last(1, "one")
    assert (first["outcome"], first["epoch"], first["epochs"]) == (PAUSED, 1, 5)
    assert last(1, "two") == first
    third = last(3, "two")
    assert (third["outcome"], third["epoch"]) == (PAUSED, 3)
    reopened = Trainer(config, tmp_path, device="cpu")
    assert third["robust_accuracy"] == reopened.history[-1]["robust_accuracy"], "as it stands, not the best so far"
    end = last(None, "three")
    whole = Trainer(config, tmp_path / "whole", device="cpu")
    assert end["outcome"] == "complete"
    assert end["weights"] == whole.run()["weights"]
    assert last(None, "four") == end
