"""The papers' small arguments against closed forms: a known posterior, bounds of its risks, exact splines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from robustray.__main__ import app
from robustray.attacks.divergences import Distribution, of_logits
from robustray.toys import score, separation, splines

PLACES = score.Places()
BASIS = splines.Basis()


@pytest.mark.parametrize(("x", "p"), [(-1, 0.948646), (0, 0.784366), (1, 0.602595), (5 / 3, 0.562084)])
def test_the_posterior_is_the_known_one(x: float, p: float) -> None:
    assert float(score.posterior(torch.tensor([x], dtype=torch.float64))[0, 0]) == pytest.approx(p, abs=1e-6)


def test_nobody_should_ever_say_the_rarer_class() -> None:
    """Its least is at x = 5/3 and above one half: the best classifier is a constant, right five times in six."""
    truth = PLACES.truth.p[:, 0]
    assert float(truth.min()) > 0.5
    assert float(PLACES.x[truth.argmin()]) == pytest.approx(5 / 3, abs=score.STEP)
    right = float((PLACES.weights * PLACES.truth.p[PLACES.inner, 0]).sum())
    assert right == pytest.approx(5 / 6, abs=1e-4)


@pytest.mark.parametrize("name", score.DIVERGENCES)
def test_the_truth_has_no_score_and_the_constant_as_adversarial_risk(name: score.Divergence) -> None:
    risks = {kind: float(PLACES.risk(name, kind, PLACES.truth)) for kind in score.RISKS}
    assert risks["standard"] == pytest.approx(0, abs=1e-7)
    assert risks["score"] == pytest.approx(0, abs=1e-7)
    assert risks["madry"] == pytest.approx(risks["constant"])
    assert risks["consistency"] == pytest.approx(risks["constant"])
    assert risks["constant"] > 0.01


@pytest.mark.parametrize("name", ["js_sqrt", "l2", "lp", "linf"])
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), spread=st.floats(0.1, 4))
def test_metrics_bound_what_adversarial_training_gets_wrong(name: score.Divergence, seed: int, spread: float) -> None:
    """|madry - score| <= constant, and standard <= score, for any prediction (arXiv:2202.10103)."""
    drawn = torch.randn(len(PLACES.x), 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    output = of_logits(spread * drawn)
    risks = {kind: float(PLACES.risk(name, kind, output)) for kind in score.RISKS}
    assert abs(risks["madry"] - risks["score"]) <= risks["constant"] + 1e-9
    assert risks["standard"] <= risks["score"] + 1e-12


def test_risks_are_those_of_a_search_by_hand() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, len(PLACES.x))
    output = Distribution(torch.tensor(np.stack([p, 1 - p], 1)), torch.tensor(np.log(np.stack([p, 1 - p], 1))))
    truth = PLACES.truth.p[:, 0].numpy()
    around = round(score.EPS / score.STEP)
    total = 0.0
    for at, weight in enumerate(PLACES.weights.tolist()):
        here = at + around
        total += weight * max(2 * (truth[here] - p[there]) ** 2 for there in range(here - around, here + around + 1))
    assert float(PLACES.risk("lse", "madry", output)) == pytest.approx(total)


def test_score_learns_the_truth_and_adversarial_training_does_not() -> None:
    ends = {}
    for objective in ("score", "madry"):
        kept, trace = score.trained(objective, "kl", PLACES, iterations=120)
        ends[objective] = trace[-1]["score"]
        assert list(kept) == [10, 30, 100, 120], "what is learnt is kept on the way"
        risks = [float(PLACES.risk("kl", "score", found)) for found in kept.values()]
        assert risks == pytest.approx([row["score"] for row in trace if row["iteration"] in kept])
        assert trace[0]["iteration"] == 0
    assert float(str(ends["score"])) < 0.6 * float(str(ends["madry"]))


@given(coefficients=st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_splines_hold_lines_exactly_and_find_them_smooth(coefficients: tuple[float, float]) -> None:
    a, b = coefficients
    x = np.linspace(BASIS.low, BASIS.high, 50)
    theta = np.linalg.lstsq(BASIS.at(x), a + b * x, rcond=None)[0]
    assert BASIS.at(x) @ theta == pytest.approx(a + b * x, abs=1e-8)
    assert theta @ BASIS.penalty @ theta == pytest.approx(0, abs=1e-8)


def test_roughness_is_the_integral_of_the_squared_second_derivative() -> None:
    theta = np.random.default_rng(0).standard_normal(BASIS.size)
    x = np.linspace(BASIS.low, BASIS.high, 200_001)[1:-1]
    assert theta @ BASIS.penalty @ theta == pytest.approx(np.trapezoid((BASIS.at(x, 2) @ theta) ** 2, x), rel=1e-3)


def objective(method: str, strength: float, theta: splines.Array, points: splines.Points) -> float:
    """What a convex fit minimises, by its definition, a point at a time."""
    total = float(splines.SMOOTH * theta @ BASIS.penalty @ theta)
    for place, ys in zip(points.place, points.y, strict=True):
        f = BASIS.at(place + splines.MOVES) @ theta
        for y in ys:
            worst = float(((f - y) ** 2).max())
            clean, moved = float((f[1] - y) ** 2), float(((f - f[1]) ** 2).max())
            total += {"at": worst, "rst": clean + strength * worst, "trades": clean + strength * moved}[method]
    return total


@pytest.mark.parametrize(("method", "strength"), [("at", 1.0), ("rst", 2.0), ("trades", 3.0)])
def test_a_robust_fit_is_the_least_there_is(method: splines.Method, strength: float) -> None:
    """The problem is convex: no step away from it is better, in any of many directions."""
    rng = np.random.default_rng(1)
    points = splines.drawn(40, rng)
    theta = splines.fitted(method, strength, points, BASIS)
    least = objective(method, strength, theta, points)
    assert least < objective(method, strength, splines.fitted("natural", 0, points, BASIS), points)
    for size in (1e-3, 1e-1):
        for _ in range(25):
            away = theta + size * rng.standard_normal(len(theta))
            assert objective(method, strength, away, points) > least - 1e-6


def test_few_points_are_a_trade_off_and_many_are_none() -> None:
    """In the mean over draws."""
    found = dict[tuple[int, str], list[tuple[float, float]]]()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        tested = splines.drawn(5000, rng)
        for n in (40, 5000):
            points = splines.drawn(n, rng)
            for method in ("natural", "at"):
                theta = splines.fitted(method, 1, points, BASIS)
                found.setdefault((n, method), []).append(splines.errors(theta, tested, BASIS))
    mean = {key: np.mean(errors, 0) for key, errors in found.items()}
    assert mean[40, "natural"][1] > 2 * mean[40, "at"][1], "a natural fit is wrong at the ends of stairs"
    assert mean[40, "at"][0] > 1.05 * mean[40, "natural"][0], "and a robust one pays between them"
    assert mean[5000, "at"][0] < 1.05 * mean[5000, "natural"][0], "which ends with more points"


def test_digits_lie_farther_apart_than_what_is_defended_against() -> None:
    tables = separation.run()
    train = [row for row in tables["distances"] if row["split"] == "train"]
    assert len(train) == 1300 - 400
    assert min(float(str(row["distance"])) for row in train) > 2 * separation.EPS
    shares = [float(str(row["share"])) for row in tables["certain"] if row["split"] == "test"]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9


def test_the_command_writes_tables_and_last_what_they_are(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["toy", "separation", "--out", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    about = json.loads((tmp_path / "s" / "toy.json").read_text())
    assert about == {"toy": "separation", "tables": ["certain", "distances"]}
    with (tmp_path / "s" / "certain.csv").open(newline="") as lines:
        assert len(list(csv.DictReader(lines))) == 2 * separation.STEPS
