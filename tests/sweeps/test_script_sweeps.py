"""Sweeps whose trials are a function of the user's: frontier, failures, resume, judging, and Ray's workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import report
from robustray.errors import UserError
from sweeps import record
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
