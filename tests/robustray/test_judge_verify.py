"""`--save-adversarial` and `--verify`: what is on disk is what was judged, or it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robustray.judging import images
from robustray.verdicts import CLEAN, Verdicts, read_shard, shard_path, write_shard
from tests.robustray.judged import Command, Ended, learned, written

STAGES = ("apgd-ce", "apgd-dlr")
ON_TEST = ("--data", "digits", "--eps", "0.1", "--images", "40", "--batch", "15", "--version", "+".join(STAGES))


@pytest.fixture
def judged(command: Command, tmp_path: Path) -> Path:
    """The folder of a judgement with its adversarial images, in three shards."""
    written(tmp_path)
    folder = command.judge("net.py:make", *ON_TEST, "--save-adversarial").folder
    broken = [shard.broken.sum() for stage in STAGES for n in range(3) if (shard := read_shard(folder, stage, n))]
    assert broken[0] > 2
    return folder


def verify(command: Command, folder: Path, code: int) -> list[str]:
    """The lines of a verification that ends with this code; nothing is written."""
    before = set(folder.parent.rglob("*"))
    ended: Ended = command("judge", "--verify", folder / "result.json")
    assert ended.code == code, ended.out + ended.error
    assert set(folder.parent.rglob("*")) == before
    if code == 2:
        assert len(ended.error.strip().splitlines()) == 1
        return [ended.error.strip()]
    assert ended.lines[-1] == ("verified" if code == 0 else "NOT verified")
    return ended.lines


def test_what_was_saved_is_sound(command: Command, judged: Path) -> None:
    verdicts = Verdicts.read(judged, STAGES)
    broken = int((verdicts.clean & ~verdicts.robust).sum())
    (line, _) = verify(command, judged, 0)
    assert line == f"{broken} adversarial images, largest linf perturbation 0.100000"
    assert command("judge", "--verify", judged, "--device", "cpu,cpu").code == 0, (
        "the folder will do, and several devices"
    )
    command.monkeypatch.chdir(judged)
    assert command("judge", "--verify", "result.json").code == 2, "the model was given relative to another place"


def test_saved_images_are_those_that_broke(judged: Path) -> None:
    """Of every attack and shard, and none else; asked by hand."""
    model, *_ = learned(normalised=False)
    seen = []
    for stage in STAGES:
        for number in range(3):
            kept, shard = images.load(judged, stage, number), read_shard(judged, stage, number)
            assert kept is not None
            assert shard is not None
            rows, x_adv = kept
            assert rows.tolist() == shard.image[shard.broken].tolist()
            with torch.no_grad():
                assert model(torch.from_numpy(x_adv)).argmax(1).tolist() == shard.predicted[shard.broken].tolist()
            seen += rows.tolist()
    verdicts = Verdicts.read(judged, STAGES)
    assert sorted(seen) == verdicts.image[verdicts.clean & ~verdicts.robust].tolist()


Change = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows, x: (rows, np.concatenate([(x[:1] + 0.15).clip(0, 1), x[1:]])), "1 images outside the threat"),
        (lambda rows, x: (rows, np.concatenate([x[:2] - 1e-3 - 0.1, x[2:]])), "2 images outside the threat or [0, 1]"),
        (lambda rows, x: (rows, np.full_like(x, np.nan)), "outside the threat"),
        (lambda rows, x: (rows[1:], x[1:]), "without a verdict, or broken without a saved image"),
        (lambda rows, x: (rows[::-1], x), "without a verdict, or broken without a saved image"),
    ],
    ids=["far", "dark", "nan", "one less", "other rows"],
)
def test_changed_images_are_found(change: Change, said: str, command: Command, judged: Path) -> None:
    path = images.path(judged, "apgd-ce", 0)
    with np.load(path) as file:
        rows, x_adv = change(file["image"], file["x_adv"])
    np.savez_compressed(path, image=rows, x_adv=x_adv)
    assert any(said in line for line in verify(command, judged, 1))


def test_a_harmless_image_is_found(command: Command, judged: Path) -> None:
    """The clean image in place of the adversarial one: inside the threat, but it breaks nothing."""
    from robustray.data.digits import Digits

    path = images.path(judged, "apgd-ce", 0)
    with np.load(path) as file:
        rows, x_adv = file["image"], file["x_adv"]
    clean = Digits().load("test").images[rows[0]].transpose(2, 0, 1) / np.float32(255)
    np.savez_compressed(path, image=rows, x_adv=np.concatenate([clean[None], x_adv[1:]]))
    assert f"1 images with another verdict now: rows {rows[0]}" in verify(command, judged, 1)


@pytest.mark.parametrize("damage", ["missing", "damaged", "pickled"])
def test_lost_images_are_found(damage: str, command: Command, judged: Path) -> None:
    shard, path = read_shard(judged, "apgd-ce", 0), images.path(judged, "apgd-ce", 0)
    assert shard is not None
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        np.savez(path, image=shard.image[shard.broken], x_adv=np.array([object()] * int(shard.broken.sum())))
    count = int(shard.broken.sum())
    assert any(line.startswith(f"{count} images without a verdict, or broken") for line in verify(command, judged, 1))


def test_lost_verdicts_are_found(command: Command, judged: Path) -> None:
    shard_path(judged, "apgd-dlr", 2).unlink()
    assert any("without a verdict" in line for line in verify(command, judged, 1))


def test_forged_verdicts_are_found(command: Command, judged: Path) -> None:
    """An image taken from the broken ones, its saved image with it: the numbers no longer say the same."""
    shard, kept = read_shard(judged, "apgd-ce", 0), images.load(judged, "apgd-ce", 0)
    assert shard is not None
    assert kept is not None
    at = int(np.flatnonzero(shard.broken)[0])
    broken, correct = shard.broken.copy(), shard.correct.copy()
    broken[at], correct[at] = False, 1
    write_shard(judged, replace(shard, broken=broken, correct=correct))
    np.savez(images.path(judged, "apgd-ce", 0), image=kept[0][1:], x_adv=kept[1][1:])
    assert any("does not say what the verdicts add up to" in line for line in verify(command, judged, 1))


def test_forged_clean_verdicts_are_found(command: Command, judged: Path) -> None:
    shard = read_shard(judged, CLEAN, 1)
    assert shard is not None
    correct = shard.correct.copy()
    correct[3] = 1 - correct[3]
    write_shard(judged, replace(shard, correct=correct, broken=correct == 0))
    assert f"1 images whose clean verdict is another one now: rows {shard.image[3]}" in verify(command, judged, 1)


def test_a_forged_result_is_found(command: Command, judged: Path) -> None:
    told = json.loads((judged / "result.json").read_text())
    told["robust_accuracy"] += 0.025
    (judged / "result.json").write_text(json.dumps(told))
    assert any("does not say what the verdicts add up to" in line for line in verify(command, judged, 1))


def test_other_weights_are_found(command: Command, judged: Path, tmp_path: Path) -> None:
    state = torch.load(tmp_path / "weights.pt")
    state["1.bias"] += 1e-3
    torch.save(state, tmp_path / "weights.pt")
    assert "net.py:make has other weights now: " in verify(command, judged, 1)[0]


def test_the_same_weights_of_another_function_are_found(command: Command, judged: Path, tmp_path: Path) -> None:
    code = (tmp_path / "net.py").read_text().replace("nn.ReLU()", "nn.Tanh()")
    (tmp_path / "net.py").write_text(code)
    assert any("another verdict" in line for line in verify(command, judged, 1))


def test_what_cannot_be_judged_again_is_one_line(command: Command, judged: Path, tmp_path: Path) -> None:
    told = json.loads((judged / "result.json").read_text())
    renamed = judged.rename(judged.with_name("elsewhere"))
    assert "the folder of a judgement must keep its name" in verify(command, renamed, 2)[0]
    judged = renamed.rename(judged)
    for key, value in (("torch", "1.0"), ("pyautoattack", "0.0")):
        forged = json.loads(json.dumps(told))
        forged["fingerprint"]["packages"][key] = value
        (judged / "result.json").write_text(json.dumps(forged))
        assert "was judged with other packages than there are now" in verify(command, judged, 2)[0]
    (judged / "result.json").write_text(json.dumps(told | {"images_wanted": {"validation": "all", "test": 39}}))
    assert "was judged with other rows than there are now" in verify(command, judged, 2)[0]
    for text in ("{}", "[]", "null", "no json", json.dumps(told | {"version": 7})):
        (judged / "result.json").write_text(text)
        assert "no result of a judgement" in verify(command, judged, 2)[0]
    (judged / "result.json").write_text(json.dumps(told))
    (tmp_path / "net.py").unlink()
    assert "net.py: no such file" in verify(command, judged, 2)[0]


def test_a_copy_elsewhere_is_verified(command: Command, judged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(judged, tmp_path / "archive" / judged.name)
    verify(command, copy, 0)


def test_without_saved_images_there_is_nothing_to_verify(command: Command, tmp_path: Path) -> None:
    """They can be made later: attacks that broke something are run again, to the same verdicts."""
    written(tmp_path)
    bare = command.judge("net.py:make", *ON_TEST).folder
    assert any("judge with --save-adversarial" in line for line in verify(command, bare, 1))
    before = Verdicts.read(bare, STAGES).broken_by.tolist()
    assert command.judge("net.py:make", *ON_TEST, "--save-adversarial").folder == bare
    assert Verdicts.read(bare, STAGES).broken_by.tolist() == before
    stamps = {path: path.stat().st_mtime_ns for path in (bare / "adversarial").iterdir()}
    command.judge("net.py:make", *ON_TEST, "--save-adversarial")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "once they are there, they are kept"
    verify(command, bare, 0)


def test_randomised_models_are_verified_by_the_same_draws(command: Command, tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "noise.py").write_text(
        "import torch\n"
        "from net import make as plain\n"
        "class Noise(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.net = plain()\n"
        "    def forward(self, x): return self.net(x) + 0.2 * torch.randn(len(x), 10)\n"
    )
    arguments = ("noise.py:Noise", "--data", "digits", "--eps", "0.15", "--images", "16", "--version", "rand")
    folder = command.judge(*arguments, "--save-adversarial").folder
    torch.manual_seed(17)
    lines = verify(command, folder, 0)
    assert int(lines[0].split()[0]) > 0
