"""Calibration, accuracy by class, detection and predictions against closed forms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.attacks.pgd import Pgd
from robustray.data.npz import Npz
from robustray.errors import UserError
from robustray.measures import answered, detection
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.calibration import Calibration, by_chance, expected_error, scores
from robustray.measures.detection import Detection
from robustray.measures.per_class import PerClass
from robustray.measures.predictions import Predictions
from robustray.measures.taking import take
from robustray.testing.measures import ground

SHOWN = ground()
LABELS = torch.from_numpy(SHOWN.data.load(SHOWN.split).labels[SHOWN.rows])


class Says(nn.Module):
    """The same logits whatever it sees: one row for all images, or a table that is walked through."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1) + 0 * x.sum()


def summed(measure: PerImage, logits: Tensor, labels: Tensor) -> Result:
    """What a measure without an attack says of a table of logits [N, K]."""
    columns = {name: column.numpy() for name, column in scores(logits.double(), labels).items()}
    return measure.summary(columns, SHOWN)


def sure(confidence: Tensor, right: Tensor, classes: int = 10) -> tuple[Tensor, Tensor]:
    """Logits [N, K] that say class 0 with these confidences [N], the others alike; labels that make them right or wrong."""
    rest = ((1 - confidence) / (classes - 1)).log()
    logits = torch.cat([confidence.log()[:, None], rest[:, None].expand(-1, classes - 1)], 1)
    return logits, torch.where(right, 0, 1)


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_a_calibrated_model_has_no_error(binning: Any) -> None:
    """Of confidence 0.8, eight in ten are right; of 0.4, four in ten."""
    confidence = torch.tensor([0.8] * 50 + [0.4] * 50, dtype=torch.float64)
    right = torch.tensor(([True] * 40 + [False] * 10) + ([True] * 20 + [False] * 30))
    found = summed(Calibration(binning=binning), *sure(confidence, right))
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.values["overconfidence"] == pytest.approx(0, abs=1e-12)
    assert found.values["maximum_error"] == pytest.approx(0, abs=1e-12)
    assert any("by chance" in note for note in found.notes)
    rows = found.tables["reliability"]
    assert [row["images"] for row in rows] == [50, 50]
    assert [row["accuracy"] for row in rows] == pytest.approx([row["confidence"] for row in rows])
    assert all(row["low"] < row["accuracy"] < row["high"] for row in rows)


def test_the_errors_of_a_model_that_is_always_as_sure() -> None:
    """Of confidence c with a share a right: |a - c|, whatever the bins; Brier and log loss by hand."""
    right = torch.arange(100) < 30
    found = summed(Calibration(), *sure(torch.full((100,), 0.91, dtype=torch.float64), right))
    assert found.value == pytest.approx(0.61)
    assert found.values["maximum_error"] == found.values["overconfidence"] == pytest.approx(0.61)
    rest = 0.09 / 9
    hit = 0.09**2 + 9 * rest**2
    miss = 0.91**2 + (1 - rest) ** 2 + 8 * rest**2
    assert found.values["brier"] == pytest.approx(0.3 * hit + 0.7 * miss)
    assert found.values["nll"] == pytest.approx(-0.3 * np.log(0.91) - 0.7 * np.log(rest))


def test_a_constant_model() -> None:
    """Even logits: confidence 1 / K, log loss ln K, Brier 1 - 1 / K; right about the images of the class that argmax takes."""
    found = take(Calibration(), ground(Says(torch.zeros(1, 10))))
    share = float((LABELS == 0).double().mean())
    assert found.value == pytest.approx(abs(share - 0.1))
    assert found.values["nll"] == pytest.approx(np.log(10))
    assert found.values["brier"] == pytest.approx(0.9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0.11, 0.3, 0.5, 0.9, 1.0]), min_size=2, max_size=40), st.integers(0, 99))
def test_the_order_of_images_and_finer_bins(levels: list[float], seed: int) -> None:
    """The order changes nothing, with ties too; a finer partition never has less error; one bin has |overconfidence|."""
    draw = np.random.default_rng(seed)
    confidence, right = np.array(levels), draw.random(len(levels)) < 0.5
    turned = draw.permutation(len(levels))
    for binning in ("width", "mass"):
        measure = Calibration(binning=binning, bins=8)
        bins = measure.bin(confidence)
        value = expected_error(confidence, right, bins)
        assert value == pytest.approx(
            expected_error(confidence[turned], right[turned], measure.bin(confidence[turned]))
        )
        assert bins.min() >= 0
        assert bins.max() < 8
        one = expected_error(confidence, right, np.zeros_like(bins))
        assert one == pytest.approx(abs(confidence.mean() - right.mean()))
        finest = expected_error(confidence, right, np.unique(confidence, return_inverse=True)[1])
        assert one - 1e-12 <= value <= finest + 1e-12


def test_a_confidence_on_an_edge_belongs_to_the_bin_below() -> None:
    assert Calibration(bins=4).bin(np.array([0.25, 0.2500001, 0.5, 1.0])).tolist() == [0, 1, 1, 3]


def test_what_chance_makes_of_a_calibrated_model() -> None:
    """One bin of N images of confidence c: E|hits / N - c| of a binomial, near sqrt(2 c (1 - c) / (pi N))."""
    confidence = np.full(400, 0.5)
    found = by_chance(confidence, np.zeros(400, np.int64)).mean()
    assert found == pytest.approx(np.sqrt(0.5 / (np.pi * 400)), rel=0.2)


def test_confidence_where_a_softmax_is_saturated() -> None:
    """p is 1 to rounding of all three, and yet they have an order: log p = -exp(-gap) there."""
    z = torch.tensor([[40.0, 0.0], [50.0, 0.0], [60.0, 0.0]], dtype=torch.float64)
    found = answered.confidence(z)
    assert torch.equal(z.softmax(1)[:, 0], torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(found, -torch.exp(-z[:, 0]), rtol=1e-12, atol=0)
    even = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(answered.confidence(even), even.log_softmax(1).amax(1))


def test_logits_that_are_not_finite_are_refused() -> None:
    broken = torch.zeros(1, 10)
    broken[0, 3] = torch.nan
    with pytest.raises(UserError, match="logits of validation image"):
        take(Calibration(), replace(ground(Says(broken)), spec="mine"))


def test_an_answer_that_is_none() -> None:
    """NaN for every image: never right, always changed; an attack that meets one says so in a line."""
    here = replace(ground(Says(torch.full((1, 10), torch.nan))), spec="mine")
    assert take(Predictions(attack=None), here).columns["predicted"].tolist() == [-1] * len(here)
    assert take(PerClass(attack=None), here).value == 0
    with pytest.raises(UserError, match="mine: pgd: the model or its gradients are not finite"):
        take(Predictions(), here)


def test_an_attack_on_batch_statistics_is_refused() -> None:
    for measure in (
        Calibration(attack=Pgd(mode="train")),
        PerClass(attack=Pgd(mode="train")),
        Predictions(attack=Pgd(mode="train")),
        Detection(attack=Pgd(mode="train")),
    ):
        with pytest.raises(UserError, match=r"attack\.mode"):
            take(measure, SHOWN)


# By class.


def test_a_constant_model_leaves_all_classes_but_one_behind() -> None:
    found = take(PerClass(attack=None), ground(Says(torch.eye(10)[3:4])))
    assert found.value == found.low == 0
    assert found.values["best"] == 1
    assert found.values["mean"] == pytest.approx(0.1)
    assert found.values["worst_class"] != 3
    assert [row["clean"] for row in found.tables["classes"]] == [float(label == 3) for label in range(10)]
    assert sum(row["images"] for row in found.tables["confusion"]) == len(SHOWN)
    assert {row["answer"] for row in found.tables["confusion"]} == {3}


def test_classes_add_up() -> None:
    """Accuracies weighted by their images are those of `predictions`, and attacked ones never above clean ones."""
    found, whole = take(PerClass(), SHOWN), take(Predictions(), SHOWN)
    table = found.tables["classes"]
    for name, total in (("robust", whole.value), ("clean", whole.values["clean_accuracy"])):
        weighted = sum(row[name] * row["images"] for row in table) / len(SHOWN)
        assert weighted == pytest.approx(total)
        assert all(row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] for row in table)
    assert found.value == min(row["robust"] for row in table)
    assert all(row["robust"] <= row["clean"] for row in table)
    off = sum(row["images"] for row in found.tables["confusion"] if row["label"] != row["answer"])
    assert off / len(SHOWN) == pytest.approx(1 - whole.values["clean_accuracy"])


def test_no_room_no_change() -> None:
    """eps 0: the attack changes no answer, so that fooling is 0 and robust accuracy is clean accuracy."""
    still = replace(SHOWN, threat=SHOWN.threat.model_copy(update={"eps": 0.0}))
    found = take(Predictions(logits=True), still)
    assert found.values["fooling_rate"] == 0
    assert found.value == found.values["clean_accuracy"]
    np.testing.assert_array_equal(found.columns["logit_4"], found.columns["logit_4_attacked"])


def grey(folder: Path, count: int = 60) -> Npz:
    """Random images of two classes, away from the ends of [0, 1]."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        pixels = draw.integers(80, 175, (count, 4, 4, 1), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", images=pixels, labels=draw.integers(0, 2, count))
    return Npz(train=str(folder / "train.npz"), test=str(folder / "test.npz"), validation=count // 2)


def linear(folder: Path) -> tuple[Ground, Tensor, Tensor]:
    """Logits +-w.(x - 1/2) / 2 of grey images, w [16], and their margins [N] for the label."""
    weight = torch.randn(16, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(16, 2).requires_grad_(False)
    layer.weight.copy_(torch.stack([weight, -weight]) / 2)
    layer.bias.copy_(torch.stack([-weight.sum(), weight.sum()]) / 4)
    model = nn.Sequential(nn.Flatten(), layer)
    here = replace(ground(model), data=grey(folder), split="test", rows=np.arange(60), classes=2)
    x, y = here.shard(0)
    return here, weight, (x.flatten(1) - 0.5) @ weight * (1 - 2 * y)


def test_the_attack_of_a_linear_model_is_the_best_there_is(tmp_path: Path) -> None:
    """The box inactive, what stands is where the margin is above eps ||w||_1: one step of sign and length eps reaches it."""
    here, weight, margin = linear(tmp_path)
    found = take(Predictions(attack=Pgd(steps=1, step_size={"of_eps": 1}, start="none")), here)
    assert found.value == float((margin > here.threat.eps * weight.abs().sum()).double().mean())
    assert found.values["clean_accuracy"] == float((margin > 0).double().mean())
    assert 0 < found.value < found.values["clean_accuracy"]


@pytest.mark.parametrize("options", [{"restarts": 3}, {"start": "gaussian", "sigma": 0.02}, {"loss": "ce-targeted"}])
def test_an_image_is_attacked_alone_as_among_others(options: dict[str, Any]) -> None:
    """Whatever an attack draws is drawn for the image's row."""
    measure = Predictions(attack=Pgd(steps=2, **options), logits=True)
    whole, alone = take(measure, SHOWN), take(measure, replace(SHOWN, rows=SHOWN.rows[17:18]))
    for name, column in alone.columns.items():
        np.testing.assert_allclose(column, whole.columns[name][17:18], rtol=1e-4, atol=1e-5)


# Detection.


def test_nothing_is_refused_where_all_confidences_are_one(tmp_path: Path) -> None:
    """A constant model: the threshold is its one confidence, and the errors are those without."""
    found = take(Detection(), ground(Says(torch.eye(10)[3:4])))
    assert found.values["kept"] == 1
    assert found.value == found.values["error_without"] == found.values["clean_error"]
    assert found.values["auc"] == 0
    assert any("no image" in note for note in found.notes)


def test_the_error_of_a_linear_model_at_its_threshold(tmp_path: Path) -> None:
    """Every number from margins alone: m as it is, m - eps ||w||_1 under the attack, confidence a function of |m|."""
    here, weight, margin = linear(tmp_path)
    under = margin - here.threat.eps * weight.abs().sum()
    x, y = here.images("validation")
    known = ((x.flatten(1) - 0.5) @ weight * (1 - 2 * y)).clamp_min(0)
    at = known[known > 0].sort().values[int((known > 0).sum() * 0.2)]
    found = take(Detection(keep=0.8), here)
    assert found.values["threshold"] == pytest.approx(torch.sigmoid(at).item(), rel=1e-5)
    failed = ((margin < 0) & (-margin >= at)) | ((under < 0) & (-under >= at))
    passes = (margin.abs() >= at) | (under.abs() >= at)
    assert found.value == pytest.approx((failed.sum() / passes.sum()).item())
    assert found.values["clean_error"] == pytest.approx(
        ((margin < 0) & (-margin >= at)).sum().item() / (margin.abs() >= at).sum().item()
    )
    fooled = (margin > 0) & (under < 0)
    pairs = margin[margin > 0][:, None] - (-under[fooled])[None]
    assert found.values["auc"] == pytest.approx((pairs > 0).double().mean().item())
    assert found.values["kept_attacked"] == pytest.approx((-under[fooled] >= at).double().mean().item())


def test_the_attack_climbs_confidence_in_a_wrong_class() -> None:
    """Fooled images are surer than those of an attack that stops caring once the class has changed."""
    sure, border = take(Detection(keep=0.9), SHOWN), take(Detection(keep=0.9, attack=Pgd(steps=40, loss="dlr")), SHOWN)
    assert sure.value >= border.value
    assert sure.values["auc"] <= border.values["auc"]


def test_a_threshold_keeps_at_least_its_share() -> None:
    clean = np.linspace(-1, 0, 100)
    for keep in (0.5, 0.9, 0.99, 0.995, 1.0):
        kept = (clean >= detection.threshold(clean, keep)).mean()
        assert keep <= kept < keep + 0.0100001
    with pytest.raises(UserError, match="right about no validation image"):
        detection.threshold(np.empty(0), 0.99)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-5, 0), min_size=1, max_size=30), st.lists(st.integers(-5, 0), min_size=1, max_size=30))
def test_the_area_is_that_of_its_curve(clean: list[int], fooled: list[int]) -> None:
    """P(a > b) + P(a = b) / 2 over pairs, and by trapezoids; 1/2 of the same values, and 1 minus it the other way round."""
    a, b = np.array(clean, float), np.array(fooled, float)
    pairs = a[:, None] - b[None]
    found = detection.area(a, b)
    assert found == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
    assert found + detection.area(b, a) == pytest.approx(1)
    assert detection.area(a, a) == pytest.approx(0.5)
    rows = detection.curve(a, b)
    kept = [0.0, *(row["kept"] for row in rows)]
    false = [0.0, *(row["kept_attacked"] for row in rows)]
    assert kept == sorted(kept)
    assert kept[-1] == false[-1] == 1
    assert np.trapezoid(kept, false) == pytest.approx(found)
