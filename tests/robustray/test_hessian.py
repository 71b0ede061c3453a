"""Extreme eigenvalues of the Hessian: dense ones, batches, rescaling, what does not converge."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.measures.hessian import HessianExtremes
from robustray.measures.hessian_products import Hessian, Vector, extremes, most_products
from robustray.measures.landscape import Landscape
from robustray.measures.rescaling import rescale
from robustray.measures.taking import take
from robustray.testing.made import batch, generator, linear, network
from robustray.testing.measures import ground


def _hessian(model: nn.Module, parameters: list[Tensor], x: Tensor, y: Tensor, size: int = 4) -> Hessian:
    batches = list(zip(torch.split(x, size), torch.split(y, size), strict=True))
    return Hessian(model, cast(list[nn.Parameter], parameters), lambda: batches, len(x))


def _dense(hessian: Hessian) -> Vector:
    return np.stack([hessian.product(unit) for unit in np.eye(hessian.size)])


def test_of_logistic_regression_is_known() -> None:
    """Logits (0, w.x): H = mean of s (1 - s) x x^T in the second row of weights."""
    stream = generator()
    x = torch.rand(40, 1, 1, 30, generator=stream, dtype=torch.float64)
    w = torch.randn(30, generator=stream, dtype=torch.float64)
    y = torch.randint(0, 2, (40,), generator=stream)
    model = linear(torch.stack([torch.zeros_like(w), w])).requires_grad_(False)
    flat = x.flatten(1)
    s = (flat @ w).sigmoid()
    expected = np.linalg.eigvalsh(((s * (1 - s))[:, None] * flat).T @ flat / 40)
    # in both rows of weights it is that matrix times [[1, -1], [-1, 1]]: each eigenvalue doubles, 30 more are 0
    hessian = _hessian(model, [cast(nn.Linear, model[1]).weight], x, y)
    largest, vectors = extremes(hessian, 2, "LA", 50)
    np.testing.assert_allclose(largest, 2 * expected[::-1][:2], rtol=1e-3)
    np.testing.assert_allclose(hessian.product(vectors[:, 0]), largest[0] * vectors[:, 0], atol=1e-2 * largest[0])
    common = np.concatenate([vectors[:30, 0] - vectors[30:, 0]] * 2)  # what moves both logits alike changes nothing
    assert np.abs(hessian.product(common)).max() < 1e-12
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_few_parameters_give_exact_eigenvalues() -> None:
    x, y = torch.rand(6, 1, 1, 3, generator=generator(), dtype=torch.float64), torch.arange(6) % 2
    model = linear(torch.randn(2, 3, generator=generator(), dtype=torch.float64)).requires_grad_(False)
    hessian = _hessian(model, list(model.parameters()), x, y)
    expected = np.linalg.eigvalsh(_dense(hessian))
    np.testing.assert_allclose(extremes(hessian, 3, "LA", 1)[0], expected[::-1][:3], atol=1e-12)
    np.testing.assert_allclose(extremes(hessian, 30, "SA", 1)[0], expected, atol=1e-12)


def test_where_there_is_no_curvature_eigenvalues_are_0() -> None:
    """Of black images no weight matters; Lanczos has nothing to begin with there."""
    x, y = torch.zeros(6, 1, 1, 30, dtype=torch.float64), torch.arange(6) % 2
    model = linear(torch.randn(2, 30, generator=generator(), dtype=torch.float64)).requires_grad_(False)
    hessian = _hessian(model, [cast(nn.Linear, model[1]).weight], x, y)
    for end in ("LA", "SA"):
        values, vectors = extremes(hessian, 2, end, 50)
        np.testing.assert_array_equal(values, np.zeros(2))
        np.testing.assert_array_equal(vectors.T @ vectors, np.eye(2))


@pytest.mark.parametrize("size", [1, 3, 12])
def test_batches_change_nothing(size: int) -> None:
    model, (x, y) = network(smooth=True).eval().requires_grad_(False), batch(12)
    vector = np.random.default_rng(0).standard_normal(sum(each.numel() for each in model.parameters()))
    whole, other = (_hessian(model, list(model.parameters()), x, y, each).product(vector) for each in (5, size))
    np.testing.assert_allclose(other, whole, rtol=1e-10, atol=1e-12)


def test_a_product_is_the_change_of_the_gradient() -> None:
    model, (x, y) = network(smooth=True).eval().requires_grad_(False), batch(8)
    hessian = _hessian(model, list(model.parameters()), x, y)
    vector, step = np.random.default_rng(0).standard_normal(hessian.size), 1e-5
    gradients = []
    for sign in (1, -1):
        moved = copy.deepcopy(model).requires_grad_()
        with torch.no_grad():
            for parameter, way in zip(moved.parameters(), hessian.split(vector), strict=True):
                parameter.add_(way, alpha=sign * step)
        loss = nn.functional.cross_entropy(moved(x), y)
        found = torch.autograd.grad(loss, list(moved.parameters()))
        gradients.append(torch.cat([each.flatten() for each in found]).numpy())
    np.testing.assert_allclose(
        hessian.product(vector), (gradients[0] - gradients[1]) / (2 * step), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_rescaling_a_layer_divides_its_curvature_by_the_square(factor: float) -> None:
    model, (x, y) = network(smooth=True).eval().requires_grad_(False), batch(8)
    other = copy.deepcopy(model)
    rescale(other, x, factor)
    plain, there = (
        extremes(_hessian(each, [cast(nn.Conv2d, each[0]).weight], x, y), 1, "LA", 50)[0][0] for each in (model, other)
    )
    assert there == pytest.approx(plain / factor**2, rel=2e-3)


def test_what_does_not_converge_is_told() -> None:
    measure = HessianExtremes(restarts=1, k=2)
    found = take(measure, ground())
    assert not np.isfinite(found.values["smallest"])
    assert "did not converge within restarts: 1" in found.notes[0]


def test_products_are_as_many_as_declared_at_most() -> None:
    model, (x, y) = network().eval().requires_grad_(False), batch(4)
    for restarts in (1, 3):
        hessian, count = _hessian(model, list(model.parameters()), x, y), [0]
        product = hessian.product

        def counted(vector: Vector, product: object = product, count: list[int] = count) -> Vector:
            count[0] += 1
            assert callable(product)
            found: Vector = product(vector)
            return found

        hessian.product = counted  # type: ignore[method-assign]
        extremes(hessian, 4, "SA", restarts)
        assert count[0] <= most_products(4, restarts, hessian.size)


@pytest.mark.parametrize("pixels", [2, 40])
def test_a_loss_that_is_not_finite_is_one_line(pixels: int) -> None:
    """Whether its eigenvalues are found exactly or by Lanczos."""

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((10, pixels), torch.nan))

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :pixels] @ self.weight.T

    for measure in (HessianExtremes(), Landscape(direction="hessian", directions=1, points=3)):
        with pytest.raises(UserError, match="second derivatives are not finite"):
            take(measure, ground(Blind().requires_grad_(False)))
