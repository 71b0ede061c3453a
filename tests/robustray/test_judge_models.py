"""What `judge` can judge: trials, checkpoints, weights in every form, factories, the zoo of RobustBench."""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from robustray.data.digits import Digits
from robustray.errors import UserError
from robustray.subjects import load
from robustray.subjects.weight_files import read
from robustray.training.checkpoints import weights_hash
from robustray.verdicts import Verdicts
from tests.robustray.judged import ON_TEST, Command, same_verdicts, written


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


NETS = """
import sys
import torch
from torch import nn
torch.manual_seed(0)
def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def wrapped(): return nn.DataParallel(net())
def lazy(): return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
def scripted(): return torch.jit.script(net())
class Extra(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()
    def forward(self, x): return self.net(x)
    def get_extra_state(self): return {"seen": (3, torch.ones(2)), "name": "a"}
    def set_extra_state(self, state): pass
"""
PLAIN = "1.weight", "1.bias"


@pytest.mark.parametrize(
    ("factory", "own"), [("net", ""), ("wrapped", "module.")], ids=["plain names", "its own part is called module"]
)
@pytest.mark.parametrize(
    "front",
    [
        "",
        "module.",
        "_orig_mod.",
        "module._orig_mod.",
        "model.",
        "backbone.net.module.",
        "_fsdp_wrapped_module.module.",
    ],
)
def test_what_wrappers_put_before_names_is_taken_off_where_it_makes_them_fit(
    front: str, factory: str, own: str, tmp_path: Path
) -> None:
    (tmp_path / "named.py").write_text(NETS)
    state = {"1.weight": torch.randn(10, 64), "1.bias": torch.randn(10)}
    torch.save({"state_dict": {front + own + name: value for name, value in state.items()}}, tmp_path / "weights.pt")
    found = load(str(tmp_path / "weights.pt"), architecture=f"{tmp_path}/named.py:{factory}", data=None, norm="linf")
    assert torch.equal(found.model.state_dict()[f"{own}1.weight"], state["1.weight"])


def test_counters_that_no_answer_depends_on_are_not_missed(tmp_path: Path) -> None:
    """Of torch's averages, and of batch norm in files of before torch had them; a missing average of batch norm is missed."""
    (tmp_path / "named.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())\n"
    )
    own = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()).state_dict()
    old = {f"module.{name}": value + 1 for name, value in own.items() if not name.endswith("num_batches_tracked")}
    spec = {"architecture": f"{tmp_path}/named.py:net", "data": None, "norm": "linf"}
    for number, state in enumerate((old, {**old, "n_averaged": torch.tensor(3)})):
        torch.save(state, tmp_path / f"{number}.pt")
        found = load(str(tmp_path / f"{number}.pt"), **spec)  # type: ignore[arg-type]
        assert torch.equal(found.model.state_dict()["0.running_mean"], own["0.running_mean"] + 1)
    torch.save({name: value for name, value in old.items() if "mean" not in name}, tmp_path / "less.pt")
    with pytest.raises(UserError, match=r"do not fit .*running_mean"):
        load(str(tmp_path / "less.pt"), **spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "judged", "noted"),
    [
        (("state_dict", "state_dict_ema"), "state_dict_ema", True),
        (("ema", "model"), "ema", True),
        (("state_dict_ema",), "state_dict_ema", False),
        (("model_state_dict", "net"), "model_state_dict", True),
    ],
)
def test_of_weights_and_their_average_it_is_said_which_are_judged(
    keys: tuple[str, ...], judged: str, noted: bool, tmp_path: Path
) -> None:
    (tmp_path / "named.py").write_text(NETS)
    held = {
        key: {"1.weight": torch.full((10, 64), float(place)), "1.bias": torch.zeros(10)}
        for place, key in enumerate(keys)
    }
    torch.save({**held, "epoch": 3}, tmp_path / "weights.pt")
    found = load(str(tmp_path / "weights.pt"), architecture=f"{tmp_path}/named.py:net", data=None, norm="linf")
    assert torch.equal(found.model.state_dict()["1.weight"], held[judged]["1.weight"])
    assert [f": {judged} is judged" in note for note in found.notes] == [True] * noted


def test_names_that_nothing_makes_fit_are_told_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(NETS)
    torch.save({"module.2.weight": torch.zeros(10, 64), "module.2.bias": torch.zeros(10)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"do not fit .* \(Missing key\(s\) in state_dict: \"1.weight"):
        load(str(tmp_path / "weights.pt"), architecture=f"{tmp_path}/named.py:net", data=None, norm="linf")


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True)])
def test_a_number_of_numpy_beside_the_weights_is_read(number: np.generic, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "best": number}, tmp_path / "weights.pt")
    assert read(tmp_path / "weights.pt")["best"] == number


@pytest.mark.parametrize("suffix", ["pt", "safetensors", "bin"])
@pytest.mark.parametrize("legacy", [False, True, None], ids=["torch", "torch of before", "safetensors"])
def test_files_are_read_by_what_they_hold_not_by_their_names(suffix: str, legacy: bool | None, tmp_path: Path) -> None:
    state, path = {"a": torch.arange(3.0)}, tmp_path / f"weights.{suffix}"
    if legacy is None:
        safetensors.torch.save_file(state, path)
    elif not (legacy and suffix == "safetensors"):
        torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    else:
        pytest.skip("a name that nothing in the file contradicts")
    assert torch.equal(read(path)["a"], state["a"])


def test_arrays_beside_the_weights_are_read_and_objects_in_them_are_not(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "history": np.arange(3.0)}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt")["history"].tolist() == [0, 1, 2]
    torch.save({"history": np.array([Namespace(lr=1)], dtype=object)}, tmp_path / "b.pt")
    with pytest.raises(UserError, match="not a checkpoint of tensors and plain values"):
        read(tmp_path / "b.pt")


@pytest.mark.parametrize("form", ["torch", "torch of before", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_said_in_one_line(form: str, share: float, tmp_path: Path) -> None:
    state, path = {"a": torch.arange(400.0)}, tmp_path / "weights.pt"
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "torch")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match=r"cut off|not a checkpoint") as refused:
        read(path)
    assert "weights_only" not in str(refused.value)
    assert str(refused.value).isprintable()


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"")


def _pointer(path: Path) -> None:
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (_pointer, "is a pointer of Git LFS.* git lfs pull"),
        (lambda path: path.write_text("\n<!DOCTYPE html><html>Quota exceeded</html>"), "is a page of HTML"),
        (lambda path: path.write_bytes(b"\xef\xbb\xbf <HTML>"), "is a page of HTML"),
        (lambda path: path.write_text("<!-- proxy --><html>"), "is a page of HTML"),
        (
            lambda path: path.write_text('{"error": "denied"}'),
            r"is text, not weights \(it begins '{\"error\": \"denied\"}'\)",
        ),
        (lambda path: path.write_text("\N{LATIN SMALL LETTER E WITH ACUTE}" * 400), "is text, not weights"),
        (lambda path: path.write_bytes(bytes(5000)), "begins with 512 bytes of zero"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99)), "is HDF5"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(99)), "is compressed"),
        (_zip, "is an empty archive"),
        (lambda path: _zip(path, "a/weights.pt", "b"), r"is an archive of a/weights.pt, b: unpack it"),
        (lambda path: _zip(path, "a/archive_format"), "is an exported program"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: torch.save({"args": Namespace(lr=0.1)}, path), r"holds argparse.Namespace, which is code"),
        (lambda path: torch.save(nn.Linear(2, 2), path), r"holds torch.nn.modules.linear.Linear, .*state_dict\(\)"),
        (lambda path: torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path), r"is TorchScript, .* torch.jit.load"),
        (lambda path: path.write_bytes(bytes(range(200))), "not a checkpoint of tensors and plain values"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_weights_is_said_without_advice_to_run_it(
    write: Callable[[Path], Any], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.pt")
    with pytest.raises(UserError, match=said) as refused:
        read(tmp_path / "a.pt")
    assert "weights_only" not in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.filterwarnings("ignore")
def test_scripted_networks_and_states_that_are_no_tensors_are_judged(command: Command, tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(NETS)
    for name in ("scripted", "Extra", "lazy"):
        assert command.judge(f"kinds.py:{name}", *ON_TEST).result["images"] == 40


def test_a_lazy_network_is_shown_an_image_where_there_is_one(tmp_path: Path) -> None:
    """The same weights each time; without images, and where it takes none of them, it is one line."""
    (tmp_path / "kinds.py").write_text(NETS + "def other(): return nn.Sequential(nn.LazyConv2d(2, 30), nn.Flatten())\n")
    spec, data = f"{tmp_path}/kinds.py:lazy", Digits()
    first, second = (load(spec, architecture=None, data=data, norm="linf") for _ in range(2))
    assert first.weights == second.weights
    with pytest.raises(UserError, match=r"1\.weight has no shape before it has seen an image"):
        load(spec, architecture=None, data=None, norm="linf")
    with pytest.raises(UserError, match="does not take an image of digits"):
        load(f"{tmp_path}/kinds.py:other", architecture=None, data=data, norm="linf")


def test_states_that_differ_anywhere_have_other_hashes() -> None:
    plain = {"w": torch.ones(2), "extra": {"seen": (3, torch.ones(2))}}
    same = {"w": torch.ones(2), "extra": {"seen": (3, torch.ones(2))}}
    assert weights_hash(plain) == weights_hash(same)
    for other in ({"seen": (4, torch.ones(2))}, {"seen": (3, torch.zeros(2))}, {"met": (3, torch.ones(2))}):
        assert weights_hash({**plain, "extra": other}) != weights_hash(plain)
    packed = [torch.quantize_per_tensor(torch.ones(2), scale, 0, torch.qint8) for scale in (0.1, 0.1, 0.2)]
    hashes = [weights_hash({"w": value}) for value in packed]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_script_that_parses_the_command_line_sees_its_own_name_alone(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(f"{NETS}\nassert sys.argv == ['{tmp_path}/train.py']\n")
    (tmp_path / "left.py").write_text(f"{NETS}\nsys.exit('no GPU')\n")
    before = list(sys.argv)
    load(f"{tmp_path}/train.py:net", architecture=None, data=None, norm="linf")
    with pytest.raises(UserError, match=r"left.py:net: left by sys.exit \(no GPU\)"):
        load(f"{tmp_path}/left.py:net", architecture=None, data=None, norm="linf")
    assert sys.argv == before
