"""The table of a sweep: columns, types, statuses, how each trial was judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.collect import load, options
from analysis.pareto import frontier, wilson
from analysis.standing import dominated_on_test, judged_frontier
from robustray.errors import UserError
from robustray.measures.metrics import METRICS
from sweeps.record import Issued, Judged, Record, read
from tests.analysis import made as the

COLUMNS = [
    "trial", "status", "feasible", "cause", *METRICS, "replicate_of", "derived", "parents", "judging", "flags",
    "dominated_by", "skipped_after", "bound", "judged_clean_accuracy",
    "judged_clean_accuracy_low", "judged_clean_accuracy_high", "judged_robust_accuracy", "judged_robust_accuracy_low",
    "judged_robust_accuracy_high", "judged_images", "member", "test_clean_accuracy", "test_clean_accuracy_low",
    "test_clean_accuracy_high", "test_robust_accuracy", "test_robust_accuracy_low", "test_robust_accuracy_high",
    "test_images", "judge_version", "autoattack", "gap_clean", "gap_robust",
]  # fmt: skip
FIRST = COLUMNS[: 4 + len(METRICS)]
JUDGED = {f"judged_{name}": mode for name, mode in the.OBJECTIVES.items()}


def test_every_trial_has_a_row_by_number(table: pd.DataFrame) -> None:
    assert table["trial"].tolist() == list(range(the.TRIALS))
    assert set(COLUMNS) <= set(table.columns)
    assert not table.columns.duplicated().any()


def test_options_are_columns_in_the_order_they_were_handed_out(table: pd.DataFrame) -> None:
    names = ["defense.trades.beta", "schedule.lr", "schedule.epochs", "model.activation"]
    assert options(table) == [f"option.{name}" for name in names]
    assert table["option.defense.trades.beta"].dtype == "float64"
    assert set(table["option.model.activation"]) == {"relu", "silu", the.SCRIPT}


def test_statuses(table: pd.DataFrame) -> None:
    def having(status: str) -> tuple[int, ...]:
        return tuple(table.loc[table["status"] == status, "trial"])

    assert having("stopped") == the.STOPPED
    assert having("diverged") == the.DIVERGED
    assert having("failed") == the.FAILED
    assert having("out_of_memory") == the.OUT_OF_MEMORY
    assert having("running") == the.RUNNING
    assert tuple(table.loc[~table["feasible"], "trial"]) == the.INFEASIBLE
    assert table.loc[9, "cause"] == the.CAUSE


def test_judging_is_full_skipped_or_none(table: pd.DataFrame) -> None:
    assert set(table["judging"]) == {"full", "skipped", "none"}
    full, skipped = table[table["judging"] == "full"], table[table["judging"] == "skipped"]
    assert full["judged_robust_accuracy"].notna().all()
    assert full["bound"].isna().all()
    assert skipped["judged_robust_accuracy"].isna().all()
    assert (skipped["skipped_after"] == "apgd-ce").all()
    for _, trial in skipped.iterrows():
        better = table.loc[int(trial["dominated_by"])]
        assert better["judging"] == "full"
        assert better["judged_robust_accuracy"] >= trial["bound"]


def test_intervals_are_wilsons(made: Path, table: pd.DataFrame) -> None:
    for (number, split), judged in read(made).judged.items():
        prefix = "judged" if split == "validation" else "test"
        low, high = wilson(judged.robust, judged.images)
        row = table.loc[number]
        assert (row[f"{prefix}_robust_accuracy_low"], row[f"{prefix}_robust_accuracy_high"]) == (low, high)
        assert low < row[f"{prefix}_robust_accuracy"] < high
        assert row[f"{prefix}_images"] == judged.images


def test_members_are_the_last_event_and_the_frontier(made: Path, table: pd.DataFrame) -> None:
    members = table.loc[table["member"], "trial"].tolist()
    assert members == read(made).members[-1].trials
    assert frontier(table, JUDGED)["trial"].tolist() == members
    assert table.loc[table["member"], "test_robust_accuracy"].notna().all()


def test_gap_is_selection_set_minus_test(table: pd.DataFrame) -> None:
    members = table[table["member"]]
    expected = members["judged_robust_accuracy"] - members["test_robust_accuracy"]
    np.testing.assert_allclose(members["gap_robust"], expected)
    assert table.loc[~table["member"], "gap_robust"].isna().all()


def test_dominated_on_test_is_among_members_alone(table: pd.DataFrame) -> None:
    dominated = dominated_on_test(table, the.OBJECTIVES)
    assert dominated[table["member"]].any()
    assert not dominated[table["member"]].all()
    assert not dominated[~table["member"]].any()


def test_before_members_are_fixed_there_are_none(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", fix=False))
    assert not df["member"].any()
    assert (df["judging"] == "full").any()
    assert df["test_clean_accuracy"].isna().all()


def test_an_empty_record_has_the_columns_and_no_rows(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", trials=0))
    assert len(df) == 0
    assert list(df.columns) == FIRST + [name for name in df.columns if name not in FIRST]
    assert set(df.columns) == set(COLUMNS)


def test_types_do_not_depend_on_what_is_missing(table: pd.DataFrame, tmp_path: Path) -> None:
    empty = load(the.sweep(tmp_path / "s", trials=0))
    for name in COLUMNS:
        assert empty[name].dtype == table[name].dtype, name


def test_measures_keep_their_name_and_taken_names_are_marked(tmp_path: Path) -> None:
    with Record(tmp_path, {**the.OBJECTIVES, "lipschitz": "min"}) as record:
        record.issue(Issued({"defense": "trades"}))
        told = {"clean_accuracy": 0.9, "robust_accuracy": 0.4, "lipschitz": 3.5, "bound": 1.0}
        record.finish(0, "complete", metrics=told)
    row = load(tmp_path).loc[0]
    assert row["lipschitz"] == 3.5
    assert row["metric.bound"] == 1.0
    assert np.isnan(row["bound"])


def test_an_option_of_a_branch_not_taken_is_missing(tmp_path: Path) -> None:
    with Record(tmp_path, the.OBJECTIVES) as record:
        record.issue(Issued({"defense": "trades", "defense.trades.beta": 6.0}))
        record.issue(Issued({"defense": "mart", "defense.mart.steps": 10}))
    df = load(tmp_path)
    assert df["option.defense.trades.beta"].dtype == "float64"
    assert df["option.defense.trades.beta"].isna().tolist() == [False, True]
    assert df["option.defense.mart.steps"].dtype == "Int64"
    assert df["option.defense.mart.steps"].isna().tolist() == [True, False]


def test_flags_of_both_splits_are_told_and_no_member_has_any(tmp_path: Path) -> None:
    with Record(tmp_path, the.OBJECTIVES) as record:
        for number in range(3):
            record.issue(Issued({}))
            record.finish(number, "complete", metrics={"clean_accuracy": 0.9, "robust_accuracy": 0.5})
        for number, flags in ((0, ("outside", "dynamic")), (1, ()), (2, ())):
            record.judge(number, "validation", Judged(100, 90, 50, "standard", True, "judgements/v", 1.0, flags))
        record.fix_members([1, 2], [1, 2])
        record.judge(1, "test", Judged(100, 90, 50, "standard", True, "judgements/t", 1.0, (the.FLAG,)))
    df = load(tmp_path)
    assert df["flags"].tolist() == ["outside, dynamic", the.FLAG, ""]
    assert df["member"].tolist() == [False, False, True]
    assert judged_frontier(df, the.OBJECTIVES) == {2}


def test_a_skip_that_was_withdrawn_is_none(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", fix=False)
    number = int(load(folder).query("judging == 'skipped'")["trial"].iloc[0])
    with Record(folder, the.OBJECTIVES) as record:
        record.skip(number, None)
    row = load(folder).loc[number]
    assert row["judging"] == "none"
    assert np.isnan(row["bound"])


def _seeds(*rows: tuple[float, float, int | None, str, str, str]) -> pd.DataFrame:
    """A judged table from (clean, robust, replicate of, flags, status, judging)."""
    names = ["judged_clean_accuracy", "judged_robust_accuracy", "replicate_of", "flags", "status", "judging"]
    df = pd.DataFrame(rows, columns=names).astype({"replicate_of": "Int64"})
    return df.assign(trial=range(len(df)), feasible=True)


def test_a_setting_stands_where_the_mean_over_its_seeds_stands() -> None:
    done = ("", "complete", "full")
    lucky, second, steady = (0.9, 0.6, None, *done), (0.7, 0.4, 0, *done), (0.85, 0.55, None, *done)
    assert judged_frontier(_seeds(lucky), the.OBJECTIVES) == {0}
    assert judged_frontier(_seeds(lucky, second, steady), the.OBJECTIVES) == {2}
    worse = (0.8, 0.5, None, *done)
    assert judged_frontier(_seeds(lucky, second, worse), the.OBJECTIVES) == {0, 1, 2}  # a tie of means


@pytest.mark.parametrize(
    ("other", "standing"),
    [
        ((0.9, 0.6, 0, "outside", "complete", "full"), {2}),  # no seed of a flagged setting
        ((np.nan, np.nan, 0, "", "running", "none"), {2}),  # its mean may yet move
        ((np.nan, np.nan, 0, "", "complete", "skipped"), {2}),
        ((np.nan, np.nan, 0, "", "complete", "failed"), {0, 2}),  # could not be judged: the others count
        ((0.1, 0.0, 0, "", "diverged", "none"), {0, 2}),
    ],
)
def test_which_settings_take_part(other: tuple[float, float, int | None, str, str, str], standing: set[int]) -> None:
    df = _seeds((0.9, 0.5, None, "", "complete", "full"), other, (0.7, 0.6, None, "", "complete", "full"))
    assert judged_frontier(df, the.OBJECTIVES) == standing
    assert judged_frontier(df.sample(frac=1, random_state=1), the.OBJECTIVES) == standing


def test_without_replicates_the_judged_frontier_is_the_frontier(table: pd.DataFrame) -> None:
    expected = set(frontier(table, JUDGED)["trial"])
    assert judged_frontier(table.sample(frac=1, random_state=2), the.OBJECTIVES) == expected


def test_seeds_of_one_setting_do_not_dominate_each_other_on_test(table: pd.DataFrame) -> None:
    members = table[table["member"]]
    loser = members["trial"].min()
    winner = members.sort_values("test_clean_accuracy")["trial"].iloc[-1]
    alone = table[table["trial"].isin((loser, winner))]
    joined = alone.assign(replicate_of=alone["replicate_of"].mask(alone["trial"] == loser, winner))
    assert dominated_on_test(alone, the.OBJECTIVES).sum() == 1
    assert dominated_on_test(joined, the.OBJECTIVES).sum() == 0


def test_no_record_is_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep here"):
        load(tmp_path)
