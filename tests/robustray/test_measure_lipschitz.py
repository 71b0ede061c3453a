"""Local Lipschitzness against closed forms, its bounds, and where the way there matters."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.attacks.norms import Norm, length
from robustray.attacks.threats import Threat
from robustray.measures.base import Ground
from robustray.measures.lipschitz import SMALLEST, Lipschitz
from robustray.measures.taking import take
from robustray.testing import measures
from robustray.testing.derived import JUDGE, trained

PIXELS = 6


class Tiny(nn.Module):
    """Some function of the first pixels of grey: images of digits, made so that the box leaves room."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x.flatten(1))


def ground(function: Callable[[Tensor], Tensor], norm: Norm = "linf", eps: float = 0.031, images: int = 4) -> Ground:
    rows = np.arange(images, dtype=np.int64)
    return Ground(Tiny(function), JUDGE.data, "validation", rows, Threat(norm=norm, eps=eps), 10, torch.device("cpu"))


def found(
    function: Callable[[Tensor], Tensor], x: Tensor, norm: Norm = "linf", eps: float = 0.031, **options: object
) -> Tensor:
    """The column, of images [B, 1, 1, D]."""
    here = ground(function, norm, eps, len(x))
    part = Lipschitz.model_validate(options)
    return part.each(x, torch.zeros(len(x), dtype=torch.int64), here.rows, here)["lipschitz"]


def matrix(rows: int, seed: int, pixels: int = PIXELS) -> Tensor:
    return torch.randn(pixels, rows, generator=torch.Generator().manual_seed(seed))


GREY = torch.full((3, 1, 1, PIXELS), 0.5)


def largest(weight: Tensor, norm: Norm) -> float:
    """max ||d W||_1 over ||d|| = 1, W [D, K]: over all sign vectors, of d in linf or of the outputs in l2; a row in l1."""
    if norm == "l1":
        return float(weight.abs().sum(1).max())
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=len(weight if norm == "linf" else weight.T))))
    if norm == "linf":
        return float((signs @ weight).abs().sum(1).max())
    return float(torch.linalg.vector_norm(weight @ signs.T, dim=0).max())


@pytest.mark.parametrize("eps", [0.005, 0.031, 0.1])
@settings(max_examples=4)
@given(seed=st.integers(0, 10_000))
def test_one_affine_output_reaches_its_dual_norm(eps: float, seed: int) -> None:
    """||w||_1 in linf whatever eps is: the step is in proportion to it."""
    weight = matrix(1, seed)
    slope = found(lambda x: x @ weight + 0.3, GREY, eps=eps)
    torch.testing.assert_close(slope, torch.full((3,), float(weight.abs().sum())), rtol=2e-3, atol=0)


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000), norm=st.sampled_from(["linf", "l2", "l1"]), rows=st.integers(1, 4))
def test_no_more_than_the_maximum_and_with_restarts_all_of_it(seed: int, norm: Norm, rows: int) -> None:
    weight, eps = matrix(rows, seed), {"linf": 0.1, "l2": 0.2, "l1": 0.4}[norm]
    most = largest(weight, norm)
    once = found(lambda x: x @ weight, GREY, norm, eps)
    often = found(lambda x: x @ weight, GREY, norm, eps, restarts=8, steps=10)
    assert float(often.max()) <= most * (1 + 1e-3)
    assert bool((often >= once * (1 - 1e-6)).all())
    if norm != "l1":  # a corner of the cross-polytope is left only when another's slope is larger
        assert float(often.max()) >= 0.99 * most


@settings(max_examples=6)
@given(seed=st.integers(0, 10_000))
def test_the_euclidean_change_of_outputs_is_the_spectral_norm(seed: int) -> None:
    weight = matrix(3, seed)
    slope = found(lambda x: x @ weight, GREY, "l2", 0.2, output_norm="l2", steps=30, restarts=2)
    most = float(torch.linalg.matrix_norm(weight, 2))
    assert 0.98 * most <= float(slope.max()) <= most * (1 + 1e-3)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_never_below_its_start_and_more_steps_never_less(norm: Norm) -> None:
    here = measures.ground()
    here = Ground(trained(0), here.data, here.split, here.rows[:12], Threat(norm=norm, eps=0.3), 10, here.device)
    start, some, more = (take(Lipschitz(steps=steps), here).columns["lipschitz"] for steps in (0, 5, 10))
    assert (start > 0).all()
    assert (some >= start).all()
    assert (more >= some).all()
    assert some.mean() > 1.5 * start.mean()


@pytest.mark.parametrize("options", [{}, {"output": "softmax"}, {"output": "normalised"}])
def test_a_constant_network_gives_nothing(options: dict[str, str]) -> None:
    result = take(Lipschitz.model_validate(options), ground(lambda x: torch.ones(len(x), 3) + 0 * x[:, :3]))
    assert result.value == 0
    assert bool(result.notes) == (options.get("output") == "normalised")


def test_what_is_not_finite_is_no_tie() -> None:
    """A note about equal logits is of equal logits alone."""
    result = take(Lipschitz(output="normalised"), ground(lambda x: x[:, :3] * torch.nan))
    assert np.isnan(result.value)
    assert not result.notes


def test_no_room_gives_nothing() -> None:
    weight = matrix(1, 0)
    assert float(found(lambda x: x @ weight, GREY, eps=0).max()) == 0


def test_the_box_is_kept() -> None:
    """At an end of [0, 1] only one way is open: of w = (1, -1, 1, -1 ...) at 0 pixels can only grow, and 3 of 6 count."""
    signs = torch.tensor([[1.0], [-1.0]] * 3)
    slope = found(lambda x: x @ signs, torch.zeros(2, 1, 1, PIXELS), eps=0.1, steps=20)
    torch.testing.assert_close(slope, torch.full((2,), 3.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_steepest_place_near_the_image_is_found(norm: Norm) -> None:
    """tanh(100 w.(x - c)), seen from c, falls with the distance: no less than at the least share of eps that is tried."""
    weight, eps = matrix(1, 5), 0.4
    most = 100 * eps * SMALLEST * largest(weight, norm)
    slope = found(lambda x: torch.tanh(100 * (x - 0.5) @ weight), GREY, norm, eps)
    best = torch.full((3,), float(np.tanh(most)) / (eps * SMALLEST))
    assert bool((slope >= 0.97 * best).all())
    assert float(slope.max()) <= 100 * largest(weight, norm)
    assert float(best.min()) > 10 / eps  # at eps it is 1 / eps


@settings(max_examples=4)
@given(scale=st.floats(0.01, 100))
def test_what_grows_with_the_scale_of_logits(scale: float) -> None:
    weight = matrix(4, 3, 64)
    by_scale = {
        output: take(Lipschitz.model_validate({"output": output}), ground(lambda x: scale * (x @ weight))).value
        for output in ("logits", "normalised")
    }
    at_one = {
        output: take(Lipschitz.model_validate({"output": output}), ground(lambda x: x @ weight)).value
        for output in ("logits", "normalised")
    }
    assert by_scale["logits"] == pytest.approx(scale * at_one["logits"], rel=0.01)
    assert by_scale["normalised"] == pytest.approx(at_one["normalised"], rel=0.01)


def test_probabilities_of_two_classes_in_closed_form() -> None:
    """|| p - p' ||_1 = 2 |s(z) - s(z')| of z = w.(x - c): seen from z = 0 at most 2 * ||w||_1 / 4, and close to it."""
    weight = matrix(1, 3)
    slope = found(lambda x: torch.cat([(x - 0.5) @ weight, 0 * x[:, :1]], 1), GREY, eps=0.05, output="softmax")
    most = float(weight.abs().sum()) / 2
    assert bool((slope <= most * 1.001).all())
    assert bool((slope >= most * 0.99).all())


def test_the_length_that_divides_is_that_of_the_norm() -> None:
    """The same function and images: a ratio in l1 is never above that in l2, nor that above linf's, at one start."""
    weight = matrix(1, 1)
    by_norm = [float(found(lambda x: x @ weight, GREY, norm, 0.05).mean()) for norm in ("l1", "l2", "linf")]
    exact = [float(length(weight.T, dual)) for dual in ("linf", "l2", "l1")]
    assert by_norm == pytest.approx(exact, rel=0.02)
