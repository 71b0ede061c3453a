"""What is said of one trial, of every kind of end."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.collect import load
from analysis.deciding.one_trial import about
from robustray.errors import UserError
from sweeps.record import Issued, Record
from tests.analysis import made as the


def test_every_trial_is_told_of(made: Path) -> None:
    df = load(made).set_index("trial")
    for number in df.index:
        said = dict(about(made, int(number)))
        assert df.loc[number, "status"] == said["training"].split(" after ")[0].split(":")[0].split(";")[0].replace(
            " ", "_"
        )
        assert (said["frontier"] == "a member") is bool(df.loc[number, "member"])
        assert ("judging" in said) is (df.loc[number, "status"] == "complete")
    skipped = df.index[df["judging"] == "skipped"][0]
    assert f"dominated by trial {df.loc[skipped, 'dominated_by']}" in dict(about(made, int(skipped)))["judging"]
    assert "because dominated at rung 5 by 3 trials" in dict(about(made, the.STOPPED[0]))["training"]
    with pytest.raises(UserError, match="no such trial"):
        about(made, 999)


def test_where_a_stopped_trial_stood_at_its_last_rung(tmp_path: Path) -> None:
    places = {0: (0.9, 0.5), 1: (0.8, 0.4), 2: (0.95, 0.1)}
    with Record(tmp_path / "raced", the.OBJECTIVES) as record:
        for number, (clean, robust) in places.items():
            record.issue(Issued({"beta": float(number)}))
            metrics = {"clean_accuracy": clean, "robust_accuracy": robust}
            record.rung(number, 0, epoch=8, metrics=metrics, seconds=1.0)
        record.finish(1, "stopped", metrics=metrics, cause="the budget was spent", epoch=8)
    said = dict(about(tmp_path / "raced", 1))
    assert said["at its rungs"] == (
        "epoch 8: 80.0\u202f% clean / 40.0\u202f% robust; of 3 trials there 1 was better in everything: 0"
    )


def test_the_command_is_lines_of_subject_and_sentence(made: Path) -> None:
    done = CliRunner().invoke(app, ["trial", str(made), "3"])
    assert done.exit_code == 0
    assert f"python -m robustray train {made}/trials/0003/trial.yaml" in done.stdout
