"""Choices from a made sweep, each against what it is defined by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import comparison, paired
from analysis.__main__ import app
from analysis.advice import balanced
from analysis.collect import load
from analysis.deciding.choosing import Wanted, choose
from analysis.deciding.pool import of_table
from analysis.deciding.versus import versus
from robustray.errors import UserError
from sweeps.record import Issued, Record, read
from tests.analysis import made as the


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `mixed`, before its members are fixed: what is tested is tested on the selection set."""
    return the.sweep(tmp_path_factory.mktemp("results") / "judged", fix=False, flagged=(4,), replicated=(3, 10))


@pytest.fixture(scope="module")
def df(judged: Path) -> pd.DataFrame:
    return load(judged)


@pytest.fixture(scope="module")
def rows(judged: Path, df: pd.DataFrame) -> pd.DataFrame:
    return of_table(df, the.OBJECTIVES, judged).rows


def test_the_pool_is_of_settings_with_the_means_of_their_seeds(rows: pd.DataFrame, df: pd.DataFrame) -> None:
    assert 4 not in rows.index, "a flagged robust accuracy may be too high"
    assert rows["replicate_of"].isna().all()
    of = df[(df["trial"] == 3) | (df["replicate_of"] == 3)]
    of = of[of["judging"] == "full"]
    assert rows.loc[3, "judged_robust_accuracy"] == pytest.approx(of["judged_robust_accuracy"].mean())


def test_the_most_robust_of_those_that_are_clean_enough(judged: Path, rows: pd.DataFrame) -> None:
    found = choose(judged, Wanted(where="judged_clean_accuracy >= 0.87"))
    inside = rows[rows["judged_clean_accuracy"] >= 0.87]
    assert found.rule == "robust"
    assert found.trial == inside["judged_robust_accuracy"].idxmax()
    assert found.folder == judged / "trials" / f"{found.trial:04d}"
    assert "chosen, balanced, most robust" in str(found.table.loc[found.trial, "stands"])
    assert f"the {len(inside)} of {len(rows)} settings that meet judged_clean_accuracy >= 0.87" in found.why[0]
    out = found.table["stands"] == "does not meet it"
    assert (found.table.loc[out, "judged_clean_accuracy"] < 0.87).all()
    assert not any("the condition reads test" in note for note in found.notes)


def test_test_numbers_that_choose_are_said_to(mixed: Path) -> None:
    found = choose(mixed, Wanted(where="test_clean_accuracy >= 0.87"))
    rows = of_table(load(mixed), the.OBJECTIVES, mixed).rows
    assert found.trial == rows.loc[rows["test_clean_accuracy"] >= 0.87, "judged_robust_accuracy"].idxmax()
    assert found.notes[0].startswith("the condition reads test, so test flatters")
    assert "test is read for members alone" in found.notes[1]


def test_a_condition_may_leave_out_what_dominates(judged: Path, rows: pd.DataFrame) -> None:
    relu = rows[rows["option.model.activation"] == "relu"]
    found = choose(judged, Wanted(where="model.activation == 'relu'"))
    assert found.trial == relu["judged_robust_accuracy"].idxmax()
    cheapest = choose(judged, Wanted(by="cheapest"))
    assert rows.loc[cheapest.trial, "cost_device_hours"] == rows["cost_device_hours"].min()


def test_rules_without_a_condition(judged: Path, rows: pd.DataFrame) -> None:
    assert choose(judged).rule == "balanced"
    assert choose(judged).trial == balanced(load(judged), the.OBJECTIVES), "the page names the same one"
    assert choose(judged).trial == (rows["judged_clean_accuracy"] * rows["judged_robust_accuracy"]).idxmax()
    assert choose(judged, Wanted(by="clean")).trial == rows["judged_clean_accuracy"].idxmax()
    wish = {"clean_accuracy": 1.0, "robust_accuracy": 0.0}
    assert choose(judged, Wanted(reference=wish)).trial == rows["judged_clean_accuracy"].idxmax()


def test_the_paired_test_is_of_the_same_images_and_adjusted(judged: Path, df: pd.DataFrame) -> None:
    models = comparison.read(judged, read(judged), "validation")
    assert models is not None
    a, b, c = models.trials[:3]
    found = versus(models, a, [b, c], {n: [n] for n in (a, b, c)})
    at = {n: models.verdicts[models.trials.index(n)] for n in (a, b, c)}
    raw = [paired.mcnemar(at[n][which], at[a][which]) for n in (b, c) for which in range(2)]
    np.testing.assert_allclose(found[["clean_p", "robust_p"]].to_numpy().ravel(), paired.holm(raw))
    assert found.loc[b, "robust_difference"] == pytest.approx(at[b][1].mean() - at[a][1].mean())
    assert (found["robust_low"] <= found["robust_difference"]).all()
    assert (found["robust_difference"] <= found["robust_high"]).all()


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(where="judged_clean_accuracy > 0.99"), "judged_clean_accuracy goes from"),
        (Wanted(budget=0.001), "the least is"),
        (Wanted(by="reference"), "needs --reference"),
        (Wanted(by="knee", reference={"clean_accuracy": 1}), "goes with --by reference"),
        (Wanted(reference={"clean": 0.9}), "known: clean_accuracy, robust_accuracy"),
        (Wanted(reference={"clean_accuracy": 90}), "is a fraction"),
    ],
)
def test_mistakes(judged: Path, wanted: Wanted, said: str) -> None:
    with pytest.raises(UserError, match=said):
        choose(judged, wanted)


def test_before_anything_is_complete_or_judged(tmp_path: Path) -> None:
    with Record(tmp_path / "begun", the.OBJECTIVES) as record:
        record.issue(Issued({"beta": 1.0}))
    with pytest.raises(UserError, match="nothing to choose from"):
        choose(tmp_path / "begun")
    found = choose(the.sweep(tmp_path / "cheap", trials=6, judge=False))
    assert any("nothing is judged yet" in note for note in found.notes)
    assert found.table["clean_p"].isna().all()


def test_the_command_prints_a_table_or_one_object(judged: Path, tmp_path: Path) -> None:
    where = ["choose", str(judged), "--where", "judged_clean_accuracy >= 0.87", "--csv", str(tmp_path / "all.csv")]
    shown = CliRunner().invoke(app, where)
    assert shown.exit_code == 0
    assert "chosen, balanced, most robust" in shown.stdout
    told = CliRunner().invoke(app, [*where, "--json"])
    said = json.loads(told.stdout)
    table = pd.read_csv(tmp_path / "all.csv")
    assert said["trial"] == choose(judged, Wanted(where="judged_clean_accuracy >= 0.87")).trial
    assert [row["trial"] for row in said["alternatives"]] == table["trial"].tolist()
