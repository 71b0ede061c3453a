"""What goes wrong at the front door: one clear message, exit code 2, no traceback, nothing written, nothing lost.

Mistakes inside a search space have a file of their own, tests/sweeps/test_space_errors.py.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

import run_sweep
from analysis.__main__ import main as analysis_main
from robustray.__main__ import main as robustray_main
from sweeps.record.lock import FolderLock
from tests.sweeps.small import SPACE

MAINS: dict[str, Callable[[], None]] = {
    "run_sweep": run_sweep.main,
    "robustray": robustray_main,
    "analysis": analysis_main,
}
ONE = """
judge: {data: digits, threat: {eps: 0.1}, images: {validation: 60}}
model: {name: small_cnn, width: %d}
defense: natural
schedule: {epochs: 1}
"""
Said = tuple[int | str | None, str, str]


class Door:
    """A folder with everything that can be wrong in it, and the commands run there, in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch

    def __call__(self, command: str) -> Said:
        """Exit code, standard output and standard error. `@` stands for the folder: sources remember what a path held."""
        words = shlex.split(command.replace("@", f"{self.folder}/"))
        self._monkeypatch.setattr(sys, "argv", words)
        self._capsys.readouterr()
        code: int | str | None = 0
        try:
            MAINS[words[0]]()
        except SystemExit as end:
            code = end.code or 0
        told = self._capsys.readouterr()
        return code, told.out, told.err

    def state(self) -> dict[str, str]:
        """Every file by its hash; locks, which stay, left out."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("door")
    pixels = np.random.default_rng(0).integers(0, 256, (90, 6, 6), dtype=np.uint8)
    labels = np.arange(90) % 4
    arrays: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {
        "train": (pixels, labels),
        "negative": (pixels, labels - 1),
        "beyond": (pixels, np.arange(90) % 9),
        "large": (np.zeros((90, 9, 9), np.uint8), labels),
        "floats": (pixels / 255, labels),
        "outside": (pixels / 127.5 - 1, labels),
        "halves": (pixels, labels + 0.5),
        "short": (pixels, labels[:80]),
        "few": (pixels[:9], labels[:9]),
        "empty": (pixels[:0], labels[:0]),
        "one_class": (pixels, 0 * labels),
        "five_sides": (np.zeros((90, 2, 2, 2, 2), np.uint8), labels),
        "objects": (np.array([object()] * 90), labels),
    }
    for name, (images, classes) in arrays.items():
        np.savez(folder / f"{name}.npz", images=images, labels=classes)
    np.savez(folder / "other_names.npz", x=pixels)
    (folder / "text.npz").write_text("hello")
    (folder / "cut.npz").write_bytes((folder / "train.npz").read_bytes()[:300])
    (folder / "good.yaml").write_text(SPACE)
    (folder / "one.yaml").write_text(ONE % 2)
    (folder / "two.yaml").write_text(ONE % 3)
    (folder / "trial.yaml").write_text("judge:\n  data: digits\n  threat: {epz: 0.1}\n")
    (folder / "text.pt").write_text("hello")
    torch.save({"weight": torch.zeros(3)}, folder / "weights.pt")
    torch.save([1, 2], folder / "list.pt")
    other = {"op_code": 0, "worker_id": "a", "study_name": "other", "directions": [1]}
    journals = {"another_study": json.dumps(other) + "\n", "nonsense": "not\na journal\n", "cut": '{"op_code": 0'}
    for name, text in journals.items():
        (folder / name).mkdir()
        (folder / name / "study.journal").write_text(text)
    (folder / "a_folder" / "study.journal").mkdir(parents=True)
    (folder / "taken" / "small").mkdir(parents=True)
    (folder / "taken" / "small" / "params.json").write_text("{}")
    (folder / "taken" / "small" / ".running").write_text("not ours, though its name is that of a file of ours")
    (folder / "a_file").mkdir()
    (folder / "a_file" / "small").write_text("mine")
    for name, text in {"no_yaml": "{", "a_list": "- 1"}.items():
        (folder / name / "small").mkdir(parents=True)
        (folder / name / "small" / "sweep.yaml").write_text(text)
    return folder


@pytest.fixture
def door(house: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.chdir(house)
    monkeypatch.setenv("XDG_CACHE_HOME", str(house))
    monkeypatch.delenv("ROBUSTRAY_DATA", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield Door(house, capsys, monkeypatch)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def swept(house: Path) -> Path:
    """A finished sweep of one trial."""
    from tests.sweeps.small import run_quietly, small_sweep

    sweep = small_sweep(house / "made", "judge.trials=none", "trial.schedule.epochs=1", "search.trials=1")
    assert run_quietly(sweep, house / "results" / "small")
    return house / "results" / "small"


RUN = "run_sweep good.yaml --backend local --set judge.trials=none --set trial.schedule.epochs=1 --trials 1"
READ = f"{RUN} --set 'judge.images={{validation: 20}}' --set trial.batch.size=20 --set 'judge.data={{name: npz, validation: 30,"
TEST = "robustray data npz --set validation=30 --set \"train='@train.npz'\" --set \"test='@"
JUDGE = "--data digits --eps 0.1"


def _train(name: str) -> str:
    return f'{READ} train: "@{name}.npz", test: "@train.npz"}}\''


MISTAKES = {
    # the command: what is said
    "run_sweep goood.yaml": r"goood.yaml: no such file; did you mean 'good.yaml'\?$",
    "run_sweep trade_beta": r"trade_beta: no such file, and no search space of that name; did you mean 'trades_beta'\?$",
    "run_sweep .": "is a folder, not a YAML file$",
    "run_sweep good.yaml --set trial.seed": "--set trial.seed: must look like trial.defense.beta=3$",
    "run_sweep good.yaml --set trial.seeed=1": r"unknown key; did you mean 'seed'\?$",
    "run_sweep good.yaml --set search.trials.x=1": "search.trials is 5, with no 'x' inside; replace it whole$",
    "run_sweep --explain trade": r"--explain trade: nothing has this name; did you mean 'trades'\?$",
    f"{RUN} --set trial.batch.size=5000": "batch.size is 5000, but there are only 900 training images$",
    # -- where results should be
    f"{RUN} --results good.yaml": "good.yaml: no folder for results can be here .*; see --results$",
    f"{RUN} --results taken": "taken/small: holds params.json and more, but no sweep; give the sweep another name, or --fresh",
    f"{RUN} --results a_file": "a_file/small: is a file, where the sweep's folder would be",
    f"{RUN} --results no_yaml": "sweep.yaml: not readable .*; put it back, or --fresh$",
    f"{RUN} --results a_list": "sweep.yaml: not a description of a sweep; put it back, or --fresh",
    # -- data
    f"{RUN} --set judge.data=cifar10": "cifar10: not found, looked in .* --download` fetches it",
    _train("nowhere"): r"nowhere.npz: no such file \(data: npz\)$",
    _train("cut"): "cut.npz: not a readable .npz file",
    _train("text"): r"text.npz: not a readable .npz file \(it does not begin like one\)$",
    _train("objects"): "objects.npz: not a readable .npz file",
    _train("other_names"): "other_names.npz: no array 'images'; known: x$",
    _train("floats"): r"from 0 to 1; save round\(255 \* images\) as uint8$",
    _train("outside"): "images must be uint8 .* not float64 .* from -1 to 1; save round",
    _train("five_sides"): "five_sides.npz: images must be uint8 ",
    _train("empty"): "empty.npz: .* at least one$",
    _train("negative"): "negative.npz: labels must be 0 or more",
    _train("halves"): "halves.npz: labels must be 90 whole numbers, not float64",
    _train("short"): r"labels must be 90 whole numbers, not int64 \(80,\)$",
    _train("few"): "validation is 30, but train has only 9 images$",
    f"{_train('one_class')} --set judge.trials=all": "apgd-ce compares 2 classes, but npz has 1$",
    f"{TEST}beyond.npz'\"": "beyond.npz: labels must be 0 to 3, but there is 8$",
    f"{TEST}large.npz'\"": "large.npz: images must be 6x6x1, not 9x9x1$",
    "robustray data digit": r"there is no data 'digit'; did you mean 'digits'\?$",
    "robustray data npz --set trian=x": r"data npz: trian: unknown key; did you mean 'train'\?$",
    # -- one model
    "robustray train trail.yaml": r"trail.yaml: no such file; did you mean 'trial.yaml'\?$",
    "robustray train trial.yaml": r"^error: trial.yaml:3: judge.threat.epz: unknown key; did you mean 'eps'\? \(and 1 more\)$",
    "robustray train good.yaml": "good.yaml:2: name: unknown key",
    "robustray train one.yaml --folder new --device cuda:99": "cuda:99",
    "robustray judge": "which model",
    "robustray judge nowhere": "nowhere: no such file or folder",
    "robustray judge .": "no checkpoint",
    f"robustray judge text.pt {JUDGE}": "text.pt: is text, not weights",
    f"robustray judge list.pt {JUDGE}": "list.pt: holds a list, not a mapping",
    f"robustray judge weights.pt {JUDGE}": "weights.pt: only weights; .* --architecture$",
    f"robustray judge weights.pt {JUDGE} --architecture small_cnn": "weights.pt: the weights do not fit small_cnn",
    f"robustray judge weights.pt {JUDGE} --architecture small_cn": "there is no model 'small_cn'; did you mean 'small_cnn'",
    f"robustray judge nowhere.at:all {JUDGE}": "No module named 'nowhere'$",
    "robustray judge --verify nowhere": "nowhere: no result of a judgement",
    # -- results
    "analysis report nowhere": "nowhere: no sweep here",
    "analysis report good.yaml": "good.yaml: no sweep here",
    "analysis report another_study": "holds no sweep; is it the journal of another Optuna study",
    "analysis report nonsense": "study.journal: not a readable record",
    "analysis report a_folder": "study.journal: not a readable record .Is a directory",
    "analysis compare nowhere": "nowhere: neither a sweep nor a judgement",
    "analysis compare nowhere neither": "neither a sweep nor a judgement",
}


@pytest.mark.parametrize(("command", "said"), MISTAKES.items())
def test_a_mistake_is_one_line_and_leaves_no_trace(command: str, said: str, door: Door) -> None:
    before = door.state()
    code, out, err = door(command)
    assert code == 2, out + err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert re.search(said, err.strip()), err
    assert door.state() == before


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("run_sweep good.yaml --trails 3", "--trials"),
        ("run_sweep good.yaml --trials 0", "--trials"),
        ("run_sweep good.yaml --trials many", "--trials"),
        ("run_sweep good.yaml --backend cloud", "'local'"),
        ("run_sweep good.yaml more.yaml", "more.yaml"),
        ("run_sweep", "SPACE"),
        ("robustray jugde", "'judge'"),
        ("analysis reprot", "'report'"),
    ],
)
def test_flags_and_commands_are_refused_by_name(command: str, said: str, door: Door) -> None:
    before = door.state()
    code, _, err = door(command)
    assert code == 2
    assert said.lower() in err.lower()
    assert "Traceback" not in err
    assert door.state() == before


@pytest.mark.parametrize("how", ["", " --dry-run"])
def test_results_of_another_space_are_told_apart(door: Door, swept: Path, how: str) -> None:
    before = door.state()
    code, _, err = door(f"{RUN} --set trial.schedule.lr=0.3 --set judge.threat.eps=0.2{how}")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "holds another sweep of this name (judge.threat.eps: 0.1 -> 0.2; trial.schedule.lr: {" in err
    assert "--fresh" in err
    assert door.state() == before


def test_measures_of_nobody_name_the_command_that_takes_one(door: Door, swept: Path) -> None:
    about = swept / "sweep.yaml"
    before = about.read_text(encoding="utf-8")
    code, _, err = door("analysis measures results/small")
    assert code == 2
    assert err.endswith(
        "measured yet; take a measure with: python run_sweep.py SPACE.yaml --set 'measures=[lipschitz]'\n"
    )
    known = yaml.safe_load(before)
    known["resumed"] = [
        {"command": "run_sweep.py 'my space.yaml' --fresh --trials 3"},
        {"command": "derive results/small soup"},  # goes on with it too, and takes no --set
        {"command": "run_sweep.py 'not closed"},
    ]
    about.write_text(yaml.safe_dump(known), encoding="utf-8")
    try:
        _, _, err = door("analysis measures results/small")
    finally:
        about.write_text(before, encoding="utf-8")
    assert err.endswith(": python run_sweep.py 'my space.yaml' --trials 3 --set 'measures=[lipschitz]'\n")


def test_two_drivers_on_one_folder(door: Door, swept: Path) -> None:
    before = door.state()
    with FolderLock(swept):
        code, _, err = door(RUN)
    assert code == 2
    assert "another driver (process " in err
    assert door.state() == before


def test_a_cluster_that_does_not_answer(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        code, _, err = door(f"{RUN} --backend ray --results on_ray")
    assert code == 2
    assert f"error: RAY_ADDRESS: nothing answers on {address}" in err
    assert len(err.splitlines()) == 1
    code, _, err = door(f"{RUN} --results on_ray")
    assert code == 0, "nothing is lost: the trial that was handed out goes on elsewhere"


def test_a_trial_of_other_options_keeps_its_checkpoint(door: Door) -> None:
    code, _, err = door("robustray train one.yaml --folder one --threads 1")
    assert code == 0, err
    before = door.state()
    code, _, err = door("robustray train two.yaml --folder one")
    assert code == 2
    assert "one: holds the checkpoint of a trial with other options" in err
    assert door.state() == before
