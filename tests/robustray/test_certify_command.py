"""`python -m robustray certify`: counts that no batch and no kill changes, what it writes, and mistakes in a line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from analysis.certified import caption, publish, radius_figure, read
from robustray.certify import counting, smoothed
from robustray.certify.counting import STORE, Noise, count
from robustray.certify.radii import smoothing_radius
from robustray.commands import certify_count
from robustray.derived import point
from robustray.derived.base import Ground
from robustray.derived.point import Recipe
from robustray.derived.smoothing import Smoothing
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.judging.plan import Plan
from robustray.models.noise import NoiseVote
from robustray.plugins import trust_parent
from robustray.subjects import Classifier
from robustray.subjects.derived import finder
from tests.robustray.judged import Command, Ended, learned, written
from tests.robustray.made import JUDGE, trial

FEW = ("--samples", "300", "--first", "20", "--device", "cpu")
ON_DIGITS = ("--data", "{name: digits, validation: 60}", "--sigma", "0.1", "--images", "24", *FEW)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def certified(command: Command, *arguments: object) -> Ended:
    ended = command("certify", *arguments)
    assert ended.code == 0, ended.error + ended.out
    return ended


def columns(folder: Path) -> dict[str, list[Any]]:
    """All counts of a folder."""
    shards = [STORE.read(folder, certify_count.STAGE, number) for number in STORE.shards(folder, certify_count.STAGE)]
    assert shards
    return {
        name: [value for s in shards if s is not None for value in s.columns[name].tolist()]
        for name in STORE.schema.names
    }


class Halves(nn.Module):
    """Says which side of a plane an image lies on: shares of its answers under noise are known."""

    def forward(self, x: Tensor) -> Tensor:
        side = x.flatten(1).sum(1)
        return torch.stack([side, -side, torch.full_like(side, -1e3)], 1)


def test_counts_are_those_of_the_noise() -> None:
    """Phi(d / sigma) of the copies, d the distance to the plane, within five deviations of chance."""
    from scipy.special import ndtr

    x = torch.full((1, 4, 4), 0.05)  # 0.2 away
    found = count(Halves(), x, 3, Noise(0.25, 100, 20_000), 512)
    share = float(ndtr(0.2 / 0.25))
    assert found.top == 0
    assert found.votes + found.second == 20_000
    assert abs(found.votes / 20_000 - share) < 5 * (share * (1 - share) / 20_000) ** 0.5


@pytest.mark.parametrize("batch", [1, 7, 100, 250, 301, 5000])
def test_no_batch_changes_a_count(batch: int) -> None:
    model, x, _ = learned()
    noise = Noise(0.3, 33, 455)
    assert count(model, x[0], 8, noise, batch) == count(model, x[0], 8, noise, 64)


def test_every_row_has_noise_of_its_own_and_both_purposes() -> None:
    drawn = {
        name: torch.cat(list(counting.noise_of(torch.Size([1, 8, 8]), row, purpose, 250, 90)))
        for name, row, purpose in (("a", 1, "count"), ("b", 2, "count"), ("c", 1, "pick"))
    }
    for name in "bc":
        assert drawn[name].shape == (250, 1, 8, 8)
        assert not torch.isclose(drawn["a"], drawn[name]).any(dim=(1, 2, 3)).all()
    whole = torch.cat(list(drawn.values()))
    assert abs(float(whole.mean())) < 0.05
    assert abs(float(whole.std()) - 1) < 0.05


def test_an_answer_that_is_not_finite_is_no_vote() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = Halves()(x)
            logits[::2] = float("nan")
            return logits

    found = count(Broken(), torch.full((1, 4, 4), 5.0), 0, Noise(0.1, 10, 100), 100)
    assert found == (0, 50, 0)


def test_what_it_says_and_writes(command: Command, tmp_path: Path) -> None:
    spec = f"{written(tmp_path)}:make"
    ended = certified(
        command, spec, *ON_DIGITS, "--alpha", "0.76,1", "--confidence", "0.99", "--results", tmp_path / "r"
    )
    folder, result = ended.folder, ended.result
    assert ended.lines[0].startswith("24 images of digits test")
    assert result["images"] == 24
    assert result["norm"] == "l2"
    images, curves = pd.read_csv(folder / "images.csv"), pd.read_csv(folder / "curves.csv")
    plan = Plan.of(Judge.model_validate(JUDGE | {"images": {"test": 24}}), "", "test")
    assert images["image"].tolist() == plan.rows.tolist()  # as a judgement of as many
    for alpha in (0.76, 1.0):
        radii = smoothing_radius(images["top_at_least"].to_numpy(), images["second_at_most"].to_numpy(), alpha, 0.1)
        assert radii == pytest.approx(images[f"radius_{alpha:g}"].to_numpy())
        right = (images["top"] == images["label"]) & (radii > 0)
        first = curves[(curves["alpha"] == alpha) & (curves["radius"] == 0) & (curves["form"] == "smoothing")]
        assert first.set_index("claims")["certified_accuracy"]["image"] == pytest.approx(right.mean())
        entry = next(entry for entry in result["alphas"] if entry["alpha"] == alpha)
        assert entry["certified_accuracy"] == pytest.approx(right.mean())
    assert result["alphas"][1]["certified_accuracy"] > 0.5  # it has learned something
    read_back, about = read(folder)
    figure = radius_figure(read_back, title=caption(about))
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash"] * 2
    top = read_back[(read_back["alpha"] == 1) & (read_back["form"] == "smoothing") & (read_back["claims"] == "image")]
    shown = len(figure.data[2].y)
    assert np.allclose(figure.data[2].y, 100 * top["certified_accuracy"].iloc[:shown])
    assert not top["certified_accuracy"].iloc[shown:].any()  # what is 0 is not drawn along the axis
    assert publish(folder, formats=()).page.read_text(encoding="utf-8").count("plotly") > 1


def test_another_confidence_and_alpha_count_nothing_anew(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = f"{written(tmp_path)}:make"
    first = certified(command, spec, *ON_DIGITS, "--results", tmp_path / "r")

    def never(*_: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(counting, "count", never)
    second = certified(command, spec, *ON_DIGITS, "--results", tmp_path / "r", "--alpha", "0.8", "--confidence", "0.9")
    assert second.folder == first.folder


def test_a_killed_run_goes_on(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another batch, where a file is missing and another is damaged: the same counts."""
    spec = f"{written(tmp_path)}:make"
    whole = certified(command, spec, *ON_DIGITS, "--results", tmp_path / "whole")
    real, asked = counting.count, []

    def stops(model: nn.Module, x: Tensor, row: int, noise: Noise, batch: int) -> counting.Count:
        asked.append(row)
        if len(asked) == 15:
            raise KeyboardInterrupt
        return real(model, x, row, noise, batch)

    monkeypatch.setattr(counting, "count", stops)
    ended = command("certify", spec, *ON_DIGITS, "--results", tmp_path / "cut")
    assert ended.code == 130
    assert ended.lines[-1] == "Stopped. Whole shards are kept; the same command goes on."
    again = certified(command, spec, *ON_DIGITS, "--batch", "70", "--results", tmp_path / "cut")
    assert len(asked) == 15 + 14  # ten of them were kept
    assert columns(again.folder) == columns(whole.folder)
    assert (again.folder / "curves.csv").read_text() == (whole.folder / "curves.csv").read_text()
    STORE.path(again.folder, certify_count.STAGE, 1).write_bytes(b"no parquet")
    assert columns(certified(command, spec, *ON_DIGITS, "--results", tmp_path / "cut").folder) == columns(whole.folder)


def test_of_a_smoothing_point_the_robust_parent_is_smoothed(command: Command, tmp_path: Path) -> None:
    """By its own alpha, on its own images, and on the counts that its parent's would be."""
    folder, spec, judge = tmp_path / "p0001", str(written(tmp_path)), Judge.model_validate(JUDGE)
    folder.mkdir()
    trust_parent(f"{spec}:make")  # as a space does that names it
    recipe = Recipe(Smoothing(alpha=(0.7,)), {"alpha": 0.7}, [f"{spec}:make"] * 2, judge)
    ground = Ground(judge, torch.device("cpu"), folder, tmp_path)
    point.make(recipe, ground, finder(folder, judge))
    ended = certified(command, folder, "--sigma", "0.1", "--images", "12", *FEW)
    assert ended.lines[0].startswith("12 images of digits validation, the robust part of p0001 smoothed")
    assert ended.folder.parent == folder / "certificates"
    assert [entry["alpha"] for entry in ended.result["alphas"]] == [pytest.approx(0.7)]
    alone = certified(command, f"{spec}:make", "--data", "{name: digits, validation: 60}", "--split", "validation",
                      "--images", "12", "--sigma", "0.1", *FEW, "--results", tmp_path / "alone")  # fmt: skip
    assert columns(alone.folder) == columns(ended.folder)


def test_a_point_of_half_or_less_certifies_nothing(command: Command, tmp_path: Path) -> None:
    folder, spec, judge = tmp_path / "p0002", str(written(tmp_path)), Judge.model_validate(JUDGE)
    folder.mkdir()
    trust_parent(f"{spec}:make")
    recipe = Recipe(Smoothing(alpha=(0.4,)), {"alpha": 0.4}, [f"{spec}:make"] * 2, judge)
    point.make(recipe, Ground(judge, torch.device("cpu"), folder, tmp_path), finder(folder, judge))
    ended = command("certify", folder, "--sigma", "0.1", *FEW)
    assert ended.code == 2
    assert "p0002: its alpha of 0.4: nothing is certified at 1/2 or below" in ended.error


def test_of_a_vote_under_noise_what_votes_is_smoothed() -> None:
    network = learned()[0]
    vote = nn.Sequential(nn.Identity(), NoiseVote(network, torch.tensor(0.5), 3, 10)).eval()
    base = smoothed.base_of(Classifier(vote, "vote", "", "noise_smoothed"))
    x = torch.rand(5, 1, 8, 8)
    assert torch.equal(base.model(x), network(x))
    assert isinstance(vote[1], NoiseVote)  # the caller's is as it was


def test_a_trial_that_votes_says_its_sigma() -> None:
    config = trial(model={"name": "noise_smoothed", "base": {"name": "small_cnn", "width": 2}, "sigma": 0.125})
    vote = config.model.build(config.judge.data).eval()
    base = smoothed.base_of(Classifier(vote, "vote", "", "noise_smoothed", trial=config, judge=config.judge))
    assert base.sigma == 0.125
    assert not any(isinstance(module, NoiseVote) for module in base.model.modules())


def test_mixtures_without_a_certificate_say_why() -> None:
    from robustray.derived.mixture import Mixed, Mixture, PowerMap, Scale

    g, h = learned(eps=0.0)[0], learned()[0]
    with pytest.raises(UserError, match="power map"):
        smoothed.base_of(Classifier(Mixture(g, h, Scale(1), PowerMap(1, 2, 0), 0.8), "point", "", "nonlinear"))
    with pytest.raises(UserError, match="mixing network has no certificate"):
        smoothed.base_of(Classifier(Mixed(g, h, Scale(1), Scale(1)), "point", "", "smoothing"))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sigma", "0"], "--sigma 0: must be a positive number"),
        (["--sigma", "nan"], "--sigma nan: must be a positive number"),
        (["--confidence", "1"], "--confidence 1: must lie between 0 and 1"),
        (["--alpha", "0.7,2"], "--alpha 2: must be a number from 0 to 1"),
        (["--alpha", "much"], "--alpha much: must be a number from 0 to 1"),
        (["--alpha", "0.3,0.5"], "--alpha 0.3,0.5: nothing is certified at 1/2 or below"),
        (["--images", "100000"], "--images 100000: digits has"),
        (["--device", "cuda:99"], "--device: device 'cuda:99' is not on this machine"),
        (["--data", "digit"], "--data: there is no data 'digit'"),
    ],
)
def test_a_mistake_is_one_line(command: Command, tmp_path: Path, flags: list[str], said: str) -> None:
    ended = command("certify", f"{written(tmp_path)}:make", *ON_DIGITS, *flags, "--results", tmp_path / "r")
    assert ended.code == 2
    assert said in ended.error
    assert len(ended.error.splitlines()) == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("left_out", "said"), [("--sigma", "--sigma is missing"), ("--data", "--data is missing")])
def test_what_is_missing_is_named(command: Command, tmp_path: Path, left_out: str, said: str) -> None:
    flags = list(ON_DIGITS)
    at = flags.index(left_out)
    ended = command("certify", f"{written(tmp_path)}:make", *flags[:at], *flags[at + 2 :])
    assert ended.code == 2
    assert said in ended.error


def test_a_folder_without_curves_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no certificate here"):
        read(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "analysis", "certified", tmp_path], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    (tmp_path / "curves.csv").write_text("a\n1\n")
    (tmp_path / "result.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="must have the columns"):
        read(tmp_path)
