"""`--join`: what other evaluations found is taken over, and nothing that breaks the rules."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.state import EvaluationState
from torch import Tensor

from robustray.data.digits import Digits
from robustray.judging import images
from robustray.judging.flags import MEANING
from robustray.verdicts import CLEAN, Shard, Verdicts, read_shard
from tests.robustray.judged import Command, learned, written

EPS = 0.1
BASE = ("net.py:make", "--data", "digits", "--eps", str(EPS), "--images", "40")
ON_TEST = (*BASE, "--version", "apgd-ce")


def whole_test() -> tuple[Tensor, Tensor]:
    data = Digits().load("test")
    return torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(data.labels)


class Theirs:
    """What plain AutoAttack leaves behind: adversarial images of all test images, and a state file."""

    def __init__(self, folder: Path) -> None:
        model, *_ = learned(normalised=False)
        x, y = whole_test()
        self.state = folder / "state.json"
        with torch.random.fork_rng():
            suite = AutoAttack(model, norm="Linf", eps=EPS, seed=0, version="custom", attacks=["apgd-ce"])
            suite.apgd.n_restarts = 1
            self.x_adv, self.y_adv = suite.run_standard_evaluation(x, y, state_path=self.state)
        with torch.no_grad():
            self.fooled = (model(self.x_adv).argmax(1) != y).numpy()
            self.clean = (model(x).argmax(1) == y).numpy()
        self.folder = folder
        assert 30 < (self.fooled & self.clean).sum() < 450

    def save(self, content: Any, name: str = "adv.pt") -> Path:
        torch.save(content, self.folder / name)
        return self.folder / name


@pytest.fixture
def theirs(tmp_path: Path, command: Command) -> Theirs:
    written(tmp_path)
    return Theirs(tmp_path)


def stage(folder: Path, name: str) -> Shard:
    found = read_shard(folder, name, 0)
    assert found is not None
    return found


@pytest.mark.parametrize("form", ["tensor", "adv_complete", "pair", "double"])
def test_images_of_plain_autoattack(form: str, theirs: Theirs, command: Command) -> None:
    """Broken where the model says so; the attacks go on with the rest; saved and verified like our own."""
    x_adv = theirs.x_adv
    content = {
        "tensor": x_adv, "adv_complete": {"adv_complete": x_adv, "eps": EPS}, "pair": (x_adv, theirs.y_adv),
        "double": x_adv.double(),
    }[form]  # fmt: skip
    judged = command.judge(*ON_TEST, "--join", theirs.save(content), "--save-adversarial")
    clean, joined, apgd = (stage(judged.folder, name) for name in (CLEAN, "joined", "apgd-ce"))
    assert joined.image.tolist() == clean.survivors.tolist()
    assert joined.broken.tolist() == theirs.fooled[joined.image].tolist()
    assert 0 < joined.broken.sum() < len(joined.image)
    assert apgd.image.tolist() == joined.survivors.tolist()
    kept = images.load(judged.folder, "joined", 0)
    assert kept is not None
    assert np.array_equal(kept[1], x_adv[torch.from_numpy(kept[0]).long()].float().numpy())
    assert command("judge", "--verify", judged.folder).code == 0
    told = judged.result
    assert told["joined"] == {"joined": [str(theirs.folder / "adv.pt")], "claimed": []}
    assert told["flags"] == {}
    assert "robust accuracy after joined images: " in judged.out


def test_verdicts_of_a_state_file(theirs: Theirs, command: Command) -> None:
    """Written by AutoAttack's own class, which cannot read it again itself."""
    suite = AutoAttack(learned(normalised=False)[0], eps=EPS, version="custom", attacks=["apgd-ce"])
    with pytest.raises(ValueError, match="different set of attacks"):
        suite.run_standard_evaluation(*whole_test(), state_path=theirs.state)
    judged = command.judge(*ON_TEST, "--join", theirs.state)
    claimed, clean = stage(judged.folder, "claimed"), stage(judged.folder, CLEAN)
    assert claimed.image.tolist() == clean.survivors.tolist()
    assert claimed.broken.tolist() == theirs.fooled[claimed.image].tolist()
    assert claimed.broken.any()
    assert "robust accuracy after joined claims: " in judged.out
    assert judged.result["joined"] == {"joined": [], "claimed": [str(theirs.state)]}
    assert command("judge", "--verify", judged.folder).code == 1, "a claim is no image that could be looked at"


def test_a_state_file_in_the_middle_and_of_fewer_images(theirs: Theirs, tmp_path: Path, command: Command) -> None:
    state = EvaluationState({"apgd-ce", "square"}, path=tmp_path / "half.json")
    state.robust_flags = torch.arange(200) % 2 == 0  # the first 200 rows; every other one broken so far
    judged = command.judge(*ON_TEST, "--join", tmp_path / "half.json")
    claimed = stage(judged.folder, "claimed")
    assert claimed.broken.tolist() == [row < 200 and row % 2 == 1 for row in claimed.image]


def test_both_at_once_and_no_autoattack(theirs: Theirs, command: Command) -> None:
    """Joined or claimed, standard is no longer what its authors run on every image."""
    few = torch.where((torch.arange(497) < 300)[:, None, None, None], theirs.x_adv, whole_test()[0])
    for files in ([theirs.save(few)], [theirs.save(few), theirs.state]):
        joins = [word for file in files for word in ("--join", str(file))]
        judged = command.judge(*BASE[:-1], "5", "--version", "standard", *joins)
        assert judged.result["autoattack"] is False
        assert judged.result["version"] == "standard"
        assert "AutoAttack" not in judged.out
        bench = json.loads((judged.folder / "robustbench.json").read_text())
        assert "autoattack_acc" not in bench
    assert [told["stage"] for told in judged.result["stages"]][:3] == [CLEAN, "claimed", "joined"]


def test_of_several_files_the_worst_image_counts(theirs: Theirs, tmp_path: Path, command: Command) -> None:
    """Changed images that break nothing in the first file do not hide those of the second, in any order of files."""
    x, _ = whole_test()
    even = (torch.arange(497) % 2 == 0)[:, None, None, None]
    harmless = (x + 1e-4).clamp(0, 1)
    first = theirs.save(torch.where(even, theirs.x_adv, harmless), "first.pt")
    second = theirs.save(torch.where(even, harmless, theirs.x_adv), "second.pt")
    found = []
    for number, files in enumerate(((first, second), (second, first))):
        joins = [word for file in files for word in ("--join", str(file))]
        judged = command.judge(*ON_TEST, *joins, "--results", number)
        shard = stage(judged.folder, "joined")
        assert shard.broken.tolist() == theirs.fooled[shard.image].tolist()
        found.append(Verdicts.read(judged.folder, ["joined", "apgd-ce"]).broken_by.tolist())
    assert found[0] == found[1]


def test_images_outside_the_threat_do_not_count(theirs: Theirs, command: Command) -> None:
    """Too far, out of [0, 1], or not a number, each on a third of the images that it would break."""
    judged = command.judge(*ON_TEST, "--join", theirs.save(theirs.x_adv, "honest.pt"))
    fallen = stage(judged.folder, "joined").image[stage(judged.folder, "joined").broken]
    assert len(fallen) >= 4
    x, (far, dark, nan) = whole_test()[0], fallen[:3]
    x_adv = theirs.x_adv.clone()
    x_adv[far] = (x[far] + 1.01 * (x_adv[far] - x[far])).clamp(0, 1)
    x_adv[dark] = torch.where(x[dark] < 0.05, -0.05, x_adv[dark])
    x_adv[nan, 0, 3, 3] = torch.nan
    again = command.judge(*ON_TEST, "--join", theirs.save(x_adv))
    shard = stage(again.folder, "joined")
    assert shard.image[shard.broken].tolist() == fallen[3:].tolist()
    assert again.result["flags"] == {"outside": f"{MEANING['outside']} (3 in joined)"}
    assert next(told["outside"] for told in again.result["stages"] if told["stage"] == "joined") == 3
    assert "warning: outside: " in again.out
    assert json.loads((again.folder / "robustbench.json").read_text())["unreliable"] is True


def test_files_of_fewer_and_more_images(theirs: Theirs, command: Command) -> None:
    short = command.judge(*ON_TEST, "--join", theirs.save(theirs.x_adv[:100]))
    shard = stage(short.folder, "joined")
    assert shard.broken.tolist() == (theirs.fooled[shard.image] & (shard.image < 100)).tolist()
    more = torch.cat([theirs.x_adv, theirs.x_adv])
    long = stage(command.judge(*ON_TEST, "--join", theirs.save(more, "long.pt")).folder, "joined")
    assert long.broken.tolist() == theirs.fooled[long.image].tolist()


def test_clean_images_break_nothing(theirs: Theirs, command: Command) -> None:
    judged = command.judge(*ON_TEST, "--join", theirs.save(whole_test()[0]))
    assert not stage(judged.folder, "joined").broken.any()
    assert judged.result["flags"] == {}


class Code:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("unpickled!",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.zeros(497, 3, 8, 8), r"images of shape \(3, 8, 8\), but the data has \(1, 8, 8\)"),
        (torch.zeros(497, 1, 9, 9), r"images of shape \(1, 9, 9\), but the data has \(1, 8, 8\)"),
        (torch.zeros(497, 64), "holds no batch of images"),
        (torch.zeros(497, 1, 8, 8, dtype=torch.uint8), "holds no batch of images"),
        ({"weights": torch.zeros(497, 1, 8, 8)}, "holds no batch of images"),
        ({"adv_complete": [1, 2]}, "holds no batch of images"),
        ([], "holds no batch of images"),
        (None, "holds no batch of images"),
        (Code(), "not a file of tensors"),
        (b"noise", "not a file of tensors"),
    ],
)
def test_what_is_no_batch_of_images_is_one_line(content: Any, said: str, tmp_path: Path, command: Command) -> None:
    import re

    written(tmp_path)
    file = tmp_path / "adv.pt"
    if isinstance(content, Code):
        file.write_bytes(pickle.dumps(content, protocol=2))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    refused = command("judge", *ON_TEST, "--device", "cpu", "--join", file)
    assert refused.code == 2
    assert re.search(f"adv.pt: {said}", refused.error), refused.error
    assert len(refused.error.strip().splitlines()) == 1
    assert "unpickled!" not in refused.out + refused.error


@pytest.mark.parametrize(
    "text",
    ["{}", "[]", "no json", '{"_robust_flags": 7}', '{"_robust_flags": ["false"]}', '{"_robust_flags": null}', ""],
)
def test_what_is_no_state_file_is_one_line(text: str, tmp_path: Path, command: Command) -> None:
    written(tmp_path)
    (tmp_path / "state.json").write_text(text)
    refused = command("judge", *ON_TEST, "--device", "cpu", "--join", "state.json")
    assert refused.code == 2
    assert refused.error.startswith("error: state.json: ")
    assert "not a state file of AutoAttack" in refused.error or "had not begun" in refused.error
    assert len(refused.error.strip().splitlines()) == 1
