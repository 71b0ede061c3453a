"""Sweeps over what a plugin brings: run, resumed, extended, refused after a change, judged from a trial's folder, derived."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import run_sweep
from analysis import report
from robustray import plugins
from robustray.__main__ import main
from robustray.errors import UserError
from sweeps import record
from sweeps.record import provenance
from sweeps.running import evidence
from sweeps.space import Sweep, reference, schema
from tests.plugged import fresh, page, restart
from tests.sweeps.small import run_quietly

__all__ = ["fresh"]
pytestmark = pytest.mark.usefixtures("fresh")
SPACE = """
plugins: [my_parts.py]
name: plugged
judge:
  data: {name: twice, validation: 60}
  threat: {eps: 0.1}
  cheap: {name: pgd, steps: 1}
  version: [apgd-ce]
  images: {validation: 10, test: 10}
trial:
  batch: {size: 600}
  model: {name: small_cnn, width: 2}
  attack: {steps: 1}
  defense: {name: mixture, weight: {uniform: [0, 1]}}
  schedule: {epochs: 1}
search: {sampler: random, trials: 2}
resources: {cpus: 1}
"""
PARTS = (
    page("my_defense.py")
    + '''

from robustray.data.digits import Digits


@register
class Twice(Digits):
    """The digits under another name."""

    name: Literal["twice"] = "twice"
'''
)


def space(folder: Path, *overrides: str, parts: str = PARTS) -> Sweep:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_parts.py").write_text(parts)
    (folder / "plugged.yaml").write_text(SPACE)
    return Sweep.from_yaml(folder / "plugged.yaml", overrides=overrides)


def code(command: Callable[[], None]) -> object:
    """Its exit code."""
    try:
        command()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_a_sweep_with_a_plugin_from_its_beginning_to_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "plugged"
    assert run_quietly(space(tmp_path / "home"), folder)
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete"] * 2
    told = yaml.safe_load((folder / "sweep.yaml").read_text())["space"]["plugins"]
    assert list(told) == ["my_parts.py"]
    for home in (folder, folder / "trials" / "0000", folder / "trials" / "0001"):
        (copy,) = home.glob("plugins/*/my_parts.py")
        assert copy.read_text() == PARTS
    assert yaml.safe_load((folder / "trials" / "0001" / "trial.yaml").read_text())["plugins"] == told
    assert "mixture" in (report.publish(folder, picture=False).index).read_text()

    restart()  # another day: more trials, and points of them
    assert run_quietly(space(tmp_path / "home", "search.trials=3", "derive=[{name: soup, parents: [0, 1]}]"), folder)
    known = record.read(folder).trials
    assert [trial.outcome for trial in known] == ["complete"] * len(known)
    assert {trial.origin for trial in known} >= {"derived"}

    restart()  # without the file: the folder has all that it needs
    (tmp_path / "home" / "my_parts.py").unlink()
    assert provenance.sweep_in(folder).judge.data.name == "twice"
    for number in ("0001", "0003"):
        restart()
        command = ["robustray", "judge", str(folder / "trials" / number), "--images=5", "--device=cpu", "--threads=1"]
        monkeypatch.setattr(sys, "argv", command)
        assert code(main) == 0
        assert "robust accuracy (apgd-ce)" in capsys.readouterr().out

    restart()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "somebody else"))
    assert code(main) == 2
    assert "--trust-plugins" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--trust-plugins"])
    assert code(main) == 0


def test_a_plugin_that_has_changed_is_refused_with_the_difference(tmp_path: Path) -> None:
    folder = tmp_path / "plugged"
    run_quietly(space(tmp_path / "home", "search.trials=1", "judge.trials=none"), folder)
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("[!.]*"))
    restart()
    changed = space(tmp_path / "home", "search.trials=1", "judge.trials=none", parts=PARTS + "\n# better\n")
    with pytest.raises(
        UserError, match=r'holds another sweep of this name \(plugins\.my_parts\.py: "\w{64}" -> "\w{64}"\)'
    ):
        run_quietly(changed, folder)
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("[!.]*")) == before


def test_a_space_without_plugins_has_the_hash_that_it_had(tmp_path: Path) -> None:
    sweep = space(tmp_path)
    assert "plugins" in sweep.resolved()
    plain = Sweep.model_validate({**sweep.resolved(), "plugins": {}})
    assert "plugins" not in plain.resolved()
    assert plain.space_hash != sweep.space_hash
    assert sweep.difference(plain.resolved()) == [
        f'plugins: (absent) -> {{"my_parts.py": "{sweep.plugins["my_parts.py"]}"}}'
    ]
    assert Sweep.model_validate(sweep.resolved()).space_hash == sweep.space_hash


def test_plugins_stand_beside_the_trial(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"trial\.plugins: stands beside trial, not inside: all trials of a sweep share them"
    ):
        space(tmp_path, "trial.plugins=[my_parts.py]")


def test_a_broken_plugin_is_one_line_at_the_front_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_parts.py").write_text("import no_such_package\n")
    (tmp_path / "plugged.yaml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run_sweep.py", "plugged.yaml", "--backend", "local"])
    assert code(run_sweep.main) == 2
    assert capsys.readouterr().err == (
        f"error: plugged.yaml:2: plugins.0: {tmp_path / 'my_parts.py'}:1: ModuleNotFoundError: No module named "
        "'no_such_package'\n"
    )
    assert not (tmp_path / "results").exists()


def test_what_a_space_brings_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space(tmp_path)
    restart()
    monkeypatch.setattr(sys, "argv", ["run_sweep.py", str(tmp_path / "plugged.yaml"), "--explain", "mixture"])
    assert code(run_sweep.main) == 0
    assert "weight = 0.5  how much of the loss is that at x'" in capsys.readouterr().out


def test_another_machine_finds_the_plugin_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has neither the file nor a user who has named it: the driver's word counts, and the copy."""
    sweep, folder = space(tmp_path / "home"), tmp_path / "plugged"
    provenance.prepare(sweep, folder, fresh=False)
    asked = json.loads(json.dumps(evidence.of(sweep, folder)))
    (tmp_path / "home" / "my_parts.py").unlink()
    restart()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    assert evidence.look(asked) == evidence.Seen(None)
    restart()
    (copy,) = folder.glob("plugins/*/my_parts.py")
    copy.unlink()
    assert "it is the plugin my_parts.py" in str(evidence.look(asked).lacks)
    restart()
    shutil.rmtree(folder)
    lacks, hidden = evidence.look(asked)
    assert lacks is None, "where it does not see the results, the plugin came with the question"
    assert f"does not see the results in {folder}" in str(hidden)


def test_a_schema_and_a_page_of_a_plugin(tmp_path: Path) -> None:
    space(tmp_path)
    restart()
    assert "that at x'" not in schema.text()
    (page_of,) = ["\n".join(reference.of_plugins([str(tmp_path / "my_parts.py")]))]
    assert "| `weight` | a number, at least 0 and at most 1 | `0.5` | how much of the loss is that at x' |" in page_of
    assert "that at x'" in schema.text()


@pytest.mark.cluster
def test_workers_of_ray_have_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where no home keeps what is trusted: the driver's word counts."""
    (tmp_path / "no folder").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "no folder"))
    folder = tmp_path / "plugged"
    assert run_quietly(space(tmp_path / "home", "judge.trials=all"), folder, "ray")
    known = record.read(folder)
    assert [trial.outcome for trial in known.trials] == ["complete"] * 2
    assert len(known.judged) >= 2
    assert plugins.loaded(space(tmp_path / "home").plugins.values())
