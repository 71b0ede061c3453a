"""`--accelerated`: breaks found in low precision are breaks of the float32 model, and the result says how it was made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.attacks.norms import Norm
from robustray.judge import Judge
from robustray.judging import early, images
from robustray.judging.bench import Bench
from robustray.judging.plan import Plan
from robustray.judging.stage import judge_shard
from robustray.verdicts import CLEAN, Verdicts, read_shard
from tests.robustray.judged import Command, learned, said, written
from tests.robustray.made import generator, linear

ON_TEST = ("net.py:make", "--data", "digits", "--eps", "0.1", "--images", "60", "--version", "apgd-ce")


def test_every_early_break_is_a_break(command: Command, tmp_path: Path) -> None:
    """Asked by hand, in float32, of the very images; the attack that follows sees what is left."""
    written(tmp_path)
    judged = command.judge(*ON_TEST, "--accelerated", "--save-adversarial")
    early, clean = read_shard(judged.folder, "early", 0), read_shard(judged.folder, CLEAN, 0)
    later, kept = read_shard(judged.folder, "apgd-ce", 0), images.load(judged.folder, "early", 0)
    assert early is not None
    assert clean is not None
    assert later is not None
    assert kept is not None
    assert early.image.tolist() == clean.survivors.tolist()
    assert later.image.tolist() == early.survivors.tolist()
    model, *_ = learned(normalised=False)
    with torch.no_grad():
        predicted = model(torch.from_numpy(kept[1])).argmax(1).numpy()
    assert (predicted != early.label[early.broken]).all()
    assert predicted.tolist() == early.predicted[early.broken].tolist()
    assert early.broken.sum() > 5
    assert command("judge", "--verify", judged.folder).code == 0


def test_the_result_says_so(command: Command, tmp_path: Path) -> None:
    written(tmp_path)
    plain = command.judge(*ON_TEST)
    judged = command.judge(*ON_TEST, "--accelerated")
    told = judged.result
    assert (told["accelerated"], told["autoattack"], told["version"]) == (True, False, "apgd-ce, accelerated")
    assert [stage["stage"] for stage in told["stages"]] == [CLEAN, "early", "apgd-ce"]
    assert "robust accuracy after early breaks: " in judged.out
    assert "robust accuracy (apgd-ce, accelerated): " in judged.lines[-2]
    assert judged.folder != plain.folder
    whole = command.judge(*ON_TEST[:-3], "6", "--version", "standard", "--accelerated")
    assert whole.result["autoattack"] is False
    assert "AutoAttack" not in whole.out
    assert "external" in json.loads((whole.folder / "robustbench.json").read_text())
    both = [Verdicts.read(folder, ["early", "apgd-ce"]) for folder in (plain.folder, judged.folder)]
    assert both[0].clean.tolist() == both[1].clean.tolist()
    assert abs(int(both[0].robust.sum()) - int(both[1].robust.sum())) <= 3, "what survives meets the whole attack"


def test_the_search_is_in_low_precision() -> None:
    kinds: set[torch.dtype] = set()
    model = linear(torch.randn(5, 25, generator=generator(1)))
    model.register_forward_hook(lambda module, inputs, z: kinds.add(z.dtype))
    x = torch.rand(4, 1, 5, 5, generator=generator(2))
    x_adv = early.attack(model, x, model(x).argmax(1), Threat(eps=0.05))
    assert torch.bfloat16 in kinds
    assert x_adv.dtype == torch.float32


def run(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, folder: Path) -> list[list[object]]:
    """The stages clean and early on one shard."""
    folder.mkdir(exist_ok=True)
    options = Judge.model_validate({"data": "digits", "threat": threat.model_dump(), "accelerated": True})
    made = Plan.of(options, "w", "validation")
    plan = Plan(**{**vars(made), "rows": np.arange(len(x), dtype=np.int64)})
    return [said(judge_shard(Bench(model, plan, folder), x, y, stage, 0)) for stage in (CLEAN, "early")]


def test_what_only_low_precision_gets_wrong_is_not_broken(tmp_path: Path) -> None:
    """Two logits of 100 that differ by 0.1: bfloat16, with eight bits, takes them for equal."""
    model = linear(torch.tensor([[100.0], [100.1], [0.0]])).eval()
    x = torch.ones(4, 1, 1, 1)
    y = torch.ones(4, dtype=torch.long)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (model(x).argmax(1) == 0).all()
    clean, early = run(model, x, y, Threat(eps=0.0), tmp_path)
    assert clean[3] == early[3] == [False] * 4


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_in_every_norm(norm: Norm, tmp_path: Path) -> None:
    model, x, y = learned()
    _, early = run(model, x, y, Threat(norm=norm, eps={"linf": 0.1, "l2": 0.6, "l1": 4.0}[norm]), tmp_path)
    info = early[-1]
    assert isinstance(info, dict)
    assert "outside" not in info
    assert early[3].count(True) > 5  # type: ignore[attr-defined]


def test_where_low_precision_is_not_finite_the_whole_attack_decides(tmp_path: Path) -> None:
    class Steep(nn.Module):
        """Gradients that are finite in float32 only: the slope of a square root at zero, but for a little."""

        def forward(self, x: Tensor) -> Tensor:
            z = x.flatten(1) @ torch.eye(25, 5)
            return ((z - z.detach()) + 1e-30 * float(z.dtype == torch.float32)).abs().sqrt() + z.detach()

    x = torch.rand(4, 1, 5, 5, generator=generator(2))
    model = Steep()
    y = model(x).argmax(1)
    clean, early = run(model, x, y, Threat(eps=0.1), tmp_path)
    assert clean[3] == early[3] == [False] * 4


def test_draws_of_the_model_are_not_the_worlds(tmp_path: Path) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = learned()[0]

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.model(x)) + torch.randn(len(x), 10)

    _, x, y = learned()
    found = []
    for number in range(2):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        found.append(run(Noisy(), x, y, Threat(eps=0.05), tmp_path / str(number)))
        assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1]
