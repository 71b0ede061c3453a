"""Training that begins with given weights: which they are, what tells them apart, and how mistakes end."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from pydantic import ValidationError

from robustray.errors import UserError
from robustray.models import Architecture, SmallCnn
from robustray.registry import parts
from robustray.subjects import start
from robustray.subjects.trial import load_model
from robustray.training import Trainer, checkpoints
from robustray.trial import TrialConfig
from tests.robustray.made import made, same, state, trial
from tests.robustray.test_judge_models import ZOO

MODEL = {"name": "small_cnn", "width": 2, "dropout": 0.3}


def finetuning(source: Path | str, **options: Any) -> TrialConfig:
    return trial(model=MODEL | {"from": str(source)}, **options)


def begun(config: TrialConfig, folder: Path) -> dict[str, torch.Tensor]:
    return state(Trainer(config, folder, device="cpu").model)


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """A checkpoint of a trained trial, of one's own to change."""
    return Path(shutil.copy(trained / "last.pt", tmp_path / "source.pt"))


def test_it_begins_with_what_is_judged(source: Path, tmp_path: Path) -> None:
    """Averaged weights, statistics and normalisation, bit for bit; in the average too."""
    whole = checkpoints.load(source)
    assert not same(whole["average"], whole["model"])
    trainer = Trainer(finetuning(source), tmp_path / "trial", device="cpu")
    assert same(state(trainer.model), whole["average"])
    assert same(state(trainer.average.model), whole["average"])
    report = trainer.run()
    drawn = Trainer(trial(), tmp_path / "drawn", device="cpu").run()
    assert report["weights"] != drawn["weights"]
    assert trainer.history[0]["loss"] < drawn["loss"], "it has learned already"


def test_files_of_weights(source: Path, tmp_path: Path) -> None:
    """As they are, in a mapping of a training script, with wrappers' names, as safetensors."""
    average = checkpoints.load(source)["average"]
    torch.save(average, tmp_path / "bare.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in average.items()}}, tmp_path / "ddp.pt"
    )
    safetensors.torch.save_file(average, tmp_path / "plain.safetensors")
    for number, name in enumerate(("bare.pt", "ddp.pt", "plain.safetensors")):
        assert same(begun(finetuning(tmp_path / name), tmp_path / str(number)), average)


def test_every_architecture_begins_with_its_own_weights(tmp_path: Path) -> None:
    for name, cls in parts("model").items():
        plain = made(cls)
        assert isinstance(plain, Architecture)
        assert plain.source is None, name
        assert {"from", "fingerprint"} <= set(type(plain).model_fields), name


def test_a_place_and_a_content_are_what_it_is(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is absolute, and another content is another trial; the same one is the same."""
    monkeypatch.chdir(tmp_path)
    config = finetuning("source.pt")
    assert config == finetuning(source)
    assert config.model.source == str(source)
    monkeypatch.chdir("/")
    begun(config, tmp_path / "elsewhere")
    again = TrialConfig.model_validate(yaml.safe_load(config.to_yaml()))
    assert again == config.resolved()
    state = checkpoints.load(source)
    state["average"] = {name: value + 1 for name, value in state["average"].items()}
    checkpoints.save(source, state)
    assert finetuning(source) != config
    assert finetuning(source).model.model_copy(update={"fingerprint": config.model.fingerprint}) == config.model
    with pytest.raises(UserError, match="is not the file that the trial was described with") as caught:
        Trainer(config, tmp_path / "late", device="cpu")
    assert "\n" not in str(caught.value)
    Trainer(finetuning(source), tmp_path / "trial", device="cpu").save()
    with pytest.raises(UserError, match="holds the checkpoint of a trial with other options"):
        Trainer(config, tmp_path / "trial", device="cpu")


def test_a_training_that_has_begun_needs_the_file_no_more(source: Path, tmp_path: Path) -> None:
    config = finetuning(source)
    whole = Trainer(config, tmp_path / "whole", device="cpu").run()
    Trainer(config, tmp_path / "broken", device="cpu").epoch()
    source.unlink()
    record = TrialConfig.model_validate(yaml.safe_load(config.to_yaml()))
    assert record == config.resolved()
    assert Trainer(record, tmp_path / "broken", device="cpu").run()["weights"] == whole["weights"]
    assert load_model(tmp_path / "broken", "cpu")[2] == whole["weights"]
    with pytest.raises(UserError, match=r"source.pt: No such file or directory \(model.from\)"):
        Trainer(record, tmp_path / "new", device="cpu")


def test_clipping_is_of_the_weights_that_are_given(source: Path, tmp_path: Path) -> None:
    config = finetuning(source, optimiser={"name": "sgd", "clip": 0.01})
    model = Trainer(config, tmp_path / "trial", device="cpu").model
    assert max(weight.abs().max().item() for weight in model.parameters()) <= 0.01


def test_mistakes_are_told_where_the_trial_is_described(trained: Path, tmp_path: Path) -> None:
    for source, wrong in (
        (tmp_path / "none.pt", r"none.pt: No such file or directory"),
        (trained, r"is a folder; name a file in it: .*last.pt"),
        (tmp_path, r"Is a directory"),
    ):
        with pytest.raises(ValidationError, match=wrong):
            finetuning(source)
    with pytest.raises(ValidationError, match="is of a file in from, and there is none"):
        SmallCnn.model_validate({"name": "small_cnn", "fingerprint": "00"})
    path = tmp_path / "trial.yaml"
    path.write_text("judge: {data: digits, threat: {eps: 0.1}}\nmodel:\n  name: small_cnn\n  from: none.pt\n")
    with pytest.raises(UserError, match=r"trial.yaml:4: model.from: .*none.pt: No such file") as caught:
        TrialConfig.from_yaml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (MODEL | {"width": 3}, "size mismatch"),
        ({"name": "resnet18", "width": 2}, "Missing key"),
    ],
)
def test_weights_that_do_not_fit(model: dict[str, Any], wrong: str, source: Path) -> None:
    config = trial(model=model | {"from": str(source)})
    with pytest.raises(
        UserError, match=rf"source.pt: the weights do not fit model {model['name']} \({wrong}"
    ) as caught:
        start.check(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_no_weights(tmp_path: Path) -> None:
    (tmp_path / "page.pt").write_text("<!doctype html>")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, wrong in (("page.pt", "is a page of HTML"), ("list.pt", "holds a list, not a mapping")):
        with pytest.raises(UserError, match=wrong):
            Trainer(finetuning(tmp_path / name), tmp_path / "trial", device="cpu")


def test_weights_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own names for the norm, no fingerprint: a name stands for one file of theirs."""
    config = finetuning("zoo:Standard")
    assert config.model.fingerprint is None
    monkeypatch.setitem(__import__("sys").modules, "robustbench", None)
    with pytest.raises(UserError, match="the model zoo needs robustbench"):
        Trainer(config, tmp_path / "trial", device="cpu")
    monkeypatch.undo()
    (tmp_path / "site" / "robustbench").mkdir(parents=True)
    (tmp_path / "site" / "robustbench" / "__init__.py").touch()
    (tmp_path / "site" / "robustbench" / "utils.py").write_text(ZOO)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    with pytest.raises(UserError, match="zoo:Standard: the weights do not fit model small_cnn"):
        Trainer(config, tmp_path / "trial", device="cpu")
    with pytest.raises(UserError, match="zoo:Other: RobustBench has no such model for digits and Linf"):
        Trainer(finetuning("zoo:Other"), tmp_path / "trial", device="cpu")
