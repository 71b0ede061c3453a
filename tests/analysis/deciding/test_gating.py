"""Floors: who keeps them, by which number, and the exit codes that a pipeline reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.collect import load
from analysis.deciding.gating import gate, told
from analysis.pareto import wilson
from robustray.errors import UserError
from tests.analysis import made as the


def test_one_member_must_keep_all_floors(made: Path) -> None:
    df = load(made)
    rows = df[df["member"]].set_index("trial")
    top = rows.reset_index().sort_values("test_robust_accuracy").iloc[-1]
    best, clean, robust = int(top["trial"]), float(top["test_clean_accuracy"]), float(top["test_robust_accuracy"])
    found = gate(made, {"clean_accuracy": clean, "robust_accuracy": robust})
    assert [model.name for model in found.models if model.passed] == [f"trial {best}"]
    assert told(found)[0].startswith(f"passes: trial {best}: clean >= ")
    most_clean = rows["test_clean_accuracy"].max()
    apart = gate(made, {"clean_accuracy": most_clean, "robust_accuracy": robust})
    assert not apart.passed, "that one is clean and another one robust is not enough"
    assert "points below" in told(apart)[1]
    assert gate(made, {"clean_accuracy": robust}, trial=best).models[0].name == f"trial {best}"


def test_the_limit_is_one_sided_and_for_all_models_together(made: Path) -> None:
    found = gate(made, {"robust_accuracy": 0.1}, confident=True)
    z = norm.ppf(1 - 0.05 / len(found.models))
    for model in found.models:
        count = model.accuracies["robust_accuracy"] * the.TEST
        assert model.limits["robust_accuracy"] == pytest.approx(wilson(count, the.TEST, z)[0])
    one = gate(made, {"robust_accuracy": 0.1}, trial=int(found.models[0].name.removeprefix("trial ")))
    count = round(one.models[0].accuracies["robust_accuracy"] * the.TEST)
    exact = binomtest(count, the.TEST, alternative="greater").proportion_ci(0.95, method="wilson").low
    assert one.models[0].limits["robust_accuracy"] == pytest.approx(exact)


def test_a_limit_may_fail_where_the_estimate_passes(tmp_path: Path) -> None:
    right = np.arange(100) < 92
    the.judgement(tmp_path, "test", right, right & (np.arange(100) < 55))
    floors = {"clean_accuracy": 0.9, "robust_accuracy": 0.5}
    assert gate(tmp_path, floors).passed
    found = gate(tmp_path, floors, confident=True)
    assert not found.passed
    assert "with confidence" in found.models[0].misses[0]


def test_flags_and_judgements_that_are_not_finished_do_not_pass(tmp_path: Path) -> None:
    right = np.ones(20)
    the.judgement(tmp_path / "flagged", "test", right, right, flags=(the.FLAG,))
    found = gate(tmp_path / "flagged", {"robust_accuracy": 0.1})
    assert not found.passed
    assert the.FLAG in found.models[0].misses[0]
    the.judgement(tmp_path / "begun", "test", right, right, until=2)
    with pytest.raises(UserError, match="not judged to the end, fab-t, square left"):
        gate(tmp_path / "begun", {"robust_accuracy": 0.1})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--min-clean", "0.5"], 0, "passes: "),
        (["--min-clean", "0.99"], 1, "fails: none of "),
        (["--min-clean", "90"], 2, "0.9 for 90 %"),
        ([], 2, "there is no floor"),
        (["--min-clean", "0.5", "--trial", "999"], 2, "no such trial"),
        (["--min-clean", "0.5", "--trial", "0", "--split", "test"], 2, "not judged to the end for 0"),
    ],
)
def test_exit_codes(made: Path, arguments: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(app, ["gate", str(made), *arguments])
    if code == 2:
        assert isinstance(done.exception, UserError), "one line and exit code 2, by whoever runs the command"
        assert said in str(done.exception)
        return
    assert done.exit_code == code
    assert done.stdout.startswith(said)
    told = CliRunner().invoke(app, ["gate", str(made), *arguments, "--json"])
    assert told.exit_code == code
    assert json.loads(told.stdout)["passed"] is (code == 0)


def test_before_test_is_read_it_says_what_to_do(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "x", trials=5, fix=False)
    with pytest.raises(UserError, match="try --split validation"):
        gate(folder, {"clean_accuracy": 0.5})
    assert gate(folder, {"clean_accuracy": 0.5}, split="validation").passed
