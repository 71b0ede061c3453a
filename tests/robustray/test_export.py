"""A model's way out and back: the same logits without our package, the same model with it, a card that says what is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robustray import subjects
from robustray.certify.smoothed import base_of
from robustray.commands.export_run import Asked, run
from robustray.derived import Smoothing, point
from robustray.derived.base import Ground
from robustray.derived.mixing import Mixing
from robustray.derived.mixture import Mixture, parts_of
from robustray.errors import UserError
from robustray.exporting import folder, programs
from robustray.exporting.entry import kept, passes, robustbench
from robustray.exporting.script import TEXT
from robustray.judging.plan import Plan
from robustray.models.equivariant import GroupMean
from robustray.models.noise import NoiseVote
from robustray.subjects import exported, program
from robustray.subjects.derived import finder
from robustray.subjects.program import Program
from robustray.training import Trainer
from robustray.verdicts import fingerprint
from tests.robustray.judged import Command
from tests.robustray.made import trial
from tests.robustray.test_mixing import FEW, _whole

OUT = "exports/Ours"
PIXELS = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))
ALONE = """
import importlib.abc, sys, torch

class Refuses(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("robustray", "sweeps", "analysis"):
            raise ImportError(f"{name} is not to be had")

sys.meta_path.insert(0, Refuses())
try:
    import robustray
except ImportError:
    pass
else:
    sys.exit("the hook refuses nothing")
from load import load

model, pixels = load(), torch.load("pixels.pt")
torch.save([model(pixels), model(pixels[:1])], "logits.pt")
"""


def loaded(path: Path | str) -> subjects.Classifier:
    return subjects.load(str(path), architecture=None, data=None, norm="linf")


def card(command: Command, *arguments: object) -> str:
    done = command("export", *arguments, "--out", OUT)
    assert done.code == 0, done.error
    return (Path(OUT) / "README.md").read_text()


@pytest.fixture(scope="module")
def trained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's folder without the judgements of other tests, which an export would tell of."""
    folder = tmp_path_factory.mktemp("own") / "0003"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("judgements", "measures", "certificates"))
    return folder


@pytest.fixture(scope="module")
def once(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a trained trial, which no test changes."""
    out = tmp_path_factory.mktemp("exports") / "Ours"
    assert run(Asked(str(trained), out=out), lambda said: None) == out
    return out


@pytest.fixture
def ours(once: Path, command: Command) -> Path:
    """A copy of it in the working directory."""
    shutil.copytree(once, OUT)
    return Path(OUT)


def test_it_is_loaded_in_ten_lines_without_our_package(ours: Path, trained: Path, tmp_path: Path) -> None:
    assert len(TEXT.splitlines()) <= 10
    assert (ours / "load.py").read_text() == TEXT
    alone = tmp_path / "alone"
    shutil.copytree(ours, alone)
    torch.save(PIXELS, alone / "pixels.pt")
    (alone / "run.py").write_text(ALONE)
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=alone, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, first = torch.load(alone / "logits.pt")
    wanted = loaded(trained).model
    assert torch.equal(whole, wanted(PIXELS))
    assert torch.equal(first, wanted(PIXELS[:1]))


def test_what_comes_back_is_the_trial(ours: Path, trained: Path, command: Command) -> None:
    """Weights, options and judge, so the same judgement under the same fingerprint; and from the program, the same logits."""
    was, now = loaded(trained), loaded(ours)
    assert (now.weights, now.trial, now.judge, now.architecture) == (
        was.weights,
        was.trial,
        was.judge,
        was.architecture,
    )
    assert torch.equal(now.model(PIXELS), was.model(PIXELS))
    assert now.judge is not None
    asked = ("--split", "test", "--images", "20", "--version", "apgd-ce")
    judged = command.judge(ours, *asked)
    settings = now.judge.model_copy(
        update={"version": ("apgd-ce",), "images": now.judge.images.model_copy(update={"test": 20})}
    )
    shard = judged.result["shard_size"]
    assert judged.folder.name.endswith(fingerprint(Plan.of(settings, was.weights, "test", shard_size=shard).parts))
    (ours / "trial.yaml").unlink()
    alone = loaded(ours)
    assert isinstance(alone.model, Program)
    assert (alone.weights, alone.judge) == (was.weights, was.judge)
    assert torch.equal(alone.model.eval()(PIXELS), was.model(PIXELS))


def test_what_the_card_and_the_entry_say(trained: Path, command: Command) -> None:
    """What is in doubt stands in the card, and not in its head, where numbers go without their doubts."""
    judged = command.judge(
        trained, "--split", "test", "--images", "20", "--version", "apgd-ce", "--results", "elsewhere"
    )
    assert "Not judged" not in card(command, trained, "--judgement", judged.folder)
    told, result = exported.about(Path(OUT)), judged.result
    assert told["judgements"] == [kept(result)]
    assert told["judgements"][0].keys() >= {"clean_interval", "robust_interval", "flags", "fingerprint", "split"}
    assert str(Path.cwd()) not in json.dumps(told)
    text = (Path(OUT) / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["pipeline_tag"] == "image-classification"
    (shown,) = head["model-index"][0]["results"]
    assert shown["dataset"]["split"] == "test"
    assert [each["value"] for each in shown["metrics"]] == [
        pytest.approx(100 * result[f"{name}_accuracy"], abs=0.01) for name in ("clean", "robust")
    ]
    low, high = (100 * end for end in result["robust_interval"])
    assert f"[{low:.2f}, {high:.2f}]" in text
    assert "apgd-ce (not AutoAttack)" in text
    entry = json.loads((Path(OUT) / "model_info" / "digits" / "Linf" / "Ours.json").read_text())
    fields = "link name authors additional_data number_forward_passes dataset venue architecture eps clean_acc reported"
    assert list(entry) == [*fields.split(), "external", "footnote", "unreliable"]
    assert (entry["clean_acc"], entry["external"]) == tuple(
        f"{100 * result[f'{name}_accuracy']:.2f}" for name in ("clean", "robust")
    )
    assert entry["additional_data"] is False
    assert entry["footnote"] == "Judged by apgd-ce, 20 images of test."
    again = command("export", OUT, "--out", "exports/Again")  # what is known of it goes on with it
    assert again.code == 0, again.error
    assert exported.about(Path("exports/Again"))["judgements"] == told["judgements"]
    assert exported.about(Path("exports/Again"))["chosen"] == told["chosen"]
    result |= {"flags": {"randomised": "the same image gets different answers"}}
    Path("flagged.json").write_text(json.dumps(result))
    text = card(command, trained, "--judgement", "flagged.json")
    assert "`randomised`: the same image gets different answers" in text
    assert "model-index" not in text
    assert json.loads((Path(OUT) / "model_info" / "digits" / "Linf" / "Ours.json").read_text())["unreliable"] is True


def test_a_trial_of_a_sweep_has_what_its_verdicts_say(trained: Path, command: Command, tmp_path: Path) -> None:
    """A sweep keeps verdicts without a result: of those that are whole the result is made, as `judge` would have made it."""
    sweep = tmp_path / "results" / "betas"
    shutil.copytree(trained, sweep / "trials" / "0003")
    command.judge(trained, "--results", sweep / "judgements" / "0003", "--batch", "8")
    (sweep / "study.journal").touch()
    (judged,) = (sweep / "judgements" / "0003").iterdir()
    wanted = json.loads((judged / "result.json").read_text())
    (judged / "result.json").unlink()
    text = card(command, sweep / "trials" / "0003", "--no-figure")
    assert exported.about(Path(OUT))["judgements"] == [kept(wanted)]
    assert "trial 3 of the sweep betas" in text
    assert "Test was not read for it" in text
    assert "validation images, which may have chosen the model" in text
    assert "model-index" not in text
    next(judged.glob("apgd-t-*.parquet")).unlink()
    assert "Not judged" in card(command, sweep / "trials" / "0003", "--no-figure")


def test_nothing_is_written_over(ours: Path, trained: Path, command: Command, tmp_path: Path) -> None:
    (ours / "notes.txt").write_text("mine")
    (ours / "README.md").unlink()
    assert command("export", trained, "--out", ours).code == 0
    assert (ours / "README.md").is_file()
    assert (ours / "notes.txt").read_text() == "mine"
    before = {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()}
    Trainer(trial(seed=1), tmp_path / "other", device="cpu").run()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for out, said in (
        (ours, "is an export of other weights"),
        ("full", "holds something else"),
        ("full/x", "is a file"),
    ):
        done = command("export", "other", "--out", out)
        assert (done.code, done.error.count("\n")) == (2, 1)
        assert said in done.error
    assert {path: path.read_bytes() for path in ours.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere/0007",), "nowhere/0007: no such file or folder"),
        (("nets.py:made",), "--data is missing"),
        (
            ("nets.py:made", "--data", "digits", "--judgement", "nets.py"),
            "--judgement nets.py: no result of a judgement",
        ),
        (("nets.py:branches", "--data", "digits"), "cannot be exported: its way depends on what it sees"),
        (("nets.py:counts", "--data", "digits"), "cannot be exported: it fixes the size of the batch"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], said: str, command: Command) -> None:
    Path("nets.py").write_text(NETS)
    done = command("export", *arguments)
    assert (done.code, done.error.count("\n")) == (2, 1)
    assert said in done.error
    assert not Path("exports").exists()


NETS = """
import torch
from torch import nn

class Branches(nn.Sequential):
    def forward(self, x): return super().forward(x if x.mean() > 0.5 else -x)

class Counts(nn.Sequential):
    def forward(self, x): return torch.stack([super(Counts, self).forward(each[None])[0] for each in x])

class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return (4 * x).round() / 4
    @staticmethod
    def backward(ctx, slope): return slope

class Rounds(nn.Sequential):
    def forward(self, x): return super().forward(Round.apply(x) + x)

def layers(): return nn.Flatten(), nn.Linear(64, 10)
def made(): return nn.Sequential(*layers())
def branches(): return Branches(*layers())
def counts(): return Counts(*layers())
def rounds(): return Rounds(*layers())
"""


def test_another_network_comes_back_as_its_program(command: Command) -> None:
    """With the same hash and the same verdicts. One whose gradients are its own says that they are lost."""
    Path("nets.py").write_text(NETS)
    asked = ("--data", "digits", "--eps", "0.01", "--images", "20", "--version", "apgd-ce")
    found = []
    for name in ("made", "rounds"):
        done = command("export", f"nets.py:{name}", "--data", "digits")
        assert done.code == 0, done.error
        assert ("gradients are not those" in done.out) == (name == "rounds")
        assert exported.about(Path("exports") / name)["program"]["gradients"] is (name == "made")
        found.append(subjects.load(f"nets.py:{name}", architecture=None, data=None, norm="linf").weights)
        assert loaded(Path("exports") / name).weights == found[-1]
    was, now = command.judge("nets.py:made", *asked), command.judge("exports/made", *asked)
    same = ("clean_accuracy", "robust_accuracy", "weights", "flags")
    assert {key: was.result[key] for key in same} == {key: now.result[key] for key in same}
    assert was.folder.name == now.folder.name
    assert "gradients are not those" in command.judge("exports/rounds", *asked).out


def test_a_mixture_comes_back_with_its_parts(trained: Path, command: Command, tmp_path: Path) -> None:
    """So it is attacked and certified as the point is. Its parents are not needed."""
    sweep = tmp_path / "results" / "x" / "trials"
    shutil.copytree(trained, sweep / "0000")
    Trainer(trial(seed=1), sweep / "0001", device="cpu").run()
    judge = loaded(trained).judge
    assert judge is not None
    made = sweep / "0002"
    made.mkdir()
    recipe = point.Recipe(Smoothing(alpha=(0.7,)), {"alpha": 0.7}, ["../0000", "../0001"], judge)
    point.make(recipe, Ground(judge, torch.device("cpu"), made, tmp_path), finder(made, judge))
    was = loaded(made)
    done = command("export", made, "--out", OUT)
    assert done.code == 0, done.error
    shutil.rmtree(tmp_path / "results")
    now = loaded(OUT)
    assert isinstance(now.model, Mixture)
    assert len(parts_of(now.model)) == len(parts_of(was.model)) > 0
    assert (now.weights, now.judge, base_of(now).robust_part) == (was.weights, was.judge, True)
    assert torch.equal(now.model(PIXELS), was.model(PIXELS))
    alone = torch.export.load(f"{OUT}/model.pt2").module()
    assert torch.equal(alone(PIXELS), was.model(PIXELS))
    assert passes(now.model) == 2
    assert finder(tmp_path, judge)(OUT).weights == was.weights  # which other points can be made of


def test_a_mixing_network_and_a_vote_under_noise_are_programs() -> None:
    whole = _whole(Mixing(**FEW), PIXELS).eval().requires_grad_(False)
    assert programs.exported(whole, PIXELS)[1] == programs.Compared(0.0, True)
    vote = NoiseVote(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), torch.tensor([[[0.1]]]), 3, 10).eval()
    assert passes(vote) == 3
    assert programs.exported(vote.requires_grad_(False), PIXELS)[1] == programs.Compared(0.0, True)


def test_group_means_fix_no_batch() -> None:
    programs.exported(GroupMean(2).eval(), torch.rand(3, 8, 4, 4))


class Counts(nn.Module):
    """Makes numbers of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4] + torch.arange(4, device=x.device)


def test_a_program_makes_its_numbers_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_bytes(programs.exported(Counts().eval(), PIXELS)[0])
    moved = program.read(tmp_path / "a.pt2").to("meta")
    assert moved(PIXELS.to("meta")).device.type == "meta"
    (tmp_path / "b.pt2").write_bytes(b"no program")
    with pytest.raises(UserError, match=r"b\.pt2: cannot be read as a program of torch\.export"):
        program.read(tmp_path / "b.pt2")


class Other(nn.Module):
    """As another network, but for one logit of the third image of a batch."""

    def __init__(self, model: nn.Module, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x).clone()
        logits[2:3, 0] += self.by
        return logits


def test_other_logits_are_no_export() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
    assert programs.compared(model, Other(model, 1e-8), PIXELS).gradients is True
    with pytest.raises(programs.NoProgram, match="other logits"):
        programs.compared(model, Other(model, 1e-2), PIXELS)
    with pytest.raises(programs.NoProgram, match="other logits"):
        programs.compared(model, Other(model, float("nan")), PIXELS)


def test_a_changed_export_is_told(ours: Path) -> None:
    state = load_file(ours / "model.safetensors")
    save_file({name: value + 1 for name, value in state.items()}, ours / "model.safetensors")
    with pytest.raises(UserError, match="is not what was exported"):
        loaded(ours)
    (ours / "export.json").write_text("{}")
    with pytest.raises(UserError, match="is not what an export writes"):
        loaded(ours)


def test_additional_data_is_what_the_leaderboard_calls_so(extra_images: None) -> None:
    told: dict[str, Any] = {
        "split": "test", "images": 5, "images_wanted": {"test": "all"}, "data": {"name": "digits"}, "architecture": "a",
        "threat": {"norm": "l2", "eps": 0.5}, "version": "standard", "autoattack": True, "clean_accuracy": 0.5,
        "robust_accuracy": 0.25, "flags": {}, "passes_per_verdict": 1,
    }  # fmt: skip
    model = subjects.Classifier.of(nn.Linear(2, 2), "Name", "a")
    for mix, wanted in ((None, False), ({"name": "generated", "path": "generated.npz"}, False),
                        ({"name": "pseudo_labelled", "path": "pseudo_labelled.pickle"}, True)):  # fmt: skip
        config = trial(defense="trades", batch={"size": 400, "mix": mix})
        place, entry = robustbench(replace(model, trial=config), told)
        assert entry["additional_data"] is wanted
        assert ("generated" in entry["footnote"]) == (mix is not None and mix["name"] == "generated")
        assert (str(place), entry["eps"], entry["autoattack_acc"]) == ("model_info/digits/L2/Name.json", "0.5", "25.00")
    assert robustbench(model, told)[1]["additional_data"] is None


def test_onnx_says_what_is_missing(trained: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ONNX_PACKAGES", ("onnxruntime_of_nobody",))
    done = command("export", trained, "--format", "onnx")
    assert (done.code, done.error.count("\n")) == (2, 1)
    assert "pip install 'robustray[onnx]'" in done.error
    assert not Path("exports").exists()


def test_onnx_has_the_same_logits(trained: Path, command: Command) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert command("export", trained, "--out", OUT, "--format", "onnx").code == 0
    session = runtime.InferenceSession(f"{OUT}/{folder.ONNX}", providers=["CPUExecutionProvider"])
    for pixels in (PIXELS, PIXELS[:1]):
        (logits,) = session.run(["logits"], {"pixels": pixels.numpy()})
        assert torch.allclose(torch.from_numpy(logits), loaded(trained).model(pixels), atol=1e-4)


def test_a_program_is_made_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk torch's own writer ends the process: what is written is written by us."""
    monkeypatch.setattr(torch._C, "PyTorchFileWriter", _in_memory(torch._C.PyTorchFileWriter))
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS[0].numel(), 10)).eval().requires_grad_(False)
    assert programs.exported(model, PIXELS)[1] == programs.Compared(0.0, True)


def _in_memory(writer: Any) -> Any:
    def opened(target: Any, *rest: Any, **more: Any) -> Any:
        assert not isinstance(target, str | Path), target
        return writer(target, *rest, **more)

    return opened
