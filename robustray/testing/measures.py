"""What every measure promises."""

from __future__ import annotations

import copy
import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.data.device import DeviceImages
from robustray.data.splits import Indices, stratified
from robustray.errors import UserError
from robustray.measures.base import Ground, Judged, Measure, PerImage
from robustray.measures.taking import take
from robustray.testing.derived import JUDGE, trained
from robustray.testing.made import flags, same, state
from robustray.testing.suite import contract

IMAGES = 24


class Passes(nn.Module):
    """A network that counts the passes of images through it and through copies of it, as `cost_passes` does."""

    def __init__(self, network: nn.Module, count: list[int]) -> None:
        super().__init__()
        self.network, self.count = network, count

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        self.count[0] += len(x)
        if logits.requires_grad:
            weights = any(parameter.requires_grad for parameter in self.network.parameters())
            logits.register_hook(lambda _: self._backward(len(x), weights))  # type: ignore[no-untyped-call]
        return logits

    def _backward(self, images: int, weights: bool) -> None:
        self.count[0] += images * (2 if weights else 1)

    def __deepcopy__(self, memo: dict[int, Any]) -> Passes:
        return Passes(copy.deepcopy(self.network, memo), self.count)


def ground(model: nn.Module | None = None, images: int = IMAGES) -> Ground:
    """A small trained network for digits and some validation images, with an eps of 0.05 in linf."""
    rows = stratified(JUDGE.data.load("validation").labels, images, "judge")[0]
    threat = Threat(norm="linf", eps=0.05)
    network = trained(0) if model is None else model
    here = Ground(network, JUDGE.data, "validation", rows, threat, JUDGE.data.classes, torch.device("cpu"))
    return replace(here, other=lambda spec: (trained(1), spec), judged=lambda: _judged(rows))


def _judged(rows: Indices) -> Judged:
    """A judgement by which every second image that is right stands; the others' adversarial images were not saved."""
    x, y = DeviceImages(JUDGE.data.load("validation").take(rows), torch.device("cpu")).batch(slice(None))
    clean = (trained(0)(x).argmax(1) == y).numpy()
    robust = clean & (rows % 2 == 0)
    return Judged(clean, robust, np.where(robust, "", np.where(clean, "apgd-ce", "clean")), "made")


@contract("measure")
def a_function_of_the_model(measure: Measure) -> None:
    """Taken twice, and with what an earlier run kept, it is the same bit for bit; the model stays as it was."""
    model = copy.deepcopy(trained(0))
    before, marks = state(model), flags(model)
    here = ground(model)
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        first = take(measure, here, Path(folder))
        torch.manual_seed(1)
        again, anew = take(measure, here, Path(folder)), take(measure, here)
    for other in (again, anew):
        assert _equal(first.value, other.value), f"{first.value} became {other.value}"
        assert first.values.keys() == other.values.keys()
        assert all(_equal(first.values[name], other.values[name]) for name in first.values)
        for name, column in first.columns.items():
            np.testing.assert_array_equal(column, other.columns[name])
    assert same(before, state(model)), "the weights have changed"
    assert marks == flags(model), "modes or flags have changed"


@contract("measure", default=True)
def pieces_know_nothing_of_each_other(measure: Measure) -> None:
    """Any piece, done alone and last to first, is what it is in order."""
    here = ground()
    there = range(measure.pieces(here))
    assert there, "there is nothing to do"
    pieces = {number: measure.piece(number, here) for number in reversed(there)}
    for number in (there[0], there[-1]):
        for name, array in measure.piece(number, here).items():
            np.testing.assert_array_equal(array, pieces[number][name])


@contract("measure")
def its_result_is_whole(measure: Measure) -> None:
    """The value lies in its interval, a fraction in [0, 1], and columns have a row for each image."""
    here = ground()
    found = take(measure, here)
    assert math.isfinite(found.value), "the value is not finite"
    if found.low is not None and found.high is not None:
        assert found.low <= found.value <= found.high, f"{found.low} to {found.high} leaves {found.value} out"
        assert found.interval, "an interval needs to say over what it is"
    if measure.unit == "fraction":
        assert 0 <= found.value <= 1
    for name, column in found.columns.items():
        assert len(column) == len(here), f"{name} has {len(column)} rows for {len(here)} images"


class Says(nn.Module):
    """The same logits [K] whatever it sees."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(logits[None], requires_grad=False)  # a matrix, as layers are

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.expand(len(x), -1) + 0 * x.sum()


@contract("measure", default=True)
def edges_are_measured(measure: Measure) -> None:
    """Of one image, without a radius, of a model that says one class or nothing finite: a whole result, or a line that says
    why there is none.
    """
    one_class, nothing = torch.eye(10)[3], torch.full((10,), torch.nan)
    edges = [ground(images=1), replace(ground(), threat=Threat(eps=0)), ground(Says(one_class)), ground(Says(nothing))]
    for here in edges:
        try:
            found = take(measure, here)
        except UserError:
            continue
        if measure.unit == "fraction":
            assert 0 <= found.value <= 1
        if found.low is not None and found.high is not None:
            assert found.low <= found.value <= found.high


@contract("measure", where=lambda measure: measure.needs_model)
def its_cost_is_declared(measure: Measure) -> None:
    """Passes through the model are as many as it says, or at most as many where it says so."""
    count = [0]
    here = ground(Passes(copy.deepcopy(trained(0)), count).eval().requires_grad_(False))
    declared = measure.passes(here)
    take(measure, here)
    if measure.fixed_cost:
        assert count[0] == declared, f"{count[0]} passes, but {declared:g} are declared"
    else:
        assert count[0] <= declared, f"{count[0]} passes, but at most {declared:g} are declared"


@contract("measure", default=True, where=lambda measure: isinstance(measure, PerImage))
def images_know_nothing_of_each_other(measure: PerImage) -> None:
    """An image's values are the same in another order and among others, up to rounding."""
    here = ground()
    whole = take(measure, here)
    turned = replace(here, rows=np.ascontiguousarray(here.rows[::-1][: IMAGES // 2]))
    part = take(measure, turned)
    for name, column in part.columns.items():
        expected = whole.columns[name][::-1][: IMAGES // 2]
        if column.dtype.kind == "f":
            np.testing.assert_allclose(column, expected, rtol=1e-3, atol=1e-5)
        else:
            np.testing.assert_array_equal(column, expected)


def _equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))
