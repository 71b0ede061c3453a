"""`python -m robustray measure`: a mistake is one line with what is wrong and exit code 2, and loses nothing."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.plugged import fresh
from tests.robustray.judged import Command, written

__all__ = ["fresh"]
ON_DIGITS = ("--data", "digits", "--eps", "0.05", "--images", "20")
BAD = """
import torch
from torch import nn

class Few(nn.Module):
    def forward(self, x): return torch.as_tensor(x).flatten(1)[:, :4]

class Broken(nn.Module):
    def forward(self, x): return torch.as_tensor(x).flatten(1)[:, :10] * float("nan")

class Deaf(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 10)

    def forward(self, x): return self.inner(x.flatten(1)).detach()

class Rare(Deaf):
    def forward(self, x):
        said = self.inner(x.flatten(1))
        return torch.where(x.flatten(1).mean(1, keepdim=True) > 0.4, said * float("nan"), said)
"""

PLUGIN = """
from typing import Literal

from robustray.measures.base import PerImage, Result
from robustray.registry import register

@register
class Half(PerImage):
    name: Literal["half"] = "half"
    unit = "fraction"

    def each(self, x, y, rows, ground): return {"half": 0 * y + 0.5}

    def summary(self, columns, ground): return Result(float(columns["half"].mean()), None, None, "")

    def passes(self, ground): return 0.0
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net.py:make", "--measures", "lipshitz", *ON_DIGITS], r"there is no measure 'lipshitz'; did you mean 'lipschitz'"),
        (["net.py:make", "--measures", "", *ON_DIGITS], r"--measures: which\? For example lipschitz"),
        (["net.py:make", "--measures", "{name: lipschitz, stepps: 2}", *ON_DIGITS], r"stepps: .*did you mean 'steps'"),
        (["net.py:make", "--measures", "{name: lipschitz, steps: -1}", *ON_DIGITS], r"lipschitz: steps: must be at least 0"),
        (["net.py:make", "--measures", "{name: lipschitz", *ON_DIGITS], r"--measures .*: must list names"),
        (["net.py:make", "--measures", "lipschitz", "--split", "tests", *ON_DIGITS], r"no split 'tests'; did you mean 'test'"),
        (["net.py:make", "--measures", "lipschitz", "--split", "train,test,validation", *ON_DIGITS], r"or two of them"),
        (["net.py:make", "--measures", "lipschitz", "--split", "test,test", *ON_DIGITS], r"or two of them"),
        (["net.py:make", "--measures", "lipschitz", "--data", "digits"], r"--eps is missing: .*--eps 8/255"),
        (["net.py:make", "--measures", "lipschitz", "--eps", "0.05"], r"--data is missing: .*--data cifar10"),
        (["net.py:make", "--measures", "lipschitz", "--data", "digits", "--eps", "8"], r"--eps: must be at most 1, not 8"),
        (["net.py:make", "--measures", "lipschitz", *ON_DIGITS, "--images", "498"], r"498: digits has 497 test images"),
        (["net.py:make", "--measures", "lipschitz", *ON_DIGITS, "--device", "cuda:77"], r"--device: .*cuda:77"),
        (["nowhere/0003", "--measures", "lipschitz", *ON_DIGITS], r"nowhere/0003"),
        (["bad.py:Few", "--measures", "clean_accuracy", *ON_DIGITS], r"4 classes|4 logits|\b4\b"),
        (["bad.py:Broken", "--measures", "clean_accuracy", *ON_DIGITS], r"not finite|NaN"),
        (["net.py:make", "--measures", "lipschitz", *ON_DIGITS, "--eps", "0"], r"lipschitz: eps is 0"),
        (["net.py:make", "--measures", "clean_accuracy, best_known", *ON_DIGITS], r"no finished AutoAttack"),
        (["SWEEP", "--measures", "lipschitz", "--split", "test"], r"belongs to a sweep.*--split validation"),
        (["SWEEP", "--measures", "lipschitz", "--split", "validation,test"], r"belongs to a sweep.*--split validation"),
        (["SWEEP", "--measures", "lipschitz", "--images", "100000"], r"--images 100000: digits has \d+ validation images"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, command: Command, trained: Path, tmp_path: Path
) -> None:
    """And nothing is written."""
    written(tmp_path)
    (tmp_path / "bad.py").write_text(BAD)
    home = tmp_path / "sweep" / "trials" / "0003"
    if "SWEEP" in arguments:
        shutil.copytree(trained, home)
        (tmp_path / "sweep" / "study.journal").touch()
    full = [str(home) if word == "SWEEP" else word for word in arguments]
    refused = command("measure", *full, *([] if "--device" in full else ["--device", "cpu"]))
    assert refused.code == 2, refused.out + refused.error
    assert refused.error.startswith("error: "), refused.error
    assert len(refused.error.strip().splitlines()) == 1, refused.error
    assert re.search(said, refused.error.strip()), refused.error
    assert not (tmp_path / "results").exists()
    assert not (home / "measures").exists()


def test_a_folder_that_cannot_be_written_is_one_line(command: Command, tmp_path: Path) -> None:
    written(tmp_path)
    asked = ("net.py:make", "--measures", "clean_accuracy", *ON_DIGITS, "--device", "cpu")
    refused = command("measure", *asked, "--results", "net.py/results")
    assert refused.code == 2
    assert refused.error.startswith("error: ")
    assert re.search(r"net\.py/results.*: Not a directory$", refused.error.strip())
    assert len(refused.error.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["piece-00001", "images.csv", "result.json", "measure.json"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    name: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    whole = Path.open
    full = True

    def open_(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if full and name in path.name and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", open_)
    asked = ("net.py:make", "--measures", "clean_accuracy", "--data", "digits", "--eps", "0.05", "--images", "110")
    refused = command("measure", *asked, "--device", "cpu")
    assert refused.code == 2
    assert re.search("no space left on the disk; free some and run the same command again", refused.error)
    assert len(refused.error.strip().splitlines()) == 1
    kept = {path.name for path in tmp_path.rglob("*.npz")}
    assert kept == {"piece-00001": {"piece-00000.npz"}, "measure.json": set()}.get(
        name, {"piece-00000.npz", "piece-00001.npz"}
    )
    full = False
    ended = command("measure", *asked, "--device", "cpu")
    assert ended.code == 0
    assert len(list(tmp_path.rglob("result.json"))) == 1
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]  # no rubbish


@pytest.mark.parametrize("flag", ["--threat=l3", "--images=0", "--measure=lipschitz", "--batch=3"])
def test_a_flag_that_cannot_be_is_exit_code_2_without_a_traceback(flag: str, command: Command) -> None:
    refused = command("measure", "x.py:y", "--measures", "lipschitz", flag)
    assert refused.code == 2
    assert "Traceback" not in refused.error


@pytest.mark.parametrize("name", ["lipschitz", "input_gradients", "robust_accuracy", "flatness", "hessian"])
def test_a_model_without_gradients_is_one_line(name: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD)
    refused = command("measure", "bad.py:Deaf", "--measures", f"clean_accuracy, {name}", *ON_DIGITS, "--device", "cpu")
    assert refused.code == 2
    assert f"{name} follows gradients, and this model's answers have none" in refused.error
    assert len(refused.error.strip().splitlines()) == 1
    assert len(list(tmp_path.rglob("test-clean_accuracy-*/result.json"))) == 1  # what was done stays


@pytest.mark.parametrize(
    "asked", ["hessian", "{name: landscape, direction: hessian, steps: 3}", "robust_accuracy", "calibration"]
)
def test_a_model_that_is_rarely_not_finite_is_one_line(asked: str, command: Command, tmp_path: Path) -> None:
    """NaN of bright images only: a first look at eight passes."""
    (tmp_path / "bad.py").write_text(BAD)
    data = ("--data", "digits", "--eps", "0.05")
    refused = command("measure", "bad.py:Rare", "--measures", asked, *data, "--device", "cpu")
    assert refused.code == 2
    assert re.match(r"error: bad.py:Rare: .*not finite", refused.error)
    assert len(refused.error.strip().splitlines()) == 1


@pytest.mark.usefixtures("fresh")
def test_a_plugin_brings_measures_and_architectures(command: Command, tmp_path: Path) -> None:
    """Named on the command line; the other commands that load a model have the flag too."""
    written(tmp_path)
    (tmp_path / "half.py").write_text(PLUGIN)
    asked = ("measure", "net.py:make", "--measures", "half", *ON_DIGITS, "--device", "cpu")
    assert re.search("there is no measure 'half'", command(*asked).error)
    done = command(*asked, "--plugin", "half.py")
    assert done.code == 0, done.error
    assert done.out.startswith("half  50.0%")
