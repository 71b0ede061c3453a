"""Sweeps whose trials are a function of the user's: frontier, failures, resume, judging, and Ray's workers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis import report
from analysis.deciding.one_trial import about
from robustray.errors import UserError
from sweeps import record
from sweeps.__main__ import app
from sweeps.space import Sweep
from tests.plugged import fresh, restart
from tests.robustray.test_script import SCRIPT, calls
from tests.sweeps.small import run_quietly

__all__ = ["fresh"]
pytestmark = pytest.mark.usefixtures("fresh")
SPACE = """
name: scripted
judge:
  data: {name: digits, validation: 60}
  threat: {eps: 0.1}
  cheap: {steps: 1}
  version: [apgd-ce]
  images: {validation: 10, test: 10}
trial:
  script:
    train: my_script.py:train
    model: my_script.py:net
    config: {epochs: 2, by: 0.5, mode: {choice: [fine, state, raises, not finite]}}
search: {sampler: grid}
resources: {cpus: 1}
"""


def space(folder: Path, *overrides: str, script: str = SCRIPT) -> Sweep:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_script.py").write_text(script)
    (folder / "scripted.yaml").write_text(SPACE)
    return Sweep.from_yaml(folder / "scripted.yaml", overrides=overrides)


def test_a_sweep_of_a_training_script(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    assert run_quietly(space(tmp_path / "home", "search.trials=2"), folder)
    restart()  # with more trials, in another process
    assert run_quietly(space(tmp_path / "home"), folder)
    known = record.read(folder)
    assert [trial.outcome for trial in known.trials] == ["complete", "complete", "failed", "diverged"]
    assert known.trials[0].weights == known.trials[1].weights
    assert known.trials[0].metrics["clean_accuracy"] < 0.5  # the script says 1.0 of itself
    cause = known.trials[2].cause
    assert cause is not None
    assert cause.startswith("my_script.py:")
    assert "ValueError" in cause
    assert "Traceback" in (folder / "trials" / "0002" / "log.txt").read_text()
    assert known.members
    assert (0, "validation") in known.judged
    assert [len(calls(folder / "trials" / f"{number:04d}")) for number in range(4)] == [1] * 4
    assert "scripted" in report.publish(folder, picture=False).index.read_text()
    restart()
    with pytest.raises(UserError, match=r"holds another sweep of this name \(plugins\.my_script\.py: "):
        run_quietly(space(tmp_path / "home", script=SCRIPT + "\n# better\n"), folder)


def test_passes_of_a_script_are_not_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"constraints\.cost_passes: is not counted in a training script"):
        space(tmp_path, "constraints={cost_passes: {max: 3}}")


def test_what_a_script_ignores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trial\.defense.* my_script\.py:train trains by itself and would ignore it"):
        space(tmp_path, "trial.defense=trades")


@pytest.mark.cluster
def test_workers_of_ray_have_the_script(tmp_path: Path) -> None:
    folder = tmp_path / "scripted"
    assert run_quietly(space(tmp_path / "home", "search.trials=2", "judge.trials=none"), folder, "ray")
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete"] * 2


def test_a_trial_that_failed_says_how_its_log_ended_and_is_trained_again_when_it_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "hf-3c9be71a04"
    monkeypatch.setenv("HF_TOKEN", secret)
    (tmp_path / "mended.py").write_text(
        f"""
import os
from pathlib import Path

def net(config):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def train(config, report, checkpoint):
    report(epoch=1, loss=1.0)
    if not Path({str(tmp_path / "mended")!r}).exists():
        raise RuntimeError("no answer from https://host/?key=" + os.environ["HF_TOKEN"] + "\\n<b>line two</b>")
    return net(config)
"""
    )
    text = re.sub(r"config: .*", "config: {lr: {choice: [1, 2]}}}", SPACE.replace("my_script.py", "mended.py"))
    text = text.replace("}}}", "}}", 1)
    (tmp_path / "mended.yaml").write_text(text)
    folder = tmp_path / "results" / "scripted"
    assert run_quietly(Sweep.from_yaml(tmp_path / "mended.yaml"), folder)
    trials = record.read(folder).trials
    assert [trial.outcome for trial in trials] == ["failed", "failed"]
    last = trials[1].last
    assert 3 < len(last) <= 20
    assert last[-1].endswith("RuntimeError: no answer from https://host/?key=[HF_TOKEN]")
    assert "<b>line two</b>" in [line.strip() for line in last]
    assert not [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    entries = [line for line in (folder / "trials" / "0001" / "log.txt").read_text().splitlines() if line[:2] != "  "]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ trial=0001 .*", line) for line in entries)
    said = CliRunner().invoke(app, ["status", str(folder)]).output
    assert "how the log of trial 0001 ends" in said
    assert "<b>line two</b>" in said
    assert ("its last lines", last[-1]) in about(folder, 1)
    page = report.publish(folder, picture=False).index.read_text()
    assert "&lt;b&gt;line two&lt;/b&gt;" in page
    (tmp_path / "mended").touch()
    restart()
    assert CliRunner().invoke(app, ["retry", str(folder), "--failed"]).exit_code == 0
    assert run_quietly(Sweep.from_yaml(tmp_path / "mended.yaml"), folder)
    again = record.read(folder)
    assert [(trial.number, trial.params) for trial in again.trials] == [
        (trial.number, trial.params) for trial in trials
    ]
    assert [(trial.outcome, trial.last) for trial in again.trials] == [("complete", ())] * 2
    assert again.members
