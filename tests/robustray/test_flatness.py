"""Robust loss and flatness: closed forms, budgets, and what must leave them alone."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray import weight_space
from robustray.attacks.threats import Threat
from robustray.errors import UserError
from robustray.measures import flatness as flatness_file
from robustray.measures.base import Ground
from robustray.measures.flatness import Flatness
from robustray.measures.rescaling import rescale
from robustray.measures.robust_loss import Climb, ManyStarts, RobustLoss, losses_at
from robustray.measures.taking import take
from robustray.measures.weights import Batch, Movable, joint_ascent
from robustray.models.equivariant import GroupBatchNorm, GroupConv
from robustray.testing.derived import JUDGE, trained
from robustray.testing.made import Boom, Fails, batch, generator, linear, network
from robustray.testing.measures import Passes, ground

FEW = {"steps": 3}


class Says(nn.Module):
    """A model whose cross-entropy at label 0 is a given loss of its weights, whatever the image."""

    hessian: Tensor
    gradient: Tensor
    at: Tensor

    def __init__(self, weight: Tensor, hessian: Tensor, gradient: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.register_buffer("hessian", hessian)
        self.register_buffer("gradient", gradient)
        self.register_buffer("at", weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        way = self.weight - self.at
        loss = 1 + self.gradient @ way + way @ self.hessian @ way / 2
        logit: Tensor = loss.expm1().log()
        return torch.stack([torch.zeros_like(logit), logit]).expand(len(x), 2) + 0 * x.flatten(1)[:, :2]


def says(n: int = 6, *, linear: bool = False) -> tuple[Says, Ground, float]:
    """Such a model, images of class 0, and the length of its weights."""
    stream = generator(3)
    weight = torch.randn(n, generator=stream)
    half = torch.randn(n, n, generator=stream)
    hessian, gradient = half @ half.T / n, torch.randn(n, generator=stream)
    model = Says(weight, hessian * (not linear), gradient * linear).requires_grad_(False)
    zeros = np.flatnonzero(JUDGE.data.load("validation").labels == 0)[:3]
    return model, replace(ground(model), rows=zeros.astype(np.int64), classes=2), float(weight.norm())


@pytest.mark.parametrize(("draw", "over"), [("sphere", 6), ("ball", 8), ("radius", 18)])
def test_average_flatness_of_a_quadratic_is_known(draw: Any, over: int) -> None:
    """xi^2 ||w||^2 tr(H) / 2n over the sphere, / 2 (n + 2) in the ball, a third of the sphere's with a uniform length."""
    model, here, length = says()
    expected = 0.3**2 * length**2 * float(model.hessian.trace()) / (2 * over)
    stream = generator()
    moves = torch.stack([weight_space.drawn([model.weight], 0.3, draw, stream)[0] for _ in range(2000)])
    rises = ((moves @ model.hessian) * moves).sum(1) / 2
    assert float(rises.mean()) == pytest.approx(expected, rel=0.08)
    found = take(Flatness(of="clean", xi=0.3, draw=draw, draws=60), here)
    assert found.low is not None
    assert found.high is not None
    assert found.low < expected < found.high


def test_worst_flatness_of_a_quadratic_at_its_minimum_is_its_largest_eigenvalue() -> None:
    model, here, length = says()
    found = take(Flatness(case="worst", of="clean", xi=0.3, draws=3, steps=60), here)
    expected = 0.3**2 * length**2 * float(torch.linalg.eigvalsh(model.hessian)[-1]) / 2
    assert found.value == pytest.approx(expected, rel=1e-2)


def test_worst_flatness_of_a_linear_loss_is_the_gradients_length() -> None:
    model, here, length = says(linear=True)
    found = take(Flatness(case="worst", of="clean", xi=0.003, draws=1), here)
    assert found.value == pytest.approx(0.003 * length * float(model.gradient.norm()), rel=1e-2)


@pytest.mark.parametrize("of", ["clean", "robust"])
def test_the_worst_case_is_at_least_the_average(of: Any) -> None:
    """At equal radius and equal budget."""
    worst, average = (
        take(Flatness(case=case, of=of, xi=0.1, draws=2, steps=4, attack=Climb(steps=4)), ground())
        for case in ("worst", "average")
    )
    assert worst.value > average.value


@pytest.mark.parametrize("case", ["average", "worst"])
def test_without_a_move_both_terms_are_the_same(case: Any) -> None:
    """The same images, starts, steps and restarts: 1e-12 of the weights moves nothing, robust loss is what it is alone."""
    attack = ManyStarts(steps=3, restarts=2)
    found = take(Flatness(case=case, xi=1e-12, draws=2, steps=2, attack=attack), ground())
    assert found.value == pytest.approx(0, abs=1e-6)
    assert found.values["loss"] == pytest.approx(take(RobustLoss(attack=attack), ground()).value)


def test_an_eps_of_0_leaves_the_clean_loss() -> None:
    here = ground()
    still = replace(here, threat=Threat(norm="linf", eps=0))
    robust, clean = (take(Flatness(of=of, draws=2, attack=Climb(**FEW)), still) for of in ("robust", "clean"))
    assert robust.value == pytest.approx(clean.value, abs=1e-6)
    loss = take(RobustLoss(attack=ManyStarts(restarts=1, **FEW)), still)
    assert loss.value == pytest.approx(loss.values["clean_loss"], abs=1e-6)


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.3), ("l1", 2.0)])
def test_every_norm_is_climbed(norm: Any, eps: float) -> None:
    here = replace(ground(), threat=Threat(norm=norm, eps=eps))
    found = take(Flatness(case="worst", xi=0.1, draws=1, steps=3, attack=Climb(**FEW)), here)
    assert found.values["loss"] > take(RobustLoss(attack=ManyStarts(restarts=1, **FEW)), here).values["clean_loss"]
    assert found.value > 0


def test_what_is_not_finite_is_no_error() -> None:
    """Weights moved too far may overflow."""
    model = copy.deepcopy(trained(0))
    with torch.no_grad():
        weight_space.tensors(model)[-1].fill_(torch.nan)
    for measure in (Flatness(draws=2, attack=Climb(**FEW)), RobustLoss(attack=ManyStarts(restarts=1, **FEW))):
        assert math.isnan(take(measure, ground(model)).value)
    assert math.isnan(take(Flatness(case="worst", draws=1, steps=2), ground(model)).value)


@pytest.mark.parametrize("case", ["average", "worst"])
def test_batches_change_nothing(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One move for all images: in batches of 5 and in another order it is the same, up to rounding."""
    measure = Flatness(case=case, draws=2, steps=2, attack=Climb(steps=2))
    whole = take(measure, ground())
    monkeypatch.setattr(flatness_file, "BATCH", 5)
    here = ground()
    turned = replace(here, rows=np.ascontiguousarray(here.rows[::-1]))
    for other in (here, turned):
        assert take(measure, other).value == pytest.approx(whole.value, rel=1e-3, abs=1e-5)


def test_moves_of_batches_are_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst draw is chosen for each batch: it is at least as bad as one draw for all."""
    monkeypatch.setattr(flatness_file, "BATCH", 8)
    measure = Flatness(case="worst", moves="batch", draws=3, steps=2, attack=Climb(steps=2))
    pieces = [measure.piece(number, ground()) for number in range(measure.pieces(ground()))]
    assert len(pieces) == 3 + 3 * 3
    losses = np.concatenate([piece["loss"] for piece in pieces]).reshape(4, -1)
    best = np.mean([losses[1:, begin : begin + 8].mean(1).max() for begin in (0, 8, 16)])
    assert measure.result(pieces, ground()).value == pytest.approx(best - losses[0].mean())


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """A draw that is there is not drawn again."""
    here, measure = ground(), Flatness(draws=2, attack=Climb(**FEW))
    take(measure, here, tmp_path)
    last = tmp_path / "piece-00002.npz"
    last.unlink()
    broken = replace(here, model=Fails(nn.Sequential(nn.Linear(1, 1)), at=0))
    with pytest.raises(Boom):
        take(measure, broken, tmp_path)
    take(measure, here, tmp_path)
    assert take(measure, broken, tmp_path).value == take(measure, here).value


@settings(max_examples=40)
@given(seed=st.integers(0, 2**16), xi=st.floats(1e-3, 2), how=st.sampled_from(["ball", "sphere", "radius"]))
def test_moves_stay_in_the_neighbourhood(seed: int, xi: float, how: Any) -> None:
    """On the sphere at its length, else inside; projecting them changes nothing, and what lies outside comes to the edge."""
    home = [torch.randn(3, 4, generator=generator(seed)), torch.randn(5, generator=generator(seed + 1))]
    nu = weight_space.drawn(home, xi, how, generator(seed))
    for move, weight, inside in zip(nu, home, weight_space.projected(nu, home, 1.0001 * xi), strict=True):
        share = float(move.norm() / weight.norm()) / xi
        assert share <= 1 + 1e-5
        assert how != "sphere" or share == pytest.approx(1, rel=1e-5)
        assert torch.equal(move, inside)
    outside = weight_space.projected([3 * weight for weight in home], home, xi)
    for move, weight in zip(outside, home, strict=True):
        assert float(move.norm()) == pytest.approx(xi * float(weight.norm()), rel=1e-5)


def test_normalisation_and_input_scaling_stay() -> None:
    class Whitening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(2))

    conv, linear_layer = nn.Conv2d(2, 4, 3), nn.Linear(4, 3)
    model = nn.Sequential(Whitening(), conv, nn.BatchNorm2d(4), nn.GroupNorm(2, 4), linear_layer)
    expected = [conv.weight, conv.bias, linear_layer.weight, linear_layer.bias]
    assert [id(each) for each in weight_space.tensors(model)] == [id(each) for each in expected]


@pytest.mark.parametrize("factor", [0.5, 2, 30])
def test_rescaling_leaves_the_function_alone(factor: float) -> None:
    model, (x, _) = network(), batch()
    other = copy.deepcopy(model).eval()
    before, after = model[0].weight, other[0].weight
    assert isinstance(before, nn.Parameter)
    assert isinstance(after, nn.Parameter)
    assert rescale(other.requires_grad_(False), x, factor) == 1
    torch.testing.assert_close(other(x), model.eval()(x), rtol=1e-10, atol=1e-10)
    assert torch.equal(after, factor * before)


def normed() -> nn.Module:
    """A network with batch norm for digits, whose statistics are those of no batch."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    norm.load_state_dict({"running_mean": torch.rand(3) - 0.5, "running_var": 0.5 + torch.rand(3)}, strict=False)
    parts: list[nn.Module] = [nn.Conv2d(1, 3, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(192, 10)]
    return nn.Sequential(*parts).eval().requires_grad_(False)


def test_group_convolutions_are_rescaled_too() -> None:
    parts: list[nn.Module] = [
        GroupConv("p4", 2, 3, 3, lifts=True, padding=1, bias=True),
        GroupBatchNorm(3),
        nn.Flatten(),
    ]
    model, (x, _) = nn.Sequential(*parts).eval().requires_grad_(False).double(), batch()
    before = model(x)
    assert rescale(model, x, 3) == 1
    torch.testing.assert_close(model(x), before, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", ["average", "worst"])
def test_rescaling_leaves_flatness_alone(case: Any) -> None:
    options: dict[str, Any] = {"case": case, "draws": 2, "steps": 2, "attack": {"steps": 2}}
    here = ground(normed())
    plain, there = (take(Flatness(**options, rescale=factor), here) for factor in (1, 2))
    assert there.values["loss"] == pytest.approx(plain.values["loss"], rel=1e-4)
    assert there.value == pytest.approx(plain.value, rel=2e-2, abs=1e-4)


@pytest.mark.parametrize("case", ["average", "worst"])
def test_passes_of_rescaling_count(case: Any) -> None:
    measure, count = Flatness(case=case, draws=2, steps=2, attack=Climb(steps=2), rescale=2), [0]
    here = ground(Passes(normed(), count))
    take(measure, here)
    assert count[0] == measure.passes(here)


def test_what_cannot_be_rescaled_says_so() -> None:
    with pytest.raises(UserError, match="followed by batch norm"):
        rescale(linear(torch.eye(3)), torch.ones(1, 1, 1, 3), 2)

    class Twice(nn.Module):
        """Its convolution's output is used beside the norm too."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            z = self.conv(x)
            return torch.flatten(self.norm(z) + z, 1)

    with pytest.raises(UserError, match="changes what this model answers"):
        rescale(Twice().eval().requires_grad_(False), torch.rand(1, 2, 6, 6), 2)


class Even(nn.Module):
    """Equally sure of all classes."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x.flatten(1)[:, :10]


def test_robust_loss_of_uniform_answers_is_the_logarithm_of_the_classes() -> None:
    found = take(RobustLoss(attack=ManyStarts(restarts=1, **FEW)), ground(Even()))
    assert found.value == pytest.approx(math.log(10))
    assert found.values["clean_loss"] == pytest.approx(math.log(10))


def test_parts_of_robust_loss_average_to_the_whole() -> None:
    found = take(RobustLoss(attack=ManyStarts(steps=3, restarts=2)), ground())
    share = found.values["correct"]
    assert 0 < share < 1
    whole = share * found.values["loss_of_correct"] + (1 - share) * found.values["loss_of_incorrect"]
    assert found.value == pytest.approx(whole)
    assert (found.columns["loss"] >= found.columns["clean_loss"]).all()


def test_robust_loss_of_a_linear_network_is_known() -> None:
    """Of two classes, z_1 - z_0 = w.x + b: label 0 loses softplus(w.x + b + eps ||w||_1) where the box leaves room."""
    torch.manual_seed(0)
    slope = torch.randn(64) / 8
    model = linear(torch.stack([torch.zeros(64), slope])).requires_grad_(False)
    zeros = np.flatnonzero(JUDGE.data.load("validation").labels == 0)[:4]
    threat = Threat(norm="linf", eps=0.05)
    here = replace(ground(model), rows=zeros.astype(np.int64), threat=threat)
    x, _ = here.shard(0)
    way = 0.05 * slope.sign()
    best = (x + way.view(1, 1, 8, 8)).clamp(0, 1)
    expected = torch.nn.functional.softplus(model(best)[:, 1]).numpy()
    np.testing.assert_allclose(
        take(RobustLoss(attack=ManyStarts(steps=10, restarts=1)), here).columns["loss"], expected, rtol=1e-5
    )


def test_more_restarts_never_lose() -> None:
    one, three = (take(RobustLoss(attack=ManyStarts(steps=2, restarts=n)), ground()) for n in (1, 3))
    assert (three.columns["loss"] >= one.columns["loss"]).all()


def test_the_joint_ascent_steps_from_where_it_stands() -> None:
    """Its first point is the start, and every nu is inside."""
    at = Movable(trained(0))
    x, y = ground().shard(0)
    nu = weight_space.drawn(at.home, 0.01, "ball", generator())
    points = list(joint_ascent(at, [Batch(x, y, x)], None, nu, xi=0.01, steps=3, weight_step=0.01, step=0.2))
    assert len(points) == 4
    assert all(torch.equal(a, b) for a, b in zip(points[0].nu, nu, strict=True))
    assert points[-1].loss > points[0].loss
    for point in points:
        for move, weight in zip(point.nu, at.home, strict=True):
            assert float(move.norm()) <= 0.01 * float(weight.norm()) * (1 + 1e-5)


def test_at_a_peak_of_the_loss_no_move_is_worse_than_none() -> None:
    """A concave loss at its maximum: every move lowers it, and the worst case is 0."""
    model, here, _ = says()
    model.hessian.neg_()
    found = take(Flatness(case="worst", of="clean", xi=0.3, draws=2, steps=3), here)
    assert found.value == 0
    assert take(Flatness(of="clean", xi=0.3, draws=3), here).value < 0
    batches = take(Flatness(case="worst", of="clean", xi=0.3, draws=2, steps=3, moves="batch"), here)
    assert batches.value == 0


class Peak(nn.Module):
    """Its loss at label 0 is highest at the images it knows, and lower all around."""

    known: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.register_buffer("known", x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        far = torch.cdist(x.flatten(1), self.known).amin(1)
        return torch.stack([far, torch.zeros_like(far)], 1)


def test_robust_loss_is_never_below_the_clean_loss() -> None:
    """The image lies in the threat: where all of it is better, the loss is that of the image, ln 2 here."""
    here = replace(ground(), rows=np.flatnonzero(JUDGE.data.load("validation").labels == 0)[:4].astype(np.int64))
    here = replace(here, model=Peak(here.shard(0)[0]), classes=2)
    found = take(RobustLoss(attack=ManyStarts(restarts=2, steps=0)), here)
    assert found.value == found.values["clean_loss"] == pytest.approx(math.log(2), abs=1e-6)


def test_an_answer_with_a_nan_is_not_correct() -> None:
    """`argmax` would take it for the largest."""
    z = torch.zeros(2, 10)
    z[0, 3] = torch.nan
    x, y = torch.zeros(2, 1, 8, 8), torch.tensor([3, 0])
    found = losses_at(linear(torch.zeros(10, 64), z[0]), x[:1], y[:1])
    assert not bool(found.correct)
    assert bool(found.loss.isnan())
    assert bool(losses_at(linear(torch.zeros(10, 64), z[1]), x[1:], y[1:]).correct)
