"""Landscapes: what is at their middle, lengths of directions, parabolas, planes."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustray import weight_space
from robustray.errors import UserError
from robustray.measures.flatness import Flatness
from robustray.measures.hessian import HessianExtremes
from robustray.measures.landscape import Landscape
from robustray.measures.landscape_result import of_lines, of_plane
from robustray.measures.robust_loss import ManyStarts, RobustLoss
from robustray.measures.taking import take
from robustray.testing.derived import trained
from robustray.testing.made import generator
from robustray.testing.measures import Passes, ground

ATTACK = ManyStarts(steps=2, restarts=2)


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("direction", ["random", "adversarial"])
def test_the_middle_is_robust_loss_and_passes_are_exact(dimensions: Any, direction: Any) -> None:
    measure = Landscape(dimensions=dimensions, direction=direction, points=3, directions=2, steps=2, attack=ATTACK)
    count = [0]
    here = ground(Passes(copy.deepcopy(trained(0)), count).eval().requires_grad_(False))
    found = take(measure, here)
    assert count[0] == measure.passes(here)
    assert found.values["loss"] == pytest.approx(take(RobustLoss(attack=ATTACK), ground()).value, rel=1e-6)


def test_an_adversarial_line_goes_where_the_worst_case_is() -> None:
    options: dict[str, Any] = {"of": "clean", "points": 5, "directions": 1, "length": 0.05, "steps": 5}
    rises = {
        direction: take(Landscape(direction=direction, **options), ground()) for direction in ("random", "adversarial")
    }
    assert rises["adversarial"].values["largest_rise"] > 3 * abs(rises["random"].values["largest_rise"])
    worst = take(Flatness(case="worst", of="clean", xi=0.05, draws=1, steps=5), ground())
    assert rises["adversarial"].values["largest_rise"] == pytest.approx(worst.value, rel=0.5)


def test_curvature_along_the_first_eigenvector_is_its_eigenvalue() -> None:
    """Of direction v of length r: L'' in s is r^2 lambda; `none` leaves v as it is."""
    length = 1e-2
    model = trained(0)
    whole = torch.cat([weight.flatten() for weight in weight_space.tensors(model)]).norm()
    found = take(
        Landscape(of="clean", direction="hessian", directions=1, points=3, normalise="none", length=length), ground()
    )
    # this network has no normalisation layers: what is moved is everything
    top = take(HessianExtremes(of="all", k=1), ground()).value
    assert found.values["curvature"] == pytest.approx(top * float(length * whole) ** 2, rel=0.1)


@pytest.mark.parametrize("what", ["filter", "layer", "none"])
def test_directions_have_the_lengths_of_weights(what: Any) -> None:
    stream = generator()
    home = [
        torch.randn(4, 3, 2, 2, generator=stream),
        torch.randn(5, 6, generator=stream),
        torch.randn(5, generator=stream),
    ]
    way = [torch.randn(weight.shape, generator=stream) for weight in home]
    found = weight_space.alike(way, home, what)
    rows = {"filter": lambda t: t.flatten(1).norm(dim=1) if t.ndim > 1 else t.norm(), "layer": torch.linalg.vector_norm}
    if what == "none":
        flat = [torch.cat([each.flatten() for each in tensors]).norm() for tensors in (found, home)]
        torch.testing.assert_close(*flat)
    else:
        for a, b in zip(found, home, strict=True):
            torch.testing.assert_close(rows[what](a), rows[what](b))
    for a, b in zip(found, way, strict=True):  # a filter keeps its direction
        torch.testing.assert_close(torch.sign(a), torch.sign(b))


def test_a_parabola_has_its_rise_and_its_curvature() -> None:
    places = np.linspace(-1, 1, 5)
    found = of_lines(np.stack([2 + a * places**2 + places for a in (1, 3)]), places)
    assert found.value == pytest.approx(2)
    assert found.values == pytest.approx({"loss": 2, "curvature": 4, "largest_rise": 4})
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2 < found.high
    assert [row["mean"] for row in found.tables["curve"]] == pytest.approx((2 + 2 * places**2 + places).tolist())
    s, t = places[None, :], places[:, None]
    plane = of_plane(1 + s**2 + 5 * t**2, places)
    assert plane.values == pytest.approx({"loss": 1, "curvature": 6, "largest_rise": 6})
    assert plane.tables["grid"][0] == pytest.approx({"s": -1, "t": -1, "loss": 7})
    assert plane.tables["grid"][1] == pytest.approx({"s": -0.5, "t": -1, "loss": 6.25})
    assert plane.low is None


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="must be odd"):
        Landscape(points=4)
    with pytest.raises(UserError, match="no weights that can be moved"):
        take(Landscape(points=3, directions=1), ground(nn.Flatten()))
