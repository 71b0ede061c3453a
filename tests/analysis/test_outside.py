"""What the report and the table say of trials outside the constraints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from analysis import load, outside, report, summary
from sweeps.record import Issued, Judged, Record, Skipped
from sweeps.record.constraints import Limit

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
FLOOR = {"robust_accuracy": Limit(min=0.6)}
CHEAP = {"clean_accuracy": 0.95, "robust_accuracy": 0.8, "cost_passes": 1e6}


def _sweep(folder: Path, limits: Mapping[str, Limit] | None, *, best: int) -> Path:
    """Three trials: cut after an attack, judged in full, and one whose judged robust images are given."""
    with Record(folder, OBJECTIVES, constraints=limits) as record:
        for number in range(3):
            record.issue(Issued({"beta": float(number)}))
            record.finish(number, "complete", metrics=CHEAP, weights=f"{number:064x}")
        cut = Skipped(None, "apgd-ce", bound=58, images=100, clean_correct=90, missed={"robust_accuracy": 0.02})
        record.skip(0, cut)
        for number, robust in ((1, 45), (2, best)):
            record.judge(number, "validation", Judged(100, 90, robust, "apgd", False, "x", 1.0))
        record.fix_members([2] if best >= 60 else [], [])
    return folder


def test_the_table_says_who_is_outside_and_by_how_much(tmp_path: Path) -> None:
    table = load(_sweep(tmp_path, FLOOR, best=62)).set_index("trial")
    assert table["feasible"].tolist() == [False, False, True]
    assert table["violation.robust_accuracy"].tolist() == pytest.approx([0.02, 0.15, -0.02])
    assert table["outside"].tolist() == pytest.approx([0.02 / 0.6, 0.15 / 0.6, 0])
    assert table["misses"].tolist() == [
        "robust_accuracy at most 58.0 % is 2.0 points below 60.0 %",
        "robust_accuracy 45.0 % is 15.0 points below 60.0 %",
        "",
    ]
    assert table["member"].tolist() == [False, False, True]


def test_the_page_says_which_constraint_cut_a_trial(tmp_path: Path) -> None:
    folder = _sweep(tmp_path, FLOOR, best=62)
    page = report.write(folder).read_text()
    said = outside.warning(load(folder))
    assert said.startswith(
        "Outside the constraints, and on no frontier: trial 0 (robust_accuracy at most 58.0 % is 2.0 points"
    )
    assert said in page
    assert "cut by constraints" in page
    assert "bound after apgd-ce, which misses a constraint; robust_accuracy at most 58.0 % is 2.0 points below" in page
    assert outside.nothing_inside(load(folder)) == ""


def test_where_no_trial_is_inside_the_nearest_is_named(tmp_path: Path) -> None:
    folder = _sweep(tmp_path, FLOOR, best=57)
    said = summary.verdict(load(folder), OBJECTIVES)
    assert said == (
        "3 of 3 trials finished. No trial keeps to the constraints. The nearest is trial 0 (robust_accuracy at most 58.0 % is "
        "2.0 points below 60.0 %). Of those judged in full it is trial 2 (robust_accuracy 57.0 % is 3.0 points below 60.0 %)."
    )
    assert said in report.write(folder).read_text()


def test_where_every_judging_was_cut_nothing_is_awaited(tmp_path: Path) -> None:
    with Record(tmp_path, OBJECTIVES, constraints=FLOOR) as record:
        record.issue(Issued({"beta": 1.0}))
        record.finish(0, "complete", metrics=CHEAP, weights="0" * 64)
        record.skip(0, Skipped(None, "apgd-ce", 58, 90, 100, missed={"robust_accuracy": 0.02}))
    said = summary.verdict(load(tmp_path), OBJECTIVES)
    assert said.startswith(
        "1 of 1 trial has finished; none had to be judged to the end. No trial keeps to the constraints."
    )
    page = report.write(tmp_path).read_text()
    assert said in page
    assert "judged yet" not in page


def test_without_constraints_nobody_is_outside(tmp_path: Path) -> None:
    table = load(_sweep(tmp_path, None, best=57))
    assert table["feasible"].all()
    assert "outside" not in table
    assert outside.warning(table) == outside.nothing_inside(table) == ""
