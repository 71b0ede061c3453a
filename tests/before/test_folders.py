"""Results folders of before the refactoring open: they are reported, go on, are extended, trained again and judged again.

`folders/half` was stopped inside its third trial, `folders/old` is what it became. `expected.json` says what it was read
as, and what the same command made of it, in the words of its report. Bits are those of one machine.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from robustray.training import Trainer
from robustray.trial import TrialConfig
from tests.before.compared import described, machine, missed

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
CLOCK = {"cost_seconds", "cost_device_hours"}
TRIALS = sorted((HERE / "folders").glob("*/trials/*/trial.yaml"))
SAME_PACKAGES = all(version(name) == there for name, there in EXPECTED["versions"].items())
SAME_BITS = SAME_PACKAGES and machine() == EXPECTED["machine"]
Rows = list[dict[str, str]]
Files = dict[str, tuple[str, int]]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The finished sweep, in tmp_path/old."""
    return copied("old", tmp_path)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """The sweep as it was stopped, in tmp_path/old: both have one name."""
    return copied("half", tmp_path)


def copied(name: str, results: Path) -> Path:
    """A folder to work in. Another version of scikit-learn has the same digits: the images get the name it gives them."""
    folder = results / "old"
    shutil.copytree(HERE / "folders" / name, folder)
    about, package = folder / "sweep.yaml", "scikit-learn"
    there = f"{package} {EXPECTED['versions'][package]} digits"
    about.write_text(about.read_text().replace(there, f"{package} {version(package)} digits"))
    return folder


def run(*words: str | Path) -> str:
    """A command in the root of the checkout, on one thread of a CPU; it succeeds."""
    alone = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | alone, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def go_on(folder: Path, *words: str) -> str:
    """The command that made the folder, given again."""
    return run("run_sweep.py", HERE / "old.yaml", "--results", folder.parent, "--backend", "local", *words)


def rows(folder: Path) -> Rows:
    """What the report says of every trial, but for the clock."""
    with (folder / "report" / "trials.csv").open(newline="") as lines:
        return [{key: value for key, value in row.items() if key not in CLOCK} for row in csv.DictReader(lines)]


def weights(folder: Path) -> dict[str, str]:
    """The hash of the weights of every trial that has some."""
    reports = {path.parent.name: checkpoint(path)["report"] for path in sorted(folder.glob("trials/*/last.pt"))}
    return {name: report["weights"] for name, report in reports.items()}


def checkpoint(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return found


def differ(found: Rows, before: Rows) -> list[dict[str, Any]]:
    """By trial, what the report said before and does not say now. Columns may be added."""
    assert len(found) == len(before)
    return [gone for now, then in zip(found, before, strict=True) if (gone := missed(_read(now), _read(then)))]


def _read(row: dict[str, str]) -> dict[str, Any]:
    return {key: _number(value) for key, value in row.items()}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def files(folder: Path, *patterns: str) -> Files:
    """What is in files and when they were written."""
    paths = sorted(path for pattern in patterns for path in folder.rglob(pattern))
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("path", TRIALS, ids=lambda path: f"{path.parents[2].name}-{path.parent.name}")
def test_trials_read_the_same(path: Path) -> None:
    assert missed(described(TrialConfig.from_yaml(path)), EXPECTED["trials"][path.parent.name]) == {}


def test_checkpoints_of_finished_trials_open(old: Path) -> None:
    """Not a step is trained, whatever the trial's file says in which place."""
    before = files(old, "last.pt")
    for name, sha in EXPECTED["finished"]["weights"].items():
        folder = old / "trials" / name
        trainer = Trainer(TrialConfig.from_yaml(folder / "trial.yaml"), folder, device="cpu", threads=1)
        assert trainer.done
        assert trainer.run()["weights"] == sha
        assert trainer.exact
    assert files(old, "last.pt") == before


def test_report(old: Path) -> None:
    run("-m", "analysis", "report", old, "--no-png")
    assert differ(rows(old), EXPECTED["finished"]["rows"]) == []
    assert (old / "report" / "index.html").stat().st_size > 100_000


def test_report_of_a_sweep_that_is_not_finished(half: Path) -> None:
    run("-m", "analysis", "report", half, "--no-png")
    found = rows(half)
    assert differ(found[:2], EXPECTED["half"]["rows"][:2]) == []
    assert len(found) == len(EXPECTED["half"]["rows"])


@pytest.mark.e2e
def test_finished_sweep_is_done(old: Path) -> None:
    """Nothing is trained, judged or asked for again."""
    before, journal = files(old, "*.pt", "*.parquet", "metrics.csv"), (old / "study.journal").read_text()
    said = go_on(old)
    assert "all done: 3 complete, 1 diverged" in said
    assert files(old, "*.pt", "*.parquet", "metrics.csv") == before
    now = (old / "study.journal").read_text()
    assert now.startswith(journal)
    added = [json.loads(line) for line in now[len(journal) :].splitlines()]
    assert not [line for line in added if "trial_id" in line or "datetime_start" in line or "judged" in str(line)]
    assert differ(rows(old), EXPECTED["finished"]["rows"]) == []


@pytest.mark.e2e
def test_goes_on_from_inside_an_epoch(half: Path) -> None:
    """As the code of then went on, bit for bit."""
    state = checkpoint(half / "trials" / "0002" / "last.pt")
    assert (state["completed"], state["batch_in_epoch"]) == (4, 6)
    done = files(half, "0001/last.pt")
    go_on(half)
    assert files(half, "0001/last.pt") == done
    found, before = rows(half), EXPECTED["finished"]["rows"]
    assert [row["status"] for row in found] == [row["status"] for row in before]
    if SAME_BITS:
        assert checkpoint(half / "trials" / "0002" / "last.pt")["exact"]
        assert weights(half) == EXPECTED["finished"]["weights"]
        assert differ(found, before) == []


@pytest.mark.e2e
def test_extended(old: Path) -> None:
    """One trial more, the one that the code of then would have tried; those before stay as they are."""
    before = files(old, "*.pt")
    go_on(old, "--trials", "5")
    assert before.items() <= files(old, "*.pt").items()
    found = rows(old)
    assert [row["trial"] for row in found] == ["0", "1", "2", "3", "4"]
    assert [row["status"] for row in found[:4]] == [row["status"] for row in EXPECTED["finished"]["rows"]]
    if SAME_BITS:
        assert weights(old) == EXPECTED["extended"]["weights"]
        assert differ(found, EXPECTED["extended"]["rows"]) == []


@pytest.mark.parametrize("name", sorted(EXPECTED["finished"]["weights"]))
def test_trial_trains_again(name: str, tmp_path: Path) -> None:
    path = HERE / "folders" / "old" / "trials" / name / "trial.yaml"
    found = Trainer(TrialConfig.from_yaml(path), tmp_path, device="cpu", threads=1).run()
    before = checkpoint(path.with_name("last.pt"))["report"]
    assert found["cost_passes"] == before["cost_passes"]
    assert found["epoch"] == before["epoch"]
    if SAME_BITS:
        assert found["weights"] == EXPECTED["finished"]["weights"][name]


def test_trial_is_judged_again(old: Path) -> None:
    """By a judgement of the same name, whose shards are there already."""
    before = files(old / "judgements", "*-0000.parquet")
    run(
        "-m", "robustray", "judge", old / "trials" / "0003", "--results", old / "judgements" / "0003", "--device", "cpu"
    )
    [path] = old.glob("judgements/0003/*/result.json")
    result, row = json.loads(path.read_text()), _read(EXPECTED["finished"]["rows"][3])
    assert result["weights"] == EXPECTED["finished"]["weights"]["0003"]
    if SAME_PACKAGES:
        assert files(old / "judgements", "*-0000.parquet") == before
        assert (result["clean_accuracy"], result["robust_accuracy"]) == pytest.approx(
            (row["judged_clean_accuracy"], row["judged_robust_accuracy"])
        )


def test_names_no_machine() -> None:
    """Fixtures hold no path or host of where they were made."""
    about = yaml.safe_load((HERE / "folders" / "old" / "sweep.yaml").read_text())
    assert about["host"] == "somewhere"
    assert about["command"].startswith("run_sweep.py old.yaml ")
