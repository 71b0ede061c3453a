"""Which member is named where nothing else decides, and what the first screen says beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import comparison, device_time, picking
from analysis.advice import advice, balanced
from analysis.answers import answers
from analysis.collect import load
from sweeps import record
from tests.analysis import made as the


def _frontier(table: pd.DataFrame, places: list[tuple[float, float]]) -> pd.DataFrame:
    """Members at these places on the selection set; test is not read."""
    df = table.iloc[: len(places)].copy()
    df["replicate_of"] = pd.array([pd.NA] * len(df), dtype="Int64")
    df[["judged_clean_accuracy", "judged_robust_accuracy"]] = places
    df[["test_clean_accuracy", "test_robust_accuracy"]] = np.nan
    return df.assign(member=True, status="complete", feasible=True, judging="full", flags="")


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_balanced_member_has_the_largest_product_of_accuracies(table: pd.DataFrame, data: st.DataObject) -> None:
    grid = st.integers(1, 99)
    cleans = data.draw(st.lists(grid, min_size=1, max_size=6, unique=True))
    robusts = data.draw(st.lists(grid, min_size=len(cleans), max_size=len(cleans), unique=True))
    places = list(zip(np.divide(sorted(cleans), 100), np.divide(sorted(robusts, reverse=True), 100), strict=True))
    chosen = balanced(_frontier(table, places), the.OBJECTIVES)
    products = [clean * robust for clean, robust in places]
    assert chosen is not None
    assert products[chosen] == pytest.approx(max(products))


def test_with_one_objective_it_is_the_best(table: pd.DataFrame) -> None:
    df = _frontier(table, [(0.9, 0.3), (0.8, 0.5), (0.7, 0.4)])
    found = advice(df, {"robust_accuracy": "max"})
    assert found is not None
    assert (found.trial, found.why) == (1, ["It has the best robust accuracy on the selection set."])


def test_the_only_one_has_no_neighbours(table: pd.DataFrame) -> None:
    found = advice(_frontier(table, [(0.9, 0.2)]), the.OBJECTIVES)
    assert found is not None
    assert found.why == ["It is the only one on the frontier."]


def test_neighbours_say_what_they_would_give_and_take(table: pd.DataFrame) -> None:
    found = advice(_frontier(table, [(0.9, 0.2), (0.8, 0.5), (0.6, 0.55)]), the.OBJECTIVES)
    assert found is not None
    assert found.trial == 1
    assert found.numbers.endswith("on the selection set")
    assert found.why[1:] == [
        "Trial 0, on the selection set: +10.0 points clean, \N{MINUS SIGN}30.0 points robust.",
        "Trial 2, on the selection set: \N{MINUS SIGN}20.0 points clean, +5.0 points robust.",
    ]


def test_every_number_of_the_card_names_its_images(table: pd.DataFrame) -> None:
    """Differences are of the set that chose; what test says of the member stands beside, and whether a neighbour fell there."""
    df = _frontier(table, [(0.9, 0.2), (0.8, 0.5), (0.6, 0.55)])
    df[["test_clean_accuracy", "test_robust_accuracy"]] = [(0.79, 0.1), (0.8, 0.4), (0.5, 0.5)]
    found = advice(df, the.OBJECTIVES)
    assert found is not None
    chosen, tested = found.numbers.split(", ")
    assert chosen.endswith("robust on the selection set")
    assert tested.replace("\N{NARROW NO-BREAK SPACE}", " ") == "80.0 % / 40.0 % on test"
    assert "is largest there, on the selection set, so" in found.why[0]
    assert found.why[1] == (
        "Trial 0, on the selection set: +10.0 points clean, \N{MINUS SIGN}30.0 points robust; "
        "on test another member dominates it."
    )
    assert found.why[2] == "Trial 2, on the selection set: \N{MINUS SIGN}20.0 points clean, +5.0 points robust."
    cheap = df.assign(member=False, judging="none", clean_accuracy=[0.9, 0.8, 0.6], robust_accuracy=[0.2, 0.5, 0.55])
    early = advice(cheap, the.OBJECTIVES)
    assert early is not None
    assert early.why[1].startswith("Trial 0, by the cheap attack on validation: +10.0 points clean")


def test_test_decides_nothing_but_speaks_against(made: Path, table: pd.DataFrame) -> None:
    chosen = balanced(table, the.OBJECTIVES)
    worse = table.copy()
    worse.loc[worse["trial"] == chosen, ["test_clean_accuracy", "test_robust_accuracy"]] = 0.01
    assert balanced(worse, the.OBJECTIVES) == chosen
    found = advice(worse, the.OBJECTIVES)
    assert found is not None
    assert found.why[-1].startswith("On test another member dominates it")


def test_the_first_screen_answers(made: Path, table: pd.DataFrame) -> None:
    snapshot = record.read(made)
    compared = {"test": comparison.of_sweep(made, snapshot, table, "test")}
    spent = device_time.of_sweep(made, snapshot)
    said = {
        one.question: one
        for one in answers(
            table, snapshot, spent, {k: v for k, v in compared.items() if v}, advice(table, the.OBJECTIVES)
        )
    }
    assert said["What to use"].trial == balanced(table, the.OBJECTIVES)
    members = table[table["member"]]
    widest = max((members[f"test_{name}_high"] - members[f"test_{name}_low"]).max() / 2 for name in the.OBJECTIVES)
    assert said["How sure"].short == f"\N{PLUS-MINUS SIGN}{100 * widest:.1f} points"
    assert f"{the.TEST:,} images of test" in said["How sure"].sentences[0]
    assert said["What it cost"].short == f"{(spent.training + spent.judging) / 3600:.1f} h"


def test_before_anything_is_judged_nothing_is_sure(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", trials=4, judge=False)
    df, snapshot = load(folder), record.read(folder)
    said = answers(df, snapshot, device_time.of_sweep(folder, snapshot), {}, advice(df, snapshot.objectives))
    assert [one.short for one in said if one.question == "How sure"] == ["Not yet"]
    assert answers(df.iloc[:0], snapshot, device_time.of_sweep(folder, snapshot), {}, None) == []


def test_what_was_judged_and_keeps_to_no_constraint_was_judged(made: Path, table: pd.DataFrame) -> None:
    df = table.assign(feasible=False, member=False)
    said = answers(df, record.read(made), device_time.of_sweep(made, record.read(made)), {}, None)
    sure = next(one for one in said if one.question == "How sure")
    assert sure.short == "Not yet"
    assert sure.sentences[0].startswith("No trial that was judged keeps to the constraints")


def test_the_slider_keeps_every_member_in_at_first_and_names_the_best_one_after(table: pd.DataFrame) -> None:
    slider = picking.limit(table, the.OBJECTIVES)
    assert slider is not None
    cleans = 100 * table.loc[table["member"], "judged_clean_accuracy"]
    assert slider.label == "At least this clean"
    assert slider.start == slider.low <= cleans.min()
    assert cleans.max() <= slider.high + 1e-9
    chosen: list[dict[str, Any]] = picking.facts(table, the.OBJECTIVES)["choices"]["members"]
    robust = table.set_index("trial")["judged_robust_accuracy"]
    assert [robust[one["trial"]] for one in chosen] == sorted(robust[table["member"].tolist()], reverse=True)


def test_a_cost_is_a_limit_from_above(table: pd.DataFrame) -> None:
    df = _frontier(table, [(0.9, 0.3), (0.8, 0.5), (0.7, 0.6)]).assign(cost_passes=[1e8, 5e8, 9e8])
    objectives = {"robust_accuracy": "max", "cost_passes": "min"}
    slider = picking.limit(df, objectives)
    assert slider is not None
    assert (slider.label, slider.start) == ("At most this training cost", slider.high)
    assert slider.low <= 1e8 <= 9e8 <= slider.high
    assert picking.limit(df.iloc[:1], objectives) is None
    assert picking.limit(df, {"robust_accuracy": "max"}) is None
