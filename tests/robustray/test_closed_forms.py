"""What follows from definitions alone, over parts: no radius, linear networks, uniform answers, robust errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm as normal
from torch import Tensor, nn

from robustray.attacks import Pgd, Threat
from robustray.attacks.divergences import divergence, of_logits
from robustray.attacks.losses import Onto, cross_entropy, smoothed
from robustray.attacks.norms import Norm, length
from robustray.judging import judge
from robustray.measures.base import Ground
from robustray.measures.clean_accuracy import CleanAccuracy
from robustray.measures.predictions import Predictions
from robustray.measures.robust_accuracy import RobustAccuracy
from robustray.measures.taking import take
from robustray.testing.derived import JUDGE
from robustray.testing.made import generator, linear
from robustray.testing.measures import ground
from tests.robustray.judged import VERSION


def test_without_a_radius_every_accuracy_is_the_clean_one(tmp_path: Path) -> None:
    """Of attacks of AutoAttack, of PGD, and as the images are."""
    model = linear(torch.randn(10, 64, generator=generator(3))).eval().requires_grad_(False)
    still = replace(ground(model), threat=Threat(eps=0))
    x, y = still.shard(0)
    y = torch.where(torch.arange(len(y)) % 2 == 0, model(x).argmax(1), y)  # half of them right
    clean = float((model(x).argmax(1) == y)[:8].double().mean())
    verdicts = judge(model, x[:8], y[:8], still.threat, VERSION, tmp_path)
    assert 0 < clean < 1
    assert verdicts.robust_accuracy == verdicts.clean_accuracy == clean
    clean = take(CleanAccuracy(), still).value
    for measure in (RobustAccuracy(), RobustAccuracy(attack=Pgd(steps=3, restarts=2)), Predictions()):
        assert take(measure, still).value == clean


def in_the_middle(model: nn.Module, x: Tensor, threat: Threat) -> Ground:
    """A ground for `each` alone: images that are no source's."""
    rows = np.arange(len(x), dtype=np.int64)
    return Ground(model, JUDGE.data, "validation", rows, threat, 4, torch.device("cpu"))


@pytest.mark.parametrize(("norm", "eps", "dual"), [("linf", 0.03, "l1"), ("l2", 0.1, "l2")])
def test_a_linear_network_of_four_classes(norm: Norm, eps: float, dual: Norm) -> None:
    """An image stands exactly where z_y - z_j > eps || w_y - w_j ||_q for every j != y, the box inactive: one step of length
    eps towards each wrong class in turn reaches every one of these margins.
    """
    weight = torch.randn(4, 16, generator=generator(5))
    x = 0.3 + 0.4 * torch.rand(80, 1, 1, 16, generator=generator(6))
    model = linear(weight, -weight.sum(1) / 2).eval().requires_grad_(False)
    z = model(x)
    y = z.argmax(1)
    margins = z.gather(1, y[:, None]) - z
    reach = eps * torch.stack([length(weight[y] - weight[j], dual) for j in range(4)], 1)
    room = (margins - reach).scatter(1, y[:, None], torch.inf).amin(1)
    assert float(room.abs().min()) > 1e-5
    attack = Pgd.model_validate({
        "steps": 1, "step_size": {"of_eps": 1}, "start": "none", "loss": "margin-targeted", "restarts": 3,
        "keep": "misclassified",
    })  # fmt: skip
    here = in_the_middle(model, x, Threat(norm=norm, eps=eps))
    found = RobustAccuracy(attack=attack).each(x, y, here.rows, here)["stands"][:, 0]
    assert torch.equal(found, room > 0)
    assert 10 < int(found.sum()) < 70


@pytest.mark.parametrize("onto", ["all", "others"])
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.9])
def test_cross_entropy_of_uniform_answers_is_the_same_for_all_labels(onto: Onto, amount: float) -> None:
    """ln K, smoothed or not."""
    z = torch.full((3, 10), 7.0, dtype=torch.float64)
    targets = smoothed(torch.tensor([0, 4, 9]), z, amount, onto)
    assert cross_entropy(z, targets).item() == pytest.approx(math.log(10))
    assert cross_entropy(z, torch.tensor([0, 4, 9])).item() == pytest.approx(math.log(10))


def posterior(x: Tensor) -> Tensor:
    """Logits [n, 2] of P(Y | x): class 0 from N(-1, 2^2) five times as often as class 1 from N(1, 1) (Pang et al., 2022)."""
    likelihoods = [5 / 6 * normal.pdf(x.numpy(), -1, 2), 1 / 6 * normal.pdf(x.numpy(), 1, 1)]
    return torch.from_numpy(np.stack(likelihoods, 1)).log()


def test_the_posterior_of_two_normal_classes() -> None:
    """The Bayes rule is constant: right with probability 5/6."""
    p = posterior(torch.tensor([-1.0, 0, 1, 5 / 3], dtype=torch.float64)).softmax(1)[:, 0]
    assert p.tolist() == pytest.approx([0.948646, 0.784366, 0.602595, 0.562084], abs=1e-6)
    grid = posterior(torch.linspace(-10, 10, 2001, dtype=torch.float64)).softmax(1)[:, 0]
    assert grid.min() >= p[-1] - 1e-12
    assert float(grid.min()) > 0.5


@pytest.mark.parametrize("name", ["js_sqrt", "lse", "l2"])
@pytest.mark.parametrize("slope", [None, 0.0, 0.5, -2.0])
def test_robust_errors_by_what_they_compare_with(name: str, slope: float | None) -> None:
    """With a metric D, over x' within eps, p the truth and f the model (Pang et al., ICML 2022, arXiv:2202.10103, section 3)

        Madry  E max D(p(x), f(x'))     SCORE  E max D(p(x'), f(x'))     C  E max D(p(x), p(x'))

    |Madry - SCORE| <= C, and SCORE is at least the standard error. Of the truth itself SCORE is 0 and Madry is C.
    """
    x = torch.linspace(-5, 5, 201, dtype=torch.float64)
    near = x[:, None] + torch.linspace(-1, 1, 21, dtype=torch.float64)  # x is the middle of each row
    weight = torch.from_numpy(5 / 6 * normal.pdf(x.numpy(), -1, 2) + 1 / 6 * normal.pdf(x.numpy(), 1, 1))

    def model(at: Tensor) -> Tensor:
        return posterior(at) if slope is None else torch.stack([slope * at, torch.zeros_like(at)], 1)

    def apart(p: Tensor, q: Tensor) -> Tensor:
        found = divergence(name, of_logits(p), of_logits(q), 2).view_as(near)
        return found.clamp_min(0).sqrt() if name == "lse" else found

    def expected(each: Tensor) -> float:
        return float((each * weight).sum() / weight.sum())

    truth, truth_near, says = posterior(x).repeat_interleave(21, 0), posterior(near.flatten()), model(near.flatten())
    score, madry = (expected(apart(p, says).amax(1)) for p in (truth_near, truth))
    spread, standard = expected(apart(truth, truth_near).amax(1)), expected(apart(truth_near, says)[:, 10])
    assert abs(madry - score) <= spread + 1e-7
    assert standard <= score + 1e-7
    assert spread > 0.01
    if slope is None:
        assert score == pytest.approx(0, abs=1e-6)
        assert madry == pytest.approx(spread, abs=1e-6)
    else:
        assert score > 0.1
