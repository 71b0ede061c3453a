"""`python -m robustray judge`: every kind of model, every mistake in one line, results that agree with the shards."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from pyautoattack import AutoAttack
from scipy.stats import binomtest
from torch import nn

from robustray.evaluation.result import entry, in_255ths
from robustray.training import Trainer
from robustray.verdicts import CLEAN, Verdicts, read_shards
from tests.robustray.judged import Command, learned, same_verdicts, written
from tests.robustray.made import JUDGE, trial

ON_TEST = ("--data", "digits", "--eps", "0.1", "--images", "40", "--version", "apgd-ce")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained trial."""
    folder = tmp_path_factory.mktemp("trials") / "0003"
    Trainer(trial(judge=JUDGE | {"version": "apgd"}), folder, device="cpu").run()
    return folder


# Models.


def test_every_kind_of_model_is_the_same_model(
    trained: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial, its checkpoint, its weights in three forms, and factories that load them: the same verdicts."""
    ours = "{name: small_cnn, width: 2, dropout: 0.3}"
    state = torch.load(trained / "last.pt", weights_only=True)["average"]
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "c.tar"
    )
    torch.save({"net": state, "optimizer": {"lr": 0.1}}, tmp_path / "d.pth")
    (tmp_path / "factory.py").write_text(
        "import torch\n"
        "from robustray.data.digits import Digits\n"
        "from robustray.models.small_cnn import SmallCnn\n"
        "def empty(): return SmallCnn(width=2).build(Digits(validation=60))\n"
        "def make():\n"
        "    model = empty()\n"
        "    model.load_state_dict(torch.load('b.pt'))\n"
        "    return model\n"
        "ready = make()\n"
    )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "front.py").write_text("from beside import make\n")
    (tmp_path / "elsewhere" / "beside.py").write_text("from factory import make\n")
    data = ("--data", "{name: digits, validation: 60}")
    specs: list[tuple[object, ...]] = [
        (trained,),
        (trained / "last.pt",),
        ("a.safetensors", "--architecture", ours, *data),
        ("b.pt", "--architecture", ours, *data),
        ("c.tar", "--architecture", ours, *data),
        ("d.pth", "--architecture", ours, *data),
        ("b.pt", "--architecture", "factory.py:empty", *data),
        ("factory.py:make", *data),
        ("factory.py:ready", *data),
        (f"{tmp_path}/factory.py:make", *data),
        ("elsewhere/front.py:make", *data),
        ("factory:make", *data),
    ]
    found = []
    for number, spec in enumerate(specs):
        judged = command.judge(
            *spec,
            "--split",
            "test",
            "--eps",
            "0.005",
            "--images",
            "40",
            "--version",
            "apgd-ce",
            "--results",
            str(number),
        )
        found.append((judged.result["weights"], Verdicts.read(judged.folder, ["apgd-ce"])))
    for weights, verdicts in found:
        assert weights == found[0][0]
        assert same_verdicts(verdicts, found[0][1])
    assert 0 < found[0][1].robust.sum() < 40


def test_a_trial_is_judged_as_it_says_and_flags_change_that(trained: Path, command: Command) -> None:
    judged = command.judge(trained).result
    assert judged["version"] == "apgd"
    assert (judged["split"], judged["images"]) == ("validation", 20)
    assert judged["threat"] == {"norm": "linf", "eps": 0.1}
    assert Path(command.judge(trained).lines[-1]).is_relative_to(trained / "judgements")
    changed = command.judge(trained, "--eps", "1/255", "--images", "7", "--version", "apgd-dlr").result
    assert (changed["images"], changed["threat"]["eps"], changed["version"]) == (7, 1 / 255, "apgd-dlr")
    other = command.judge(trained, "--threat", "l2", "--eps", "0.3", "--version", "apgd-ce").result
    assert other["threat"] == {"norm": "l2", "eps": 0.3}
    same = command.judge(trained, "--threat", "linf", "--version", "apgd-ce").result
    assert same["threat"] == {"norm": "linf", "eps": 0.1}, "the trial's own radius"
    on_test = command.judge(trained, "--split", "test", "--images", "30", "--version", "apgd-ce").result
    assert (on_test["split"], on_test["images"]) == ("test", 30)


def test_a_sweep_keeps_its_test_images(trained: Path, command: Command, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "sweep" / "trials" / "0003")
    (tmp_path / "sweep" / "study.journal").touch()
    for spec in ("sweep/trials/0003", "sweep/trials/0003/last.pt"):
        refused = command("judge", spec, "--split", "test")
        assert refused.code == 2
        assert "belongs to a sweep, which reads test itself" in refused.error
    command.judge("sweep/trials/0003", "--version", "apgd-ce")
    written(tmp_path / "sweep" / "trials" / "0003")
    command.monkeypatch.chdir(tmp_path / "sweep" / "trials" / "0003")
    command.judge("net.py:make", *ON_TEST)  # is no trial, wherever it lies


def test_a_factory_with_random_weights_is_the_same_network_every_time(command: Command, tmp_path: Path) -> None:
    """Else no process and no later life of the command would meet the model that the folder is about."""
    (tmp_path / "drawn.py").write_text(
        "from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    torch.manual_seed(1)
    first = command.judge("drawn.py:make", *ON_TEST)
    torch.manual_seed(2)
    world = torch.get_rng_state()
    assert command.judge("drawn.py:make", *ON_TEST).folder == first.folder
    assert torch.equal(torch.get_rng_state(), world)


ZOO = """
from enum import Enum
from pathlib import Path
from typing import Optional, Union
import torch
from torch import nn

class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"
    digits = "digits"

class ThreatModel(Enum):
    Linf = "Linf"
    L2 = "L2"

asked = []

def load_model(model_name: str, model_dir: Union[str, Path] = './models',
               dataset: Union[str, BenchmarkDataset] = BenchmarkDataset.cifar_10,
               threat_model: Union[str, ThreatModel] = ThreatModel.Linf,
               custom_checkpoint: str = "", norm: Optional[str] = None) -> nn.Module:
    found = BenchmarkDataset(dataset), ThreatModel(threat_model.replace('_3d', ''))
    asked.append((model_name, *found))
    models = {"Standard": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}
    if model_name == "Offline":
        raise ConnectionError("no route to host")
    return models[model_name].eval()
"""


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A robustbench with one model, and the signature of the real one."""
    (tmp_path / "site" / "robustbench").mkdir(parents=True)
    (tmp_path / "site" / "robustbench" / "__init__.py").touch()
    (tmp_path / "site" / "robustbench" / "utils.py").write_text(ZOO)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.mark.usefixtures("zoo")
def test_the_zoo_of_robustbench(command: Command) -> None:
    torch.manual_seed(4)
    judged = command.judge("zoo:Standard", *ON_TEST)
    assert judged.result["model"] == "Standard"
    assert judged.folder.parent == Path("results/judgements/Standard")
    command.judge("zoo:Standard", *ON_TEST, "--threat", "l2")
    from robustbench import utils

    assert [(name, data.value, norm.value) for name, data, norm in utils.asked] == [
        ("Standard", "digits", "Linf"),
        ("Standard", "digits", "L2"),
    ]
    for arguments, said in [
        (("zoo:Standrd", *ON_TEST), r"zoo:Standrd: RobustBench has no such model for digits and Linf"),
        (("zoo:Standard", *ON_TEST, "--threat", "l1"), r"has no such model for digits and L1"),
        (("zoo:Standard", *ON_TEST, "--data", "mnist"), r"has no such model for mnist and Linf"),
        (("zoo:Offline", *ON_TEST), r"could not load it \(ConnectionError: no route to host\)"),
        (("zoo:Standard", "--eps", "0.1"), r"zoo:Standard: say which --data"),
    ]:
        refused = command("judge", *arguments)
        assert refused.code == 2
        assert re.search(said, refused.error), refused.error
        assert len(refused.error.strip().splitlines()) == 1


# Mistakes.

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
        (["pickle.pt"], r"pickle.pt: not a checkpoint of tensors and plain values"),
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
    assert "No space left on device" in refused.error
    assert len(refused.error.strip().splitlines()) == 1
    full = False
    assert command.judge("net.py:make", *ON_TEST).result["images"] == 40


@pytest.mark.parametrize("flag", ["--threat=l3", "--images=0", "--batch=0", "--split=train", "--trheat=l2"])
def test_a_flag_that_cannot_be_is_exit_code_2_without_a_traceback(flag: str, command: Command) -> None:
    refused = command("judge", "x.py:y", flag)
    assert refused.code == 2
    assert "Traceback" not in refused.error


# What is said, and what is written.


def test_lines_are_those_of_autoattack(command: Command, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """But for what theirs leave out: data, shards, intervals, the version's name."""
    spec = written(tmp_path)
    judged = command.judge(f"{spec}:make", "--data", "{name: digits, validation: 60}", "--eps", "0.1", "--images", "40",
                           "--version", "apgd")  # fmt: skip
    model = learned(normalised=False)[0]
    x, y = images_of(judged.folder)
    with torch.random.fork_rng(), caplog.at_level(logging.DEBUG, logger="auto-attack"):
        suite = AutoAttack(model, norm="Linf", eps=0.1, seed=0, version="custom", attacks=["apgd-ce", "apgd-t"])
        suite.apgd.n_restarts = 1
        suite.run_standard_evaluation(x, y)
    theirs = [record.getMessage() for record in caplog.records if record.name == "auto-attack"]
    assert len(theirs) > 6

    def bare(lines: list[str]) -> list[str]:
        return [re.sub(r"\d+(\.\d+)?", "#", line) for line in lines]

    assert judged.lines[0].startswith(
        "using apgd version including apgd-ce, apgd-t: linf, eps 0.1, 40 images of digits test"
    )
    kept = [
        line for line in bare(theirs) if "perturbed" in line or "robust accuracy after" in line or "initial" in line
    ]
    assert bare(judged.lines[1:-3]) == kept
    initial = next(line for line in theirs if line.startswith("initial"))
    assert judged.lines[1] == initial
    assert judged.lines[-3] == "max linf perturbation: 0.10000"
    assert re.fullmatch(
        r"clean accuracy: \S+ \[\S+, \S+\]   robust accuracy \(apgd\): \S+ \[\S+, \S+\]", judged.lines[-2]
    )


def images_of(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels and labels of the rows that a judgement of digits' test is about."""
    from robustray.data.digits import Digits

    verdicts = Verdicts.read(folder)
    chosen = Digits(validation=60).load("test").take(verdicts.image.astype(np.int64))
    assert chosen.labels.tolist() == verdicts.label.tolist()
    return torch.from_numpy(chosen.images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(chosen.labels)


FIELDS = {
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps",
    "clean_acc", "reported", "footnote", "unreliable",
}  # fmt: skip


def test_results_agree_with_the_shards(command: Command, small: str) -> None:
    """Counted again from the verdict files by hand; in shards, and the same by AutoAttack's name."""
    judged = command.judge("rows.py:Rows", "--data", small, "--eps", "38/255", "--version", "standard", "--batch", "15")
    folder, told = judged.folder, judged.result
    stages = (CLEAN, "apgd-ce", "apgd-t", "fab-t", "square")
    broken: dict[int, str] = {}
    counts: dict[str, list[int]] = {stage: [0, 0] for stage in stages}
    for shard in read_shards(folder, stages[1:]):
        counts[shard.attack][0] += len(shard.image)
        counts[shard.attack][1] += int(shard.broken.sum())
        broken |= dict.fromkeys(shard.image[shard.broken].tolist(), shard.attack)
    clean = sum(by == CLEAN for by in broken.values())
    assert 0 < len(broken) < 40

    assert told["autoattack"] is True
    assert told["version"] == "standard"
    assert told["images"] == 40
    assert told["clean_accuracy"] == (40 - clean) / 40
    assert told["robust_accuracy"] == (40 - len(broken)) / 40
    for name, count in (("clean", 40 - clean), ("robust", 40 - len(broken))):
        interval = binomtest(count, 40).proportion_ci(method="wilson")
        assert told[f"{name}_interval"] == [interval.low, interval.high]
    assert [(s["stage"], s["images"], s["broken"]) for s in told["stages"]] == [(n, *counts[n]) for n in stages]
    assert told["seconds"] == pytest.approx(sum(s["seconds"] for s in told["stages"]))
    assert [s.get("largest_perturbation", 0) <= 38 / 255 + 2e-6 for s in told["stages"]] == [True] * 5
    assert told["flags"] == {}
    assert told["shard_size"] == 15
    assert told["threat"] == {"norm": "linf", "eps": 38 / 255}
    assert told["fingerprint"] == json.loads((folder / "judgement.json").read_text())

    table = pq.read_table(folder / "verdicts.parquet").to_pydict()
    assert table["image"] == list(range(40))
    assert table["label"] == [row % 4 for row in range(40)]
    assert table["broken_by"] == [broken.get(row, "") for row in range(40)]
    assert table["robust_correct"] == [float(row not in broken) for row in range(40)]
    assert table["clean_correct"] == [float(broken.get(row) != CLEAN) for row in range(40)]

    bench = json.loads((folder / "robustbench.json").read_text())
    assert set(bench) == FIELDS | {"autoattack_acc"}
    assert bench["autoattack_acc"] == f"{100 * told['robust_accuracy']:.2f}"
    assert (bench["clean_acc"], bench["eps"], bench["dataset"]) == (
        f"{100 * told['clean_accuracy']:.2f}",
        "38/255",
        "npz",
    )
    assert (bench["unreliable"], bench["footnote"]) == (False, "")
    assert "robust accuracy (AutoAttack)" in judged.lines[-2]


def test_what_is_less_than_standard_is_not_called_autoattack(command: Command, small: str) -> None:
    base = ("rows.py:Rows", "--data", small, "--eps", "38/255")
    for more in (
        ("--version", "apgd-ce"),
        ("--version", "apgd"),
        ("--version", "apgd-ce+apgd-dlr"),
        ("--version", "rand"),
    ):
        judged = command.judge(*base, *more)
        assert judged.result["autoattack"] is False
        bench = json.loads((judged.folder / "robustbench.json").read_text())
        assert set(bench) == FIELDS | {"external"}
        assert bench["footnote"] == f"Judged by {more[1]}, 40 images of test."
        assert "AutoAttack" not in judged.out


@pytest.mark.parametrize(
    ("split", "wanted", "footnote"),
    [
        ("test", "all", ""),
        ("test", 100, "Judged by standard, 100 images of test."),
        ("validation", "all", "Judged by standard, 100 images of validation."),
    ],
)
def test_an_entry_of_robustbench_is_about_all_test_images(split: str, wanted: Any, footnote: str) -> None:
    told = {
        "split": split, "images": 100, "images_wanted": {"validation": "all", "test": wanted}, "autoattack": True,
        "version": "standard", "robust_accuracy": 0.5, "clean_accuracy": 0.9, "architecture": "net",
        "data": {"name": "cifar10"}, "threat": {"norm": "linf", "eps": 8 / 255}, "flags": {},
    }  # fmt: skip
    assert entry(told)["footnote"] == footnote
    assert entry(told)["autoattack_acc"] == "50.00"
    assert entry(told | {"flags": {"dynamic": "..."}})["unreliable"] is True


@pytest.mark.parametrize(
    ("eps", "text"),
    [(8 / 255, "8/255"), (1 / 255, "1/255"), (0.5, "0.5"), (128 / 255, "128/255"), (0.1, "0.1"), (0.2, "0.2"), (1.0, "1"),
     (12.0, "12"), (0.0, "0"), (0.03, "0.03"), (25.5 / 255, "0.1"), (0.123456789, "0.123457")],
)  # fmt: skip
def test_a_radius_as_papers_write_it(eps: float, text: str) -> None:
    assert in_255ths(eps) == text


def test_a_randomised_model_is_flagged_but_for_rand(command: Command, small: str, tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(
        "import torch\n"
        "from rows import Rows\n"
        "class Noise(Rows):\n"
        "    def forward(self, x): return super().forward(x) + 0.3 * torch.randn(len(x), 4)\n"
    )
    base = ("noise.py:Noise", "--data", small, "--eps", "10/255")
    plain = command.judge(*base, "--version", "apgd-ce")
    assert list(plain.result["flags"]) == ["randomised"]
    assert sum("warning: randomised: " in line for line in plain.lines) == 1
    assert json.loads((plain.folder / "robustbench.json").read_text())["unreliable"] is True
    rand = command.judge(*base, "--version", "rand")
    assert rand.result["flags"] == {}
    assert "warning" not in rand.out
    assert rand.result["passes_per_verdict"] == 20
    assert json.loads((rand.folder / "robustbench.json").read_text())["unreliable"] is False
    table = pq.read_table(rand.folder / "verdicts.parquet").to_pydict()
    fractions = np.array(table["robust_correct"])
    assert ((fractions > 0) & (fractions < 1)).any()
    assert rand.result["robust_accuracy"] == pytest.approx(fractions.mean())


def test_the_same_command_goes_on_and_decides_the_shards_once(
    command: Command, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that was decided stays, whatever memory is free later; a later version goes on in the same folder."""
    from robustray.evaluation import _shards

    base = ("rows.py:Rows", "--data", small, "--eps", "10/255")
    monkeypatch.setattr(_shards, "ON_CPU", 16)
    first = command.judge(*base, "--version", "apgd-ce")
    assert first.result["shard_size"] == 16
    monkeypatch.setattr(_shards, "ON_CPU", 500)
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.glob("*-*.parquet")}
    assert len(stamps) == 6
    again = command.judge(*base, "--version", "apgd")
    assert again.folder == first.folder
    assert again.result["shard_size"] == 16
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    other = command.judge(*base, "--version", "apgd-ce", "--batch", "40")
    assert other.result["shard_size"] == 40
    assert other.folder != first.folder
