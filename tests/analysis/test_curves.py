"""Curves of training and of the search, from the files of a sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.pareto import hypervolume
from robustray.errors import UserError


def test_hypervolume_against_cost_adds_up(made: Path, table: pd.DataFrame) -> None:
    curve = analysis.hypervolume_curve(made)
    ended = table[table["status"] != "running"]
    assert sorted(curve["trial"]) == sorted(ended["trial"])
    assert curve["finished"].is_monotonic_increasing
    assert (curve["hypervolume"].diff().dropna() >= 0).all()
    for cost in ("cost_seconds", "cost_device_hours", "cost_passes"):
        assert (curve[cost].diff().dropna() >= 0).all()
        assert curve[cost].iloc[-1] == pytest.approx(ended[cost].sum())
    counting = ended[(ended["status"] == "complete") & ended["feasible"] & (ended["flags"] == "")]
    points = counting[["clean_accuracy", "robust_accuracy"]].sample(frac=1, random_state=0).to_numpy()
    assert curve["hypervolume"].iloc[-1] == pytest.approx(hypervolume(points))


def test_a_flagged_trial_reaches_nothing(mixed: Path) -> None:
    df = analysis.load(mixed)
    flagged = df.loc[df["flags"] != "", "trial"]
    assert len(flagged) >= 1
    curve = analysis.hypervolume_curve(mixed)
    steps = curve.set_index("trial")["hypervolume"].diff()
    assert (steps[flagged].fillna(0) == 0).all()


def test_training_curves_are_the_files(made: Path, tmp_path: Path) -> None:
    assert analysis.training_curves(made).empty, "the made sweep has a record and no trials' folders"
    assert list(analysis.training_curves(made).columns) == ["trial", "epoch"]
    (tmp_path / "study.journal").write_bytes((made / "study.journal").read_bytes())
    rows = {3: "epoch,loss,robust_accuracy\n1.0,2.5,\n2.0,1.5,0.25\n", 1: "epoch,loss,loss_clean\n1.0,3.0,0.5\n"}
    for number, text in rows.items():
        (tmp_path / "trials" / f"{number:04d}").mkdir(parents=True)
        (tmp_path / "trials" / f"{number:04d}" / "metrics.csv").write_text(text)
    curves = analysis.training_curves(tmp_path)
    assert curves[["trial", "epoch", "loss"]].to_numpy().tolist() == [[1, 1, 3.0], [3, 1, 2.5], [3, 2, 1.5]]
    assert np.isnan(curves["robust_accuracy"]).tolist() == [True, True, False]
    assert np.isnan(curves["loss_clean"]).tolist() == [False, True, True]


@pytest.mark.parametrize("text", ["", "not,metrics\n1,2\n", "\x00\x01"])
def test_a_damaged_file_is_named(made: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "study.journal").write_bytes((made / "study.journal").read_bytes())
    (tmp_path / "trials" / "0001").mkdir(parents=True)
    (tmp_path / "trials" / "0001" / "metrics.csv").write_text(text)
    with pytest.raises(UserError, match=r"0001/metrics.csv: not the metrics of a trial"):
        analysis.training_curves(tmp_path)


def test_no_sweep(tmp_path: Path) -> None:
    for curve in (analysis.training_curves, analysis.hypervolume_curve):
        with pytest.raises(UserError, match="no sweep here"):
            curve(tmp_path)
