"""The command lines as a user meets them: exit codes, one-line errors, help without torch."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from robustray.commands.exits import EXIT_CODES
from sweeps import record
from sweeps.space import Sweep
from tests.sweeps.small import SPACE

ROOT = Path(__file__).parents[1]
SPACES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
LOADED = """
import runpy, sys
sys.modules |= dict.fromkeys({missing!r})
sys.path.insert(0, {root!r})
sys.argv = {arguments!r}
try:
    runpy.run_path({script!r}, run_name="__main__")
except SystemExit as end:
    code = end.code
print("\\nleft", code, sorted(name for name in ("torch", "ray", "optuna") if name in sys.modules))
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run_sweep.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def one_model(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robustray", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def _within_python(*arguments: str, cwd: Path, missing: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The command, with a line of what it left at its end; as if some packages were not installed."""
    script = str(ROOT / "run_sweep.py")
    code = LOADED.format(root=str(ROOT), arguments=["run_sweep.py", *arguments], script=script, missing=missing)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


def _modules_after(*arguments: str, cwd: Path) -> str:
    return _within_python(*arguments, cwd=cwd).stdout.splitlines()[-1]


def test_help_and_errors_load_neither_torch_nor_ray_nor_optuna(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(SPACE.replace("width: 2", "width: -2"))
    assert _modules_after("--help", cwd=tmp_path) == "left 0 []"
    assert _modules_after("--version", cwd=tmp_path) == "left 0 []"
    assert _modules_after("bad.yaml", cwd=tmp_path) == "left 2 []"


@pytest.mark.parametrize("package", ["robustray", "sweeps"])
def test_exit_codes_are_in_the_help(package: str) -> None:
    app = importlib.import_module(f"{package}.__main__").app
    assert EXIT_CODES in " ".join(CliRunner().invoke(app, ["--help"]).output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.yaml"], r"^error: nowhere.yaml: no such file"),
        (["bad.yaml"], r"^error: bad.yaml:11: trial.model.width: must be at least 1, not -2$"),
        (["good.yaml", "--set", "trial.defens.beta=1"], r"^error: --set trial.defens.beta=1: .*did you mean 'defense'"),
        (["good.yaml", "--set", "nothing"], r"^error: --set nothing"),
        (["good.yaml", "--set", "trial.batch.size=5000"], r"^error: .*batch.size is 5000, but there are only 900"),
        (["good.yaml", "--for", "soon"], r"^error: --for 'soon': no length of time; write 6h, 30m"),
        (["good.yaml", "--for", "0s"], r"^error: --for '0s': must be between a second and a year$"),
        (["good.yaml", "-q", "-v"], r"^error: --quiet and --verbose: choose one$"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_and_nothing_is_lost(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "good.yaml").write_text(SPACE)
    (tmp_path / "bad.yaml").write_text(SPACE.replace("width: 2", "width: -2"))
    done = run(*arguments, "--backend", "local", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(said, done.stderr.strip()), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()


@pytest.mark.e2e
def test_a_package_that_is_missing_costs_what_needs_it_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(SPACE)
    arguments = ["good.yaml", "--trials", "1"]
    without_ray = _within_python(*arguments, cwd=tmp_path, missing=("ray",))
    assert without_ray.stderr.splitlines() == [
        "error: Ray is not installed; --backend local runs without it, one trial after another"
    ]
    assert without_ray.stdout.splitlines()[-1].startswith("left 2 ")
    arguments += ["--backend", "local"]
    without_plotly = _within_python(*arguments, cwd=tmp_path, missing=("ray", "plotly"))
    assert without_plotly.stderr.splitlines() == [
        "error: the package plotly is not installed; with it the same command goes on"
    ]
    assert "all done: 1 complete" in without_plotly.stdout
    assert "1 of 1" not in run(*arguments, cwd=tmp_path).stdout
    assert (tmp_path / "results" / "small" / "report" / "index.html").exists()


def test_a_part_is_explained(tmp_path: Path) -> None:
    done = run("--explain", "trades", cwd=tmp_path)
    assert done.returncode == 0
    assert "arXiv:1901.08573" in done.stdout
    assert "beta" in done.stdout
    wrong = run("--explain", "trade", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean 'trades'?" in wrong.stderr


@pytest.mark.parametrize("flag", ["--trails", "--backend=cloud", "--trials=0"])
def test_a_wrong_flag_is_exit_code_2_without_a_traceback(tmp_path: Path, flag: str) -> None:
    (tmp_path / "good.yaml").write_text(SPACE)
    done = run("good.yaml", flag, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_sweep_in_which_nothing_completed_says_so_and_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    done = run(
        "small.yaml", "--backend", "local", "-q", "--trials", "2", "--set", "trial.schedule.lr=1e30", cwd=tmp_path
    )
    assert "all done: 2 diverged" in done.stdout
    assert "no trial completed; " in done.stdout
    assert done.returncode == 4, done.stderr


@pytest.mark.e2e
def test_a_sweep_whose_judgements_failed_is_no_success_until_they_are_done(tmp_path: Path) -> None:
    """Something else lies where verdicts of the second trial would."""
    (tmp_path / "small.yaml").write_text(SPACE)
    again = ("small.yaml", "--backend", "local", "-q", "--trials")
    assert run(*again, "1", cwd=tmp_path).returncode == 0
    in_the_way = tmp_path / "results" / "small" / "judgements" / "0001"
    in_the_way.write_text("")
    failed = run(*again, "2", cwd=tmp_path)
    assert failed.returncode == 4, failed.stdout + failed.stderr
    assert re.search("^all done: 2 complete, 1 judgement failed: clean: .", failed.stdout, re.MULTILINE)
    in_the_way.unlink()
    done = run(*again, "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "all done: 2 complete"


@pytest.mark.e2e
def test_the_life_of_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run, run again, extend, change, begin anew."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich would take any stream for a terminal
    (tmp_path / "small.yaml").write_text(SPACE)
    common = ("small.yaml", "--backend", "local")
    folder = tmp_path / "results" / "small"
    first = run(*common, "--trials", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert re.search(r"^\d\d:\d\d:\d\d  trial 0001 complete: clean .*  2 of 2$", first.stdout, re.MULTILINE)
    assert "\x1b" not in first.stdout
    assert not (folder / "output.log").exists(), "a debugger can be used in this process"
    assert "all done: 2 complete" in first.stdout
    page = folder / "report" / "index.html"
    assert first.stdout.splitlines()[-1] == f"report: {page.relative_to(tmp_path)}"
    for name in ("frontier.csv", "trials.csv"):
        assert (folder / "report" / name).exists()

    page.unlink()
    journal = (folder / record.JOURNAL).read_bytes()
    again = run(*common, "--trials", "2", "--quiet", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.splitlines() == ["all done: 2 complete", f"report: {page.relative_to(tmp_path)}"]
    assert page.exists(), "on a finished sweep it rewrites the report"
    assert (folder / record.JOURNAL).read_bytes() == journal

    more = run(*common, "--trials", "3", cwd=tmp_path)
    assert more.returncode == 0
    assert "2 done before" in more.stdout
    assert [trial.number for trial in record.read(folder).trials] == [0, 1, 2]
    about = yaml.safe_load((folder / "sweep.yaml").read_text())
    assert about["space"]["search"]["trials"] == 3
    assert len(about["resumed"]) == 1, "rewriting the report is no resume"
    assert "--trials 3" in about["resumed"][0]["command"]
    assert (folder / "events.log").read_text().count("all done: ") == 3
    assert about["versions"]["torch"]

    changed = run(*common, "--set", "trial.schedule.epochs=2", cwd=tmp_path)
    assert changed.returncode == 2
    assert "schedule.epochs: 3 -> 2" in changed.stderr
    assert "--fresh" in changed.stderr

    anew = run(*common, "--trials", "1", "--fresh", cwd=tmp_path)
    assert anew.returncode == 0
    assert len(record.read(folder).trials) == 1
    old = [path for path in (tmp_path / "results").iterdir() if path.is_dir() and path != folder]
    assert len(old) == 1
    assert len(record.read(old[0]).trials) == 3, "nothing is ever deleted"


@pytest.mark.e2e
def test_a_sweep_whose_time_is_over_says_so_by_its_exit_code_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    long = ("small.yaml", "--backend", "local", "--trials", "1", "--set", "trial.schedule.epochs=100000")
    stopped = run(*long, "--for", "8s", cwd=tmp_path)
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert stopped.stdout.splitlines()[-1] == (
        "The time of --for 8s is over: every step and every whole shard is kept; go on with: "
        f"python {ROOT / 'run_sweep.py'} {' '.join(long)} --for 8s"
    )
    assert not stopped.stderr
    if (journal := tmp_path / "results" / "small" / record.JOURNAL).exists():  # else it took that long to begin
        assert [trial.outcome for trial in record.read(journal.parent).trials] in ([], [None])
    said = run("--help", cwd=tmp_path).stdout
    for words in ("--for", "--quiet", "-q", "--verbose", "-v"):
        assert words in said
    assert re.search(r"3\s+the\s+time\s+of\s+--for\s+is\s+over", said)


@pytest.mark.e2e
def test_one_model_is_trained_and_judged_without_a_sweep(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 6, 6), dtype=np.uint8)
    labels = np.arange(90) % 4
    pixels[np.arange(90), labels] = 255  # a bright row tells the class
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels)
    (tmp_path / "one.yaml").write_text(
        "judge:\n"
        "  data: {name: npz, train: train.npz, test: test.npz, validation: 30}\n"
        "  threat: {eps: 0.05}\n"
        "  version: apgd\n"
        "batch: {size: 20}\n"
        "model: {name: small_cnn, width: 4}\n"
        "defense: {name: adversarial, keep_clean: true}\n"
        "schedule: {name: cosine, epochs: 4, lr: 0.1}\n"
    )
    trained = one_model("train", "one.yaml", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "epoch 4/4" in trained.stdout
    assert "done: clean" in trained.stdout
    again = one_model("train", "one.yaml", cwd=tmp_path)
    assert again.returncode == 0
    assert "epoch" not in again.stdout.replace("going on at epoch 4", "")
    judged = one_model("judge", "results/one", cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    assert judged.stdout.startswith(
        "using apgd version including apgd-ce, apgd-t: linf, eps 0.05, 30 images of npz validation"
    )
    assert "robust accuracy (apgd): " in judged.stdout
    assert "AutoAttack" not in judged.stdout
    on_test = one_model("judge", "results/one", "--split", "test", cwd=tmp_path)
    assert "90 images of npz test" in on_test.stdout
    (tmp_path / "sweep" / "trials").mkdir(parents=True)
    (tmp_path / "sweep" / record.JOURNAL).touch()
    shutil.copytree(tmp_path / "results" / "one", tmp_path / "sweep" / "trials" / "0000")
    inside = one_model("judge", "sweep/trials/0000", "--split", "test", cwd=tmp_path)
    assert inside.returncode == 2
    assert "belongs to a sweep, which reads test itself" in inside.stderr
    (tmp_path / "one.yaml").write_text((tmp_path / "one.yaml").read_text().replace("lr: 0.1", "lr: 0.2"))
    other = one_model("train", "one.yaml", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds the checkpoint of a trial with other options" in other.stderr


@pytest.mark.parametrize("arguments", [("train", "nowhere.yaml"), ("judge", "nowhere"), ("judge", ".")])
def test_one_model_mistakes_are_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = one_model(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_is_valid_and_says_what_to_expect(path: Path) -> None:
    sweep = Sweep.from_yaml(path)
    assert sweep.name == path.stem
    assert path.read_text().startswith("#")


def test_the_spaces_in_the_readme_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block)
        Sweep.from_yaml(tmp_path / f"{number}.yaml")
