"""Training functions of the user's own: called, stopped, killed, gone on with, measured by us; what they do wrong."""

from __future__ import annotations

import csv
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray import subjects
from robustray.data.device import DeviceImages
from robustray.errors import Diverged, Paused, UserError
from robustray.subjects.trial import load_model
from robustray.training.script import ScriptFailed, ScriptTrainer
from robustray.trial import TrialConfig
from tests.plugged import fresh, restart

__all__ = ["fresh"]
pytestmark = pytest.mark.usefixtures("fresh")
SCRIPT = '''
import os
import sys

import torch
from torch import nn


def net(config):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, config.get("outputs", 10)))


def train(config, report, checkpoint):
    """Moves every weight up by one an epoch, and writes down that it was called."""
    model = net(config)
    kept = checkpoint.load() or {"epoch": 0, "model": {name: 0 * value for name, value in model.state_dict().items()}}
    model.load_state_dict(kept["model"])
    with open(checkpoint.folder / "calls", "a") as file:
        file.write(f"{kept['epoch']} {sorted(config.items())}\\n")
    for epoch in range(kept["epoch"] + 1, config["epochs"] + 1):
        for parameter in model.parameters():
            parameter.data += config["by"]
        report(epoch=epoch, clean_accuracy=1.0, loss=1 / epoch)
        if config.get("mode") == "never saves":
            continue
        checkpoint.save({"epoch": epoch, "model": model.state_dict()})
        if config.get("mode") == "dies" and epoch == 2 and not (checkpoint.folder / "died").exists():
            (checkpoint.folder / "died").touch()
            os._exit(9)
    return finish(config, model, checkpoint)


def finish(config, model, checkpoint):
    match config.get("mode"):
        case "raises":
            raise ValueError("of the user's\\nwith a second line")
        case "exits":
            sys.exit(3)
        case "nothing":
            return None
        case "number":
            return 3
        case "other weights":
            return {"weight": torch.zeros(3)}
        case "not finite":
            model[1].weight.data[0, 0] = float("nan")
        case "saves code":
            checkpoint.save({"model": model})
        case "state":
            return model.state_dict()
    return model
'''
TRIAL = """
judge: {data: {name: digits, validation: 60}, threat: {eps: 0.1}, cheap: {steps: 1}, images: {validation: 20}}
script:
  train: my_script.py:train
  model: my_script.py:net
  config: {epochs: 3, by: 0.5}
"""


def trial(folder: Path, more: str = "", text: str = TRIAL) -> TrialConfig:
    folder.mkdir(exist_ok=True)
    (folder / "my_script.py").write_text(SCRIPT)
    (folder / "trial.yaml").write_text(text.replace("by: 0.5", f"by: 0.5, {more}"))
    return TrialConfig.from_yaml(folder / "trial.yaml")


def run(trainer: ScriptTrainer) -> dict[str, Any]:
    report = trainer.report
    while report is None or not report["done"]:
        report = trainer.epoch()
    return report


def opened(config: TrialConfig, folder: Path) -> ScriptTrainer:
    return ScriptTrainer(config, folder, device="cpu", threads=1)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def calls(folder: Path) -> list[str]:
    return (folder / "script" / "calls").read_text().splitlines()


def test_its_network_is_measured_by_us_and_not_by_itself(tmp_path: Path) -> None:
    """All weights are equal: class 0 says every image, and that is what we count; the script says 1.0 of itself."""
    config = trial(tmp_path / "home")
    report = run(opened(config, tmp_path / "trial"))
    judge = config.judge
    images = DeviceImages(judge.data.load("validation").take(judge.lists()[1]), torch.device("cpu"))
    zeros = float((images.labels == 0).float().mean())
    assert report["clean_accuracy"] == pytest.approx(zeros)
    assert report["robust_accuracy"] <= zeros + 1e-6
    assert report["outcome"] == "complete"
    assert [row["own_clean_accuracy"] for row in rows(tmp_path / "trial")] == ["1.0"] * 3
    assert [row["clean_accuracy"] for row in rows(tmp_path / "trial")][:2] == ["", ""]
    found = subjects.load(str(tmp_path / "trial"), architecture=None, data=None, norm="linf")
    assert found.weights == report["weights"]
    assert found.architecture == "my_script.py:net"
    assert np.allclose([float(value.mean()) for value in found.model.state_dict().values()], 1.5)
    assert calls(tmp_path / "trial") == ["0 [('by', 0.5), ('epochs', 3), ('seed', 0)]"]


def test_a_state_dict_is_as_good_as_a_network(tmp_path: Path) -> None:
    weights = {
        mode: run(opened(trial(tmp_path / "home", f"mode: {mode}"), tmp_path / mode))["weights"]
        for mode in ("state", "network")
    }
    assert weights["state"] == weights["network"]


def test_a_trial_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    config = trial(tmp_path / "home")
    report = run(opened(config, tmp_path / "trial"))
    again = opened(config, tmp_path / "trial")
    assert again.report == report
    assert len(calls(tmp_path / "trial")) == 1


def test_a_stop_is_heeded_where_the_function_saves_and_nothing_saved_is_lost(tmp_path: Path) -> None:
    config, folder = trial(tmp_path / "home"), tmp_path / "trial"
    trainer = opened(config, folder)
    trainer.stop.set()
    assert trainer.epoch()["epoch"] == 1  # said, then saved, and then it stops
    with pytest.raises(Paused):
        trainer.epoch()
    restart()
    config = trial(tmp_path / "home")
    report = run(opened(config, folder))
    assert report["epoch"] == 3
    assert [line[0] for line in calls(folder)] == ["0", "1"]
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3"]
    whole = run(opened(config, tmp_path / "other"))
    assert report["weights"] == whole["weights"]
    assert {name: report[name] for name in ("clean_accuracy", "robust_accuracy")}.items() <= whole.items()


def test_a_stop_between_reports_waits_for_what_is_saved(tmp_path: Path) -> None:
    trainer = opened(trial(tmp_path / "home", "epochs: 1000000".replace("epochs", "many")), tmp_path / "trial")
    trainer.epoch()
    trainer.halt()
    assert (tmp_path / "trial" / "script" / "state.pt").exists()
    assert trainer._thread is not None
    assert not trainer._thread.is_alive()


def test_a_function_that_never_saves_stops_at_its_second_report(tmp_path: Path) -> None:
    trainer = opened(trial(tmp_path / "home", "mode: never saves"), tmp_path / "trial")
    trainer.stop.set()
    assert trainer.epoch()["epoch"] == 1
    with pytest.raises(Paused):
        trainer.epoch()


def _die(config: TrialConfig, folder: Path) -> None:
    run(opened(config, folder))


def test_a_killed_trial_goes_on_from_what_was_saved(tmp_path: Path) -> None:
    config, folder = trial(tmp_path / "home", "mode: dies"), tmp_path / "trial"
    process = multiprocessing.get_context("fork").Process(target=_die, args=(config, folder))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    report = run(opened(config, folder))
    assert [line[0] for line in calls(folder)] == ["0", "2"]
    assert [row["epoch"] for row in rows(folder)] == ["1", "2", "3"]
    found = subjects.load(str(folder), architecture=None, data=None, norm="linf")
    assert found.weights == report["weights"]
    assert np.allclose([float(value.mean()) for value in found.model.state_dict().values()], 1.5)


FAULTS = {
    "mode: raises": (
        ScriptFailed,
        r"^my_script\.py:\d+: ValueError: of the user's$|^my_script\.py:\d+: ValueError: .*",
    ),
    "mode: exits": (ScriptFailed, r"^my_script\.py:\d+: SystemExit: 3$"),
    "mode: nothing": (
        ScriptFailed,
        r"^my_script\.py:train gave back nothing; return the trained network, or its state dict$",
    ),
    "mode: number": (ScriptFailed, r"gave back a int; return"),
    "mode: other weights": (
        ScriptFailed,
        r"^what my_script\.py:train gave back: the weights do not fit my_script\.py:net",
    ),
    "mode: saves code": (ScriptFailed, r"TypeError: checkpoint\.save takes tensors and plain values alone"),
    "mode: not finite": (Diverged, r"the trained network"),
    "outputs: 7": (ScriptFailed, r"^my_script\.py:net: of images \[2, 1, 8, 8\] come \[2, 7\], not logits \[2, 10\]$"),
}


@pytest.mark.parametrize("more", FAULTS)
def test_what_a_function_does_wrong_is_one_line_with_its_place(more: str, tmp_path: Path) -> None:
    kind, said = FAULTS[more]
    with pytest.raises(kind, match=said) as caught:
        run(opened(trial(tmp_path / "home", more), tmp_path / "trial"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trial" / "last.pt").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "py:train",
            "py:trian",
            r"trial.yaml:4: script.train: my_script.py:trian: there is no such function; did you mean 'train'",
        ),
        ("my_script.py:net", "nowhere.py:net", r"trial.yaml:5: script.model: .*nowhere.py: no such file"),
        ("my_script.py:net", "net", r"trial.yaml:5: script.model: "),
        (
            "script:",
            "defense: trades\nscript:",
            r"trial.yaml:3: defense: my_script.py:train trains by itself and would ignore it",
        ),
        ("script:", "batch: {size: 3}\nscript:", r"trial.yaml:3: batch: .*leave it out"),
        ("  model: my_script.py:net\n", "", r"script.model: is missing"),
    ],
)
def test_mistakes_in_the_yaml_have_their_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        trial(tmp_path, text=TRIAL.replace(old, new))


def test_one_trial_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from robustray.__main__ import main

    trial(tmp_path)
    monkeypatch.setattr(sys, "argv", ["robustray", "train", str(tmp_path / "trial.yaml"), "--folder", str(tmp_path / "run"),
                                      "--threads=1"])  # fmt: skip
    for _ in range(2):  # done before, it says so again
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        out = capsys.readouterr().out
        assert "done: clean " in out
        assert out.splitlines()[-1] == f"its weights  SHA-256 {load_model(tmp_path / 'run', 'cpu')[2]}"
    assert len(calls(tmp_path / "run")) == 1
