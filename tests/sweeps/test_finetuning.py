"""A sweep whose trials begin with given weights: in every worker, under every branch, and refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import sweeps
from robustray.data import Digits
from robustray.errors import UserError
from robustray.models import SmallCnn
from robustray.training import checkpoints
from sweeps import record
from sweeps.driver import look_ahead
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, run_quietly, small_sweep

TEXT = SPACE.replace("dropout: 0.1}", "dropout: 0.1, from: {choice: [one.pt, two.pt]}}").replace(
    "trials: 5", "trials: 3"
)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one.pt", "two.pt")):
        torch.manual_seed(seed)
        torch.save(SmallCnn(width=2).build(Digits(validation=400)).state_dict(), tmp_path / name)
    return tmp_path


def test_trials_begin_with_the_weights_of_their_branch(given: Path) -> None:
    sweep = small_sweep(given, text=TEXT)
    assert run_quietly(sweep, given / "results")
    for trial in record.read(given / "results").trials:
        folder = given / "results" / "trials" / f"{trial.number:04d}"
        model = yaml.safe_load((folder / "trial.yaml").read_text())["model"]
        assert model["from"] == str(given / str(trial.params["model.from"]))
        assert len(model["fingerprint"]) == 64
        assert yaml.safe_load(checkpoints.load(folder / "last.pt")["config"])["model"] == model


def test_other_weights_in_the_same_place_are_another_sweep(given: Path) -> None:
    run_quietly(small_sweep(given, text=TEXT), given / "results")
    torch.manual_seed(9)
    for name in ("one.pt", "two.pt"):
        torch.save(SmallCnn(width=2).build(Digits(validation=400)).state_dict(), given / name)
    with pytest.raises(UserError, match=r"trial\.model\.fingerprint") as caught:
        sweeps.run(small_sweep(given, text=TEXT), given / "results", "local", write=lambda line: None)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused_before_anything_starts(given: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, given / "two.pt")
    with pytest.raises(UserError, match=r"two.pt: the weights do not fit model small_cnn \(Missing key"):
        look_ahead(small_sweep(given, text=TEXT))
    assert not (given / "results").exists()


def test_a_file_that_is_not_there_is_told_by_line_and_branch(given: Path) -> None:
    (given / "two.pt").unlink()
    (given / "x.yaml").write_text(TEXT)
    with pytest.raises(UserError, match=r"x.yaml:\d+: trial.model.from.*two.pt: No such file or directory") as caught:
        Sweep.from_yaml(given / "x.yaml")
    assert "\n" not in str(caught.value)
