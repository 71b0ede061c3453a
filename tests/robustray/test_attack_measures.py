"""Accuracy under any attack, over radii, from another model, under turns and corruptions: closed forms and properties."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from robustray.attacks import Threat
from robustray.attacks.norms import Norm
from robustray.data.device import DeviceImages
from robustray.data.moves import MoveGrid, Moves
from robustray.data.npz import Npz
from robustray.errors import UserError
from robustray.measures import taking
from robustray.measures.base import Ground
from robustray.measures.corruptions import Corruptions
from robustray.measures.robust_accuracy import RobustAccuracy
from robustray.measures.spatial import spatial
from robustray.measures.spatial_accuracy import Spatial
from robustray.measures.taking import take
from robustray.measures.transfer import Transfer
from robustray.models.small_cnn import SmallCnn
from robustray.testing.derived import JUDGE, trained
from robustray.testing.measures import ground
from tests.robustray.extra import corrupt


def line(folder: Path, norm: Norm = "linf", eps: float = 0.05, images: int = 130) -> tuple[Ground, NDArray[np.float64]]:
    """Two classes told apart by a line, with room in the box, and how far each image is from the wrong side; below 0: there."""
    draws = np.random.default_rng(0)
    pixels = draws.integers(90, 166, (images, 2, 3, 1), dtype=np.uint8)
    weight = draws.normal(size=6)
    x = pixels.reshape(images, 6) / 255
    bias = -float(np.median(x @ weight))
    labels = (x @ weight + bias > draws.normal(0, 0.05, images)).astype(np.int64)
    np.savez(folder / "train.npz", images=pixels, labels=labels)
    np.savez(folder / "test.npz", images=pixels, labels=labels)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        layer = model[1]
        assert isinstance(layer, nn.Linear)
        layer.weight.copy_(torch.tensor(np.stack([-weight, weight]) / 2))
        layer.bias.copy_(torch.tensor([-bias / 2, bias / 2]))
    dual = np.abs(weight).sum() if norm == "linf" else np.sqrt((weight**2).sum())
    room = (2 * labels - 1) * (x @ weight + bias) / dual
    data = Npz(train=str(folder / "train.npz"), test=str(folder / "test.npz"), validation=1)
    rows, threat = np.arange(images), Threat(norm=norm, eps=eps)
    here = Ground(model.eval().requires_grad_(False), data, "test", rows, threat, 2, torch.device("cpu"))
    return here, room


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_accuracy_of_a_line_over_radii(norm: Norm, tmp_path: Path) -> None:
    """An image stands a radius exactly where it is farther than that from the line; at 0 that is clean accuracy."""
    here, room = line(tmp_path, norm)
    radii = (0, 0.01, 0.02, 0.08)
    found = take(RobustAccuracy.model_validate({"attack": "fgsm", "eps_range": radii}), here)
    curve = found.tables["curve"]
    assert [row["eps"] for row in curve] == [0, 0.01, 0.02, 0.05, 0.08]
    for row in curve:
        assert row["robust_accuracy"] == np.mean(room > row["eps"])
        assert row["low"] < row["robust_accuracy"] < row["high"]
    assert found.value == np.mean(room > 0.05)
    assert found.notes == ("under {name: fgsm}",)
    assert found.values["clean_accuracy"] == curve[0]["robust_accuracy"]
    assert np.array_equal(found.columns["robust"], room > 0.05)
    for radius, at in zip(room, found.columns["broken_at"], strict=True):
        assert at == next((eps for eps in [0, 0.01, 0.02, 0.05, 0.08] if radius <= eps), np.inf)
    assert len({row["robust_accuracy"] for row in curve}) == 5


def test_no_radius_is_clean_accuracy_and_one_pass(tmp_path: Path) -> None:
    here, _ = line(tmp_path, eps=0)
    measure = RobustAccuracy()
    found = take(measure, here)
    assert found.value == found.values["clean_accuracy"]
    assert found.values["fooling_rate"] == 0
    assert measure.passes(here) == len(here)


def test_fooling_counts_wrong_answers_too(tmp_path: Path) -> None:
    """Of a line: every image less than eps from it on the right side, none on the wrong one, which the attack leaves alone."""
    here, room = line(tmp_path)
    found = take(RobustAccuracy.model_validate({"attack": "fgsm"}), here)
    assert found.values["fooling_rate"] == np.mean((room > 0) & (room <= 0.05))


def test_a_curve_never_rises_and_is_at_most_the_attack_at_each_radius() -> None:
    """With an attack that is too weak at large radii, too: what broke at a smaller one stays broken."""
    here = ground()
    weak = {"name": "pgd", "steps": 1, "step_size": 0.01, "start": "none"}
    radii = (0.01, 0.03, 0.1, 0.3)
    curve = take(RobustAccuracy.model_validate({"attack": weak, "eps_range": radii}), here).tables["curve"]
    shares = [row["robust_accuracy"] for row in curve]
    assert shares == sorted(shares, reverse=True)
    for row in curve:
        alone = replace(here, threat=Threat(eps=row["eps"]))
        assert row["robust_accuracy"] <= take(RobustAccuracy.model_validate({"attack": weak}), alone).value


def test_accuracy_never_rises_with_restarts() -> None:
    """Image by image: more restarts begin with the same ones."""
    here, before = ground(), np.ones(24, bool)
    for restarts in (1, 2, 4):
        attack = {"name": "pgd", "steps": 2, "loss": "ce", "restarts": restarts, "keep": "misclassified"}
        now = take(RobustAccuracy.model_validate({"attack": attack}), here).columns["robust"]
        assert not (now & ~before).any()
        before = now


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_measuring_moves_no_buffer(mode: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), copy.deepcopy(trained(0)))
    model.eval().requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure = RobustAccuracy.model_validate({"attack": {"name": "pgd", "steps": 1, "mode": mode}})
    assert take(measure, ground(model)).value <= 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("radii", "said"), [((9,), "9 is no radius in linf"), ((2, 0.1), "2 is no radius")])
def test_radii_that_are_none(radii: tuple[float, ...], said: str) -> None:
    with pytest.raises(UserError, match=said):
        take(RobustAccuracy(eps_range=radii), ground())


def test_transfer_from_itself_is_the_attack_itself() -> None:
    attack = {"name": "pgd", "steps": 3, "loss": "margin"}
    here = replace(ground(), other=lambda spec: (trained(0), "w"))
    found = take(Transfer.model_validate({"source": "itself", "attack": attack}), here)
    own = take(RobustAccuracy.model_validate({"attack": attack}), here)
    assert np.array_equal(found.columns["robust"], own.columns["robust"])
    assert found.values["transfer_rate"] == 1
    from_another = take(Transfer.model_validate({"source": "another", "attack": attack}), ground())
    assert own.value < from_another.value <= from_another.values["clean_accuracy"]


def _named(weights: str, spec: str) -> tuple[nn.Module, str]:
    return trained(1), weights


def test_transfer_is_another_measurement_where_the_other_model_has_other_weights() -> None:
    measure, here = Transfer(source="another"), ground()
    first, second = (replace(here, other=partial(_named, weights)) for weights in ("a", "b"))
    assert taking.identity(measure, first, "w") != taking.identity(measure, second, "w")
    few = SmallCnn(width=2).build(JUDGE.data)
    cut = nn.Sequential(few, nn.Linear(10, 4)).eval().requires_grad_(False)
    with pytest.raises(UserError, match="another tells 4 classes apart, the model 10"):
        take(measure, replace(here, other=lambda spec: (cut, "w")))


def test_spatial_is_what_trials_are_measured_by() -> None:
    """The same shares as of the tune images after training, and the worst of all of them as the value."""
    here, moves = ground(), Moves(draws=3, grid=MoveGrid(rotations=3, translations=1))
    found = take(Spatial(moves=moves), here)
    images = DeviceImages(here.data.load("validation").take(here.rows), torch.device("cpu"))
    expected = spatial(here.model, images, here.rows, moves)
    assert {name: found.values[name] for name in expected} == pytest.approx(expected)
    assert found.value <= min(expected["spatial_worst_accuracy"], expected["spatial_grid_accuracy"])
    assert found.columns["draws_right"].sum() == pytest.approx(3 * 24 * expected["spatial_accuracy"])


def test_corruptions_by_hand(tmp_path: Path) -> None:
    """Copies of the images themselves leave every number at clean accuracy; black ones at the share of one answer."""
    here = ground()
    corrupt(tmp_path)
    held_out = here.data.load("validation")
    np.save(tmp_path / "same.npy", np.tile(held_out.images, (5, 1, 1, 1)))
    (tmp_path / "noise.npy").unlink()
    np.save(tmp_path / "darkness.npy", np.zeros((5 * len(held_out), 8, 8, 1), np.uint8))
    found = take(Corruptions(path=str(tmp_path)), here)
    dark = int(here.model(torch.zeros(1, 1, 8, 8)).argmax())
    table = {(row["corruption"], row["severity"]): row["accuracy"] for row in found.tables["corruptions"]}
    assert len(table) == 10
    for severity in range(1, 6):
        assert table["same", severity] == found.values["clean_accuracy"]
        assert table["darkness", severity] == np.mean(held_out.labels[here.rows] == dark)
    errors = 1 - found.values["clean_accuracy"], 1 - table["darkness", 1]
    assert found.values["mean_corruption_error"] == pytest.approx(np.mean(errors))
    assert found.values["relative_error"] == pytest.approx((errors[1] - errors[0]) / 2)
    assert found.value == pytest.approx(1 - np.mean(errors))


def test_corruptions_beside_another_model(tmp_path: Path) -> None:
    """Divided by its own errors they are 1."""
    here = ground()
    corrupt(tmp_path)
    found = take(Corruptions(path=str(tmp_path)), here)
    taking.written(tmp_path / "before", {}, found, here)
    measure = Corruptions(path=str(tmp_path), reference=str(tmp_path / "before" / "corruptions.csv"))
    assert take(measure, here).values["normalised_error"] == pytest.approx(1)
    assert taking.identity(measure, here, "") != taking.identity(Corruptions(path=str(tmp_path)), here, "")


def _gone(folder: Path) -> None:
    (folder / "labels.npy").unlink()


def _others(folder: Path) -> None:
    np.save(folder / "labels.npy", np.zeros(1500, np.int64))


def _floats(folder: Path) -> None:
    np.save(folder / "noise.npy", np.zeros((1500, 8, 8, 1)))


def _damaged(folder: Path) -> None:
    (folder / "noise.npy").write_bytes(b"no array")


def _none(folder: Path) -> None:
    for file in folder.glob("*.npy"):
        file.unlink()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (_gone, r"labels\.npy: No such file"),
        (_others, r"labels\.npy: not the labels of the 300 validation images of digits, five times"),
        (_floats, r"noise\.npy: must be uint8 \[1500, 8, 8, 1\], not float64"),
        (_damaged, r"noise\.npy: not an array"),
        (_none, r"no folder of corruptions"),
    ],
)
def test_a_folder_of_corruptions_that_is_none(broken: Any, said: str, tmp_path: Path) -> None:
    corrupt(tmp_path)
    broken(tmp_path)
    with pytest.raises(UserError, match=said):
        take(Corruptions(path=str(tmp_path)), ground())
