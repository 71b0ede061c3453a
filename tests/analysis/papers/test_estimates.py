"""Numbers that tables of the papers are made of, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.papers import estimates, references
from analysis.papers.bai_radii import at_radius
from analysis.papers.correlated import coefficients, told
from analysis.papers.kamath_curves import stage
from analysis.papers.latex import Column, Sheet, escaped, latex
from analysis.papers.stutz_early_stopping import stopped

numbers = st.floats(-100, 100)


def of(values: list[float], errors: list[float] | None = None) -> pd.DataFrame:
    df = pd.DataFrame({"setting": "0", "label": "a", "x": values})
    return df if errors is None else df.assign(x_se=errors)


@given(st.lists(numbers, min_size=2, max_size=8))
def test_the_error_of_a_mean_over_seeds(values: list[float]) -> None:
    row = estimates.settings(of(values), ["x"]).iloc[0]
    assert row["models"] == len(values)
    assert row["x"] == pytest.approx(sum(values) / len(values), abs=1e-9)
    spread = sum((value - row["x"]) ** 2 for value in values) / (len(values) - 1)
    assert row["x_se"] == pytest.approx(math.sqrt(spread / len(values)), abs=1e-9)


def test_the_error_of_one_seed_is_its_own() -> None:
    assert estimates.settings(of([3.0], [0.5]), ["x"])["x_se"].iloc[0] == 0.5
    assert math.isnan(estimates.settings(of([3.0]), ["x"])["x_se"].iloc[0])


def test_no_seed_takes_the_noise_of_images_out() -> None:
    assert estimates.settings(of([3.0, 3.0], [0.5, 0.7]), ["x"])["x_se"].iloc[0] == pytest.approx(0.6)
    assert estimates.settings(of([3.0, 5.0], [0.5, 0.7]), ["x"])["x_se"].iloc[0] == pytest.approx(1.0)


def test_a_seed_without_a_number_is_none() -> None:
    row = estimates.settings(of([3.0, math.nan, 5.0]), ["x"]).iloc[0]
    assert (row["x"], row["models"]) == (4.0, 3)
    assert math.isnan(estimates.settings(of([math.nan]), ["x"])["x"].iloc[0])


def test_errors_of_shares_intervals_and_differences() -> None:
    assert estimates.of_share(0.2, 100) == pytest.approx(0.04)
    assert estimates.of_share(1.0, 100) == 0
    assert math.isnan(estimates.of_share(0.5, 0))
    assert estimates.of_interval(-1.959964, 1.959964) == pytest.approx(1)
    assert math.isnan(estimates.of_interval(None, None))
    assert estimates.of_difference(3, 4) == 5


def test_what_is_the_best_within_the_noise() -> None:
    df = pd.DataFrame({"x": [1.0, 0.9, 0.7, math.nan], "x_se": [0.04, 0.04, 0.04, 0.04]})
    assert estimates.best(df, "x", "max") == [True, True, False, False], "1.96 * 0.04 * sqrt(2) = 0.111"
    assert estimates.best(df, "x", "min") == [False, False, True, False]
    unsure = pd.DataFrame({"x": [1.0, 1.0, 0.99], "x_se": math.nan})
    assert estimates.best(unsure, "x", "max") == [True, True, False]
    assert estimates.best(pd.DataFrame({"x": [math.nan], "x_se": [math.nan]}), "x", "max") == [False]


@given(st.lists(st.tuples(numbers, st.floats(0, 5)), min_size=1, max_size=8))
def test_the_best_is_always_bold_and_no_error_makes_fewer(rows: list[tuple[float, float]]) -> None:
    df = pd.DataFrame(rows, columns=["x", "x_se"])
    found = estimates.best(df, "x", "max")
    assert found[int(df["x"].argmax())]
    wider = estimates.best(df.assign(x_se=df["x_se"] + 1), "x", "max")
    assert all(after or not before for before, after in zip(found, wider, strict=True))


def test_correlations_of_the_published_models() -> None:
    """As they follow from the paper's own tables: 0.847 and 0.856 on average, 0.50 in the worst case."""
    df = references.flatness()
    r, rho, n = coefficients(df, "flatness")
    assert (round(r, 3), round(rho, 3), n) == (0.847, 0.856, 74)
    assert round(coefficients(df, "flatness_worst")[0], 2) == 0.50


@given(st.lists(numbers, min_size=3, max_size=10, unique=True), st.floats(0.5, 10))
def test_a_line_correlates_fully(values: list[float], slope: float) -> None:
    x = np.round(np.asarray(values), 3)
    if np.ptp(x) == 0:
        return
    r, rho, n = coefficients(pd.DataFrame({"x": x, "robust_loss": 3 - slope * x}), "x")
    assert (r, rho) == pytest.approx((-1, -1))
    assert n == len(values)


def test_two_models_correlate_with_nothing() -> None:
    assert told(pd.DataFrame({"x": [1.0, 2.0], "robust_loss": [1.0, 2.0]}), "x") == "n = 2"
    assert told(pd.DataFrame({"x": [1.0] * 4, "robust_loss": [1.0, 2.0, 3.0, 4.0]}), "x") == "n = 4"


def test_published_numbers_stand_beside_equal_conditions_alone() -> None:
    assert len(references.accuracies("Bai et al. 2023", "cifar10:linf:0.03137")) == 2
    assert references.accuracies("Bai et al. 2023", "digits:linf:0.12000").empty
    assert references.accuracies("Bai et al. 2023", "cifar10:l2:0.50000").empty


def test_a_certified_staircase_holds_below_each_radius() -> None:
    curve = pd.DataFrame({"radius": [0.0, 0.1, 0.3], "certified_accuracy": [0.9, 0.6, 0.2]})
    assert [at_radius(curve, radius) for radius in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4)] == [0.9, 0.6, 0.6, 0.2, 0.2, 0.0]


def test_stopping_early_gains_what_the_last_epoch_lost() -> None:
    errors = {5: 0.5, 10: 0.3, 15: 0.4}
    df = pd.DataFrame([{"epoch": epoch, "loss": 2 * error, "error": error} for epoch, error in errors.items()])
    df = df.assign(split="validation", sweep="a", trial=0, setting="0", label="AT", images=100)
    row = stopped(pd.concat([df, df.assign(split="train", error=0.0)])).iloc[0]
    assert (row["last"], row["best"], row["epoch"], row["gain"]) == (0.4, 0.3, 10, pytest.approx(0.1))
    assert (row["last_loss"], row["best_loss"]) == (0.8, 0.6)
    assert row["last_se"] == pytest.approx(math.sqrt(0.4 * 0.6 / 100))


@pytest.mark.parametrize(
    ("curriculum", "found"),
    [
        (None, ("eps", 0, 0.1)),
        ({"name": "stages", "stages": [{"eps_scale": 0, "rotation": 30}]}, ("rotations", 30, 0)),
        ({"name": "stages", "stages": [{"eps_scale": 0, "rotation": 0}]}, ("rotations", 0, 0)),
        ({"name": "stages", "stages": [{"eps_scale": 0.5, "rotation": 0}]}, ("eps", 0, 0.05)),
        ({"name": "stages", "stages": [{}, {"eps_scale": 1, "rotation": 20}]}, ("both", 20, 0.1)),
        ({"name": "cusp", "rotations": [20, 40, 60], "eps_scales": [0.25, 0.5, 1]}, ("both", 60, 0.1)),
        ({"name": "ramp"}, ("", 0, 0)),
    ],
)
def test_which_curve_a_training_is_of(curriculum: object, found: tuple[str, float, float]) -> None:
    assert stage({"curriculum": curriculum, "threat": {"eps": 0.1}}) == found


def test_a_cell_has_value_and_error() -> None:
    row = {"x": -0.0123, "x_se": 0.004, "y": math.nan, "y_se": 0.1, "z": 0.5}
    assert Column("x", "x", percent=True).printed(row, bold=False) == r"$-$1.2 $\pm$ 0.4"
    assert Column("x", "x", percent=True).printed(row, bold=True) == r"\textbf{$-$1.2} $\pm$ 0.4"
    assert Column("y", "y").printed(row, bold=True) == "--"
    assert Column("z", "z", digits=2).printed(row, bold=False) == "0.50"


@given(st.text())
def test_any_text_is_set_and_none_is_a_command(text: str) -> None:
    found = escaped(text)
    assert "\n" not in found
    bare = found.replace(r"\textbackslash{}", "").replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    table = latex(Sheet(pd.DataFrame({"a": [text]}), [Column("a", text)], text), "x")
    assert table.count(r"\\") == 2, "a head and a row"
