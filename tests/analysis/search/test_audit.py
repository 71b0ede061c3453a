"""The audit of cheap numbers, of a sweep."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from scipy import stats
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.report import publish
from analysis.search import audit as audits
from analysis.search.audit import audit
from robustray.errors import UserError
from sweeps import record
from sweeps.record import Judged, Rung, Snapshot, TrialRecord
from tests.analysis.made import sweep


def test_the_command_says_what_the_record_says(made: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["audit", str(made), "--csv", str(tmp_path / "audit.csv")])
    assert done.exit_code == 0
    assert "end of training" in done.output
    found = pd.read_csv(tmp_path / "audit.csv").set_index("metric")
    both = table[(table["judging"] == "full") & (table["flags"] == "")]
    for metric in ("clean_accuracy", "robust_accuracy"):
        tau = stats.kendalltau(both[metric], both[f"judged_{metric}"]).statistic
        assert found.loc[metric, "tau"] == pytest.approx(tau)
        assert found.loc[metric, "n"] == len(both)
        assert found.loc[metric, "drop"] == pytest.approx((both[metric] - both[f"judged_{metric}"]).mean())


def test_a_sweep_without_a_judged_trial_is_told_so(tmp_path: Path) -> None:
    folder = sweep(tmp_path / "none", trials=3, judge=False, fix=False)
    assert audit(record.read(folder)).empty
    done = CliRunner().invoke(app, ["audit", str(folder)])
    assert isinstance(done.exception, UserError)


def test_it_says_when_and_by_what_each_was_measured() -> None:
    """Trainings of 8 and of 12 epochs, each looked at, and measured halfway; all looks are of 3 epochs."""

    def trial(number: int, epochs: int) -> TrialRecord:
        values = dict.fromkeys(("clean_accuracy", "robust_accuracy"), 0.5 + number / 10)
        halves = {name: value / 2 for name, value in values.items()}
        rungs = (Rung(0, 3, 0, halves, 1.0, 0.1), Rung(1, epochs // 2, 1, halves, 2.0))
        return TrialRecord(number, {}, "complete", metrics=values, epoch=epochs, rungs=rungs)

    trials = [trial(number, epochs) for number, epochs in enumerate((8, 12, 8))]
    judged = {(number, "validation"): Judged(100, 80, 40 + number, "standard", True, "", 0.0) for number in range(3)}
    shown = audits.table(audit(Snapshot({}, trials, judged, {}, {}, [], {})))
    assert [str(row[1].text) for row in shown.rows[:3]] == ["end of training", "epochs 4 to 6", "a look, of 3 epochs"]
    one = audits.table(audit(Snapshot({}, trials[:1], judged, {}, {}, [], {})))
    assert [str(row[1].text) for row in one.rows[:3]] == ["end of training", "epoch 4", "a look, of 3 epochs"]


def test_on_one_list_clean_accuracy_is_not_held_against_itself(tmp_path: Path) -> None:
    """With all of validation judged, the clean row at the end of training would be the same numbers twice."""
    folder = sweep(tmp_path / "one", trials=6)
    said = publish(folder, picture=False).index.read_text()
    assert "short attacks on other images" in said
    assert audit(record.read(folder))["metric"].tolist() == ["clean_accuracy", "robust_accuracy"]
    sheet = yaml.safe_load((folder / "sweep.yaml").read_text())
    sheet["space"]["judge"]["images"]["validation"] = "all"
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sheet))
    assert audit(record.read(folder), one_list=True)["metric"].tolist() == ["robust_accuracy"]
    done = CliRunner().invoke(app, ["audit", str(folder)])
    assert "robust accuracy" in done.output
    assert "clean accuracy" not in done.output
    said = publish(folder, picture=False).index.read_text()
    assert "short attacks, here on the judge&rsquo;s own images" in said
    assert "clean accuracy" not in said.split('<table id="audit"')[1].split("</table>")[0]
