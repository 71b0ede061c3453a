"""What is said of options: closed forms, and a sweep whose options are known to matter or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.search import written
from analysis.search.forest import Forest
from analysis.search.importance import Importance, importance
from analysis.search.importance_figure import importance_figure
from analysis.search.made_by import made_by
from analysis.search.made_by import table as made_by_table
from analysis.search.ped_anova import PedAnova
from analysis.search.sample import MEMBER, Sample, encoded, order, sample
from robustray.errors import UserError
from tests.analysis.made import OBJECTIVES, sweep

ONE = {"clean_accuracy": "max"}
BRANCH, IN_BRANCH = "option.defense", "option.defense.p.k"


def _sample(raw: pd.DataFrame, y: NDArray[np.float64], leading: list[int] | None = None) -> Sample:
    options, x = encoded(raw)
    front = np.isin(np.arange(len(raw)), leading or [])
    values = pd.DataFrame({"clean_accuracy": y, MEMBER: np.clip(y, 0, 1)})
    return Sample(np.arange(len(raw)), front, options, raw[[each.column for each in options]], x, values)


def _clean(found: Importance) -> pd.DataFrame:
    return found.table[found.table["target"] == "clean_accuracy"].set_index("option")


def _at(table: pd.DataFrame, row: str, column: str) -> float:
    return float(table[column].to_dict()[row])


@pytest.fixture(scope="module")
def additive() -> Importance:
    """y = 2 a + b with a and b uniform: variances 4 / 12 and 1 / 12, a share of 80 % and one of 20 %; c and d are dummies."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame({f"option.{name}": rng.random(150) for name in "abc"})
    raw = raw.assign(**{"option.d": rng.choice(["x", "y", "z"], 150)})
    return importance(_sample(raw, 2 * raw["option.a"].to_numpy() + raw["option.b"].to_numpy()), ONE)


def test_shares_of_an_additive_function_are_those_of_its_parts(additive: Importance) -> None:
    found = _clean(additive)
    assert _at(found, "option.a", "permuted") == pytest.approx(0.8, abs=0.1)
    assert _at(found, "option.b", "permuted") == pytest.approx(0.2, abs=0.1)
    assert all(abs(_at(found, f"option.{name}", "permuted")) < 0.02 for name in "cd")
    assert found["alone"].idxmax() == "option.a"
    assert all(_at(found, f"option.{name}", "alone") < 0.1 for name in "cd")
    assert _at(found, "option.a", "alone_low") > 0.1
    assert (found["permuted_low"] <= found["permuted"]).all()
    assert (found["permuted"] <= found["permuted_high"]).all()
    assert (found["fit"] > 0.9).all()


def test_what_has_nothing_to_do_with_options_is_not_explained_by_them() -> None:
    rng = np.random.default_rng(1)
    raw = pd.DataFrame({"option.a": rng.random(40), "option.b": rng.random(40)})
    found = importance(_sample(raw, rng.random(40)), ONE).table
    assert (found.loc[found["target"] == "clean_accuracy", "fit"] < 0.1).all()


def test_a_branch_is_looked_at_from_within_and_its_choice_from_without() -> None:
    """In branch p the option k has half of the variance, and the branches are far apart; in branch q there is no k."""
    rng = np.random.default_rng(2)
    taken = rng.random(120) < 0.5
    k, other = rng.random(120), rng.random(120)
    raw = pd.DataFrame(
        {BRANCH: np.where(taken, "p", "q"), IN_BRANCH: np.where(taken, k, np.nan), "option.other": other}
    )
    y = 5 * taken + np.where(taken, k, 0) + other
    found = _clean(importance(_sample(raw, y), ONE))
    assert found["conditional"].to_dict() == {BRANCH: False, IN_BRANCH: True, "option.other": False}
    assert _at(found, IN_BRANCH, "settings") == taken.sum()
    assert _at(found, BRANCH, "permuted") > 0.8
    assert _at(found, "option.other", "permuted") < 0.1
    assert _at(found, IN_BRANCH, "permuted") == pytest.approx(0.5, abs=0.25)


def test_a_null_that_was_chosen_is_a_value_and_no_branch() -> None:
    raw = pd.DataFrame({"option.depth": [0.1, np.nan, 0.2] * 10, "option.mix": ["cutout", None] * 15})
    y = np.asarray(raw["option.mix"].isna(), dtype=float)
    options, x = encoded(raw)
    assert [option.conditional for option in options] == [False, False]
    assert x.shape == (30, 3 + 1)
    found = _clean(importance(_sample(raw, y), ONE))
    assert _at(found, "option.mix", "permuted") > 0.8
    assert abs(_at(found, "option.depth", "permuted")) < 0.05


def test_too_few_of_a_branch_are_said_to_be_too_few() -> None:
    rng = np.random.default_rng(3)
    taken = np.arange(30) < 5
    raw = pd.DataFrame({BRANCH: np.where(taken, "p", "q"), IN_BRANCH: np.where(taken, rng.random(30), np.nan)})
    found = importance(_sample(raw, taken + rng.random(30)), ONE).table.set_index("option")
    assert found.loc[[IN_BRANCH], ["alone", "permuted", "fit"]].isna().to_numpy().all()
    assert np.isfinite(_at(found[found["target"] == MEMBER], BRANCH, "permuted"))


def test_names_that_decide_everything_explain_what_one_split_can() -> None:
    """All the best fifth, and nobody else, have one of two names: being among the best is that name."""
    raw = pd.DataFrame({"option.a": np.repeat(["p", "q"], [20, 80])})
    (option,), _ = encoded(raw)
    assert PedAnova.of(raw, [option]).shares(np.arange(100.0)) == pytest.approx(1.0, abs=0.08)
    assert PedAnova.of(raw, [option]).shares(np.tile(np.arange(5.0), 20)) == pytest.approx(0.0, abs=0.01)


def test_the_forest_is_as_sure_of_a_change_as_samples_of_rows_are() -> None:
    """The standard error against what forests of other samples say."""
    rng, changes, errors = np.random.default_rng(4), [], []
    ends = np.array([[0.2, 0.5]]), np.array([[0.8, 0.5]])
    for _ in range(12):
        x = rng.random((60, 2))
        change, error = Forest.fit(x, x[:, 0] + 0.3 * rng.normal(size=60)).change(*ends)
        changes.append(change[0])
        errors.append(error[0])
    assert np.mean(changes) == pytest.approx(0.6, abs=0.15)
    assert 0.5 < np.mean(errors) / np.std(changes, ddof=1) < 2


def test_a_member_is_told_what_going_back_would_change() -> None:
    """Members have the largest a: going back to a neighbour's costs the difference, for that is what a is worth."""
    rng = np.random.default_rng(5)
    raw = pd.DataFrame({"option.a": rng.random(120), "option.b": rng.choice(["p", "q"], 120)})
    y = raw["option.a"].to_numpy()
    of = _sample(raw, y, leading=np.flatnonzero(y > 0.8).tolist())
    found = made_by(of, importance(of, ONE).forests, ONE)
    assert set(found["trial"]) <= set(np.flatnonzero(y > 0.8))
    assert not set(found["neighbour"]) & set(found["trial"])
    going = found[found["option"] == "option.a"]
    expected = going["reverted"].astype(float) - going["value"].astype(float)
    assert going["clean_accuracy"].mean() == pytest.approx(expected.mean(), abs=0.05)
    within = (going["clean_accuracy"] - expected).abs() < 3 * going["clean_accuracy_se"] + 0.03
    assert within.mean() > 0.9


def test_a_choice_goes_back_with_its_branch() -> None:
    rng = np.random.default_rng(6)
    taken = np.arange(40) % 2 == 0
    raw = pd.DataFrame({BRANCH: np.where(taken, "p", "q"), IN_BRANCH: np.where(taken, rng.random(40), np.nan)})
    of = _sample(raw, taken + rng.random(40), leading=np.flatnonzero(taken).tolist())
    found = made_by(of, importance(of, ONE).forests, ONE)
    assert set(found["option"]) == {BRANCH}
    assert set(found["reverted"]) == {"q"}


def test_a_sample_is_settings_and_near_the_frontier_is_a_probability(mixed: Path) -> None:
    from analysis.collect import load

    df = load(mixed)
    of = sample(df, OBJECTIVES)
    complete = df[(df["status"] == "complete") & (df["flags"] == "")]
    assert set(of.settings) == set(complete["replicate_of"].fillna(complete["trial"]))
    assert 4 not in of.settings
    three = complete[complete["replicate_of"].fillna(complete["trial"]) == 3]
    at = of.settings.tolist().index(3)
    assert of.y["clean_accuracy"][at] == pytest.approx(three["judged_clean_accuracy"].mean())
    assert of.y[MEMBER].between(0, 1).all()
    assert of.y.loc[of.leading, MEMBER].mean() > of.y.loc[~of.leading, MEMBER].mean()
    assert order(of, "clean_accuracy", OBJECTIVES).argmin() == of.y["clean_accuracy"].argmax()
    assert order(of, MEMBER, OBJECTIVES).argmin() == of.y[MEMBER].argmax()


def test_what_is_a_share_stays_one() -> None:
    """One option is all there is: what exchanging it costs, over twice the variance, comes to more than 1 in some resamples."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame({f"option.{name}": rng.random(24) for name in "ab"})
    y = (raw["option.a"].to_numpy() > 0.5).astype(float)
    found = _clean(importance(_sample(raw, y), ONE))
    ends = found[[f"permuted{end}" for end in ("", "_low", "_high")]]
    assert ((ends >= 0) & (ends <= 1)).to_numpy().all()
    assert _at(found, "option.a", "permuted_high") == 1
    assert _at(found, "option.b", "permuted_low") == 0


def test_a_forest_that_knows_nothing_has_no_numbers_in_the_terminal_either() -> None:
    ends = [f"{measure}{end}" for measure in ("alone", "permuted") for end in ("", "_low", "_high")]
    row = {"option": "option.a", "settings": 20, "conditional": False} | dict.fromkeys(ends, 0.21)
    found = pd.DataFrame([row | {"target": "clean_accuracy", "fit": 0.9}, row | {"target": MEMBER, "fit": -0.04}])
    (_, known), (said, unknown) = written.tables(found)
    assert "next to nothing" in said
    assert [cell.text for cell in known.rows[0]][2:] == ["21", "21"]
    assert [cell.text for cell in unknown.rows[0]][2:] == ["\N{EM DASH}", "21"]


def test_what_a_forest_cannot_know_of_a_member_is_left_out() -> None:
    rng = np.random.default_rng(7)
    raw = pd.DataFrame({f"option.{name}": rng.random(60) for name in "ab"})
    y = raw["option.a"].to_numpy()
    of = _sample(raw, y, leading=np.flatnonzero(y > 0.8).tolist())
    noise = Forest.fit(of.x, rng.random(60))
    both = {"clean_accuracy": "max", "robust_accuracy": "max"}
    values = of.y.assign(robust_accuracy=noise.y)
    forests = {"clean_accuracy": Forest.fit(of.x, y), "robust_accuracy": noise}
    found = made_by(replace(of, y=values), forests, both)
    assert found["clean_accuracy"].notna().all()
    assert found["robust_accuracy"].isna().all()
    assert {row[-1].text for row in made_by_table(found, both).rows} == {"\N{EM DASH}"}
    assert made_by(replace(of, y=values), forests, {"robust_accuracy": "max"}).empty


@pytest.mark.parametrize(("error", "printed"), [(0.0, "<0.1"), (0.00024, "<0.1"), (0.0003, "0.1"), (0.004, "0.8")])
def test_an_error_that_rounds_to_nothing_is_no_certainty(error: float, printed: str) -> None:
    row = {"trial": 1, "neighbour": 2, "option": "option.a", "value": "1", "reverted": "2"}
    shown = made_by_table(pd.DataFrame([row | {"clean_accuracy": 0.007, "clean_accuracy_se": error}]), ONE)
    assert shown.rows[0][-1].text == "+0.7"
    assert shown.rows[0][-1].remark == f"\N{PLUS-MINUS SIGN}{printed}"


def test_the_command_draws_writes_and_says(made: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["importance", str(made), "--csv", str(tmp_path / "x.csv")])
    assert done.exit_code == 0
    found = pd.read_csv(tmp_path / "x.csv")
    assert set(found["target"]) == {"clean_accuracy", "robust_accuracy", MEMBER}
    assert found.groupby("target")["permuted"].idxmax().map(found["option"]).iloc[0] == "option.defense.trades.beta"
    assert "What made each member" in done.output
    assert "being on the frontier" in done.output
    figure = importance_figure(found)
    assert {trace.name for trace in figure.data} > {"by itself (PED-ANOVA)"}


def test_too_few_trials_are_said_and_not_drawn(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "few", trials=5, judge=False, fix=False)
    done = CliRunner().invoke(app, ["importance", str(folder)])
    assert isinstance(done.exception, UserError)
    assert "it takes 12" in str(done.exception)
