"""The audit of cheap numbers, of a sweep."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.search.audit import audit
from robustray.errors import UserError
from sweeps import record
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
