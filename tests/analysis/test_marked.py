"""The frontier figure with a trial marked and published models beneath."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import points, published
from analysis.marked import of_sweep
from robustray.errors import UserError


def drawn(figure: Any, kind: str) -> list[Any]:
    return [trace for trace in figure.data if (trace.meta or {}).get("kind") == kind]


def test_a_ring_lies_where_the_trial_stands(made: Path, table: pd.DataFrame) -> None:
    """On test where it was read, else on the selection set."""
    tested, selected = points.points_on_test(table), points.selection_points(table)
    member = int(tested["trial"].iloc[0])
    other = next(int(number) for number in selected["trial"] if number not in set(tested["trial"]))
    for trial, places in ((member, tested), (other, selected)):
        (ring,) = drawn(of_sweep(made, trial), "mark")
        here = places[places["trial"] == trial]
        assert (list(ring.x), list(ring.y)) == (list(here["x"]), list(here["y"]))


def test_published_models_lie_beneath_and_in_view(made: Path) -> None:
    figure = of_sweep(made, beneath="cifar10:linf:resnet18")
    wanted = published.frontier(published.table("cifar10", "linf", architecture="resnet18"))
    line, marks = drawn(figure, "published")
    assert list(marks.hovertext) == list(wanted["entry"])
    assert set(zip(marks.x, marks.y, strict=True)) <= set(zip(line.x, line.y, strict=True))
    for axis, values in ((figure.layout.xaxis, marks.x), (figure.layout.yaxis, marks.y)):
        assert axis.range[0] < min(values) <= max(values) < axis.range[1]
    assert drawn(of_sweep(made), "published") == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"trial": 99}, "--trial 99: the sweep has no such trial"),
        ({"beneath": "cifar10"}, "must look like cifar10:linf"),
        ({"beneath": "cifar10:l3"}, "threat: nothing is published of 'l3'"),
    ],
)
def test_what_cannot_be_drawn(asked: dict[str, Any], said: str, made: Path) -> None:
    with pytest.raises(UserError, match=said):
        of_sweep(made, **asked)
