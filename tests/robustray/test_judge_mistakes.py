"""What a user of `judge` can do wrong: one line with the remedy, exit code 2, nothing written."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.robustray.judged import ON_TEST, Command, written

BAD = """
import torch
from torch import nn
flat = nn.Flatten()
def raises(): raise ValueError("no weights at home\\nreally")
def none(): return None
def number(): return 7
def wide(): return nn.Sequential(flat, nn.Linear(100, 10))
def one(): return nn.Sequential(flat, nn.Linear(64, 1), nn.Flatten(0))
class Two(nn.Module):
    def forward(self, x): return flat(x), x
class Nan(nn.Module):
    def forward(self, x): return torch.nan * flat(x)
class Infinite(nn.Module):
    def forward(self, x): return flat(x) / 0
def few(): return nn.Sequential(flat, nn.Linear(64, 2))
def good(): return nn.Sequential(flat, nn.Linear(64, 10))
table = {}
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], r"which model\?"),
        (["nowhere"], r"nowhere: no such file or folder; a model is"),
        (["nowhere/last.pt"], r"nowhere/last.pt: no such file or folder"),
        (["empty"], r"empty: no checkpoint"),
        (["sweep"], r"sweep: is a whole sweep; name one of its trials, sweep/trials/0000 for example"),
        (["zoo:Standard", "--data", "digits"], r"zoo:Standard: the model zoo needs robustbench .*pip install"),
        (["bare.pt"], r"bare.pt: only weights; say what network .* --architecture"),
        (["bare.pt", "--architecture", "small_cnn"], r"--architecture: a network of ours needs --data"),
        (
            ["bare.pt", "--architecture", "small_cn", "--data", "digits"],
            r"no model 'small_cn'; did you mean 'small_cnn'",
        ),
        (
            ["bare.pt", "--architecture", "{name: small_cnn, width: 0}", "--data", "digits"],
            r"width: must be at least 1",
        ),
        (["bare.pt", "--architecture", "small_cnn", "--data", "digits"], r"do not fit small_cnn \(Missing key"),
        (["bare.pt", "--architecture", "bad.py:wide"], r"do not fit bad.py:wide \(size mismatch"),
        (["bare.pt", "--architecture", "bad.py:raises"], r"bad.py:raises: ValueError: no weights at home$"),
        (["noise.safetensors"], r"noise.safetensors: not a safetensors file"),
        (["noise.pt"], r"noise.pt: not a checkpoint of tensors and plain values"),
        (
            ["pickle.pt"],
            r"pickle.pt: holds torch.nn.modules.linear.Linear, which is code, not tensors and plain values",
        ),
        (["tensor.pt"], r"tensor.pt: holds a Tensor, not a mapping"),
        (["bad.py"], r"bad.py: say which function makes the network, as in bad.py:make"),
        (["bad.py:god"], r"bad.py has no 'god'; did you mean 'good'"),
        (["nowhere.py:make"], r"nowhere.py: no such file"),
        (["no_such_module:make"], r"ModuleNotFoundError: No module named 'no_such_module'"),
        (["syntax.py:make"], r"SyntaxError: .*line 1"),
        (["bad.py:raises"], r"bad.py:raises: ValueError: no weights at home$"),
        (["bad.py:table"], r"bad.py:table: TypeError: 'dict' object is not callable"),
        (["bad.py:none"], r"gave a NoneType, not a torch module"),
        (["bad.py:number"], r"gave a int, not a torch module"),
        (["bad.py:wide", "DATA"], r"wide: fails on images of shape \(8, 1, 8, 8\)"),
        (["bad.py:one", "DATA"], r"one: must give logits \[B, classes\], gave \(8,\)"),
        (["bad.py:Two", "DATA"], r"Two: must give logits \[B, classes\], gave tuple"),
        (["bad.py:Nan", "DATA"], r"Nan: its logits are not finite"),
        (["bad.py:Infinite", "DATA"], r"Infinite: its logits are not finite"),
        (["bad.py:few", "DATA", "--version", "apgd-dlr"], r"apgd-dlr compares 3 classes, but the model has 2"),
        (["bad.py:good"], r"--data is missing"),
        (["bad.py:good", "--data", "digts"], r"--data: there is no data 'digts'; did you mean 'digits'"),
        (
            ["bad.py:good", "--data", "{name: digits, validaton: 3}"],
            r"--data digits: validaton: unknown key; did you mean",
        ),
        (["bad.py:good", "--data", "{name: npz, train: a.npz, test: b.npz}", "--eps", "0.1"], r"b.npz: no such file"),
        (["bad.py:good", "--data", "digits"], r"--eps is missing"),
        (["bad.py:good", "--data", "digits", "--eps", "eight"], r"--eps: must be a number, not 'eight'"),
        (
            ["bad.py:good", "--data", "digits", "--eps", "8"],
            r"--eps: must be at most 1, not 8: linf is measured in pixels",
        ),
        (["bad.py:good", "--data", "digits", "--eps=-0.1"], r"--eps: must be at least 0"),
        (["TRIAL", "--threat", "l2"], r"--eps is missing"),
        (
            ["bad.py:good", "DATA", "--version", "standrd"],
            r"--version: there is no version 'standrd'; did you mean 'standard'",
        ),
        (["bad.py:good", "DATA", "--version", "apgd-c+square"], r"--version: must be .*; did you mean 'apgd-ce'"),
        (["bad.py:good", "DATA", "--version", "apgd-ce+apgd-ce"], r"--version: must be .*different attacks"),
        (
            ["bad.py:good", "DATA", "--version", "pgd"],
            r"--version pgd: is no AutoAttack; .*: python -m robustray measure bad.py:good --measures "
            r"'\{name: robust_accuracy, attack: pgd\}' --data digits --eps 0.1 --images 40$",
        ),
        (
            ["bad.py:good", "DATA", "--split", "train"],
            r"--split train: AutoAttack judges validation and test images; .*: python -m robustray measure bad.py:good "
            r"--measures robust_accuracy --split train --data digits --eps 0.1 --images 40$",
        ),
        (["bad.py:good", "DATA", "--split", "tset"], r"--split: there is no split 'tset'; did you mean 'test'"),
        (["bad.py:good", "DATA", "--images", "498"], r"498 images asked for the judge test list, but there are 497"),
        (["TRIAL", "--images", "61"], r"--images: .*61, but .* only 60"),
        (["bad.py:good", "DATA", "--device", "tpu"], r"there is no device 'tpu'|device 'tpu' is not on this machine"),
        (["bad.py:good", "DATA", "--device", "cpu,cuda:77"], r"device 'cuda:77' is not on this machine"),
        (["bad.py:good", "DATA", "--join", "nowhere.pt"], r"--join nowhere.pt: no such file"),
        (["bad.py:good", "DATA", "--save-adversarial", "--join", "s.json"], r"--save-adversarial with a state file"),
        (["--verify", "nowhere/result.json"], r"nowhere/result.json: no result of a judgement"),
        (["--verify", "noise.pt"], r"noise.pt: no result of a judgement"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, command: Command, trained: Path, tmp_path: Path
) -> None:
    """And nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "study.journal").touch()
    (tmp_path / "bad.py").write_text(BAD)
    (tmp_path / "syntax.py").write_text("def make(:\n")
    torch.save({"1.weight": torch.zeros(10, 64), "1.bias": torch.zeros(10)}, tmp_path / "bare.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for name in ("noise.pt", "noise.safetensors"):
        (tmp_path / name).write_bytes(bytes(range(200)))
    torch.save(nn.Linear(2, 2), tmp_path / "pickle.pt")
    data = ["--data", "digits", "--eps", "0.1", "--images", "40"]
    full = [word for argument in arguments for word in (data if argument == "DATA" else [argument])]
    full = [str(trained) if word == "TRIAL" else word for word in full]
    if not any(word == "--device" for word in full):
        full += ["--device", "cpu"]
    before = set(tmp_path.rglob("*.parquet")) | set(trained.rglob("*.parquet"))
    refused = command("judge", *full)
    assert refused.code == 2, refused.out + refused.error
    assert refused.error.startswith("error: "), refused.error
    assert len(refused.error.strip().splitlines()) == 1, refused.error
    assert re.search(said, refused.error.strip()), refused.error
    if "few" not in str(arguments):  # that one is known when the attack begins
        assert set(tmp_path.rglob("*.parquet")) | set(trained.rglob("*.parquet")) == before
        assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written_is_one_line(command: Command, tmp_path: Path) -> None:
    written(tmp_path)
    refused = command("judge", "net.py:make", *ON_TEST, "--device", "cpu", "--results", "net.py/results")
    assert refused.code == 2
    assert refused.error.startswith("error: ")
    assert "net.py/results" in refused.error
    assert len(refused.error.strip().splitlines()) == 1


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    whole = Path.open
    full = True

    def open_(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if full and "apgd" in path.name and "w" in mode:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", open_)
    refused = command("judge", "net.py:make", *ON_TEST, "--device", "cpu")
    assert refused.code == 2
    assert "no space left on the disk" in refused.error
    assert "Errno" not in refused.error
    assert len(refused.error.strip().splitlines()) == 1
    full = False
    assert command.judge("net.py:make", *ON_TEST).result["images"] == 40


@pytest.mark.parametrize("flag", ["--threat=l3", "--images=0", "--batch=0", "--split=train", "--trheat=l2"])
def test_a_flag_that_cannot_be_is_exit_code_2_without_a_traceback(flag: str, command: Command) -> None:
    refused = command("judge", "x.py:y", flag)
    assert refused.code == 2
    assert "Traceback" not in refused.error
