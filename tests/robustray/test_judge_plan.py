"""What a judgement consists of, and which judgements share a folder."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.attacks import Threat, autoattack
from robustray.attacks.versions import VERSIONS, strength
from robustray.judge import Judge
from robustray.judging import judge, shard_size
from robustray.judging.plan import Plan, family
from robustray.verdicts import shard_path
from tests.robustray.judged import THREAT, learned, same_verdicts
from tests.robustray.made import JUDGE, trial


def test_everything_that_matters_is_in_the_fingerprint(tmp_path: Path) -> None:
    """One folder each; and an attack list that begins with another attack is another judgement."""
    model, x, y = learned()
    x, y = x[:6], y[:6]
    changed = copy.deepcopy(model)
    with torch.no_grad():
        next(changed.parameters()).mul_(1.0001)
    moved = x.clone()
    moved[0, 0, 0, 0] += 1 / 255
    arguments: list[tuple[nn.Module, Tensor, Tensor, Threat, str]] = [
        (model, x, y, THREAT, "apgd-ce"),
        (changed, x, y, THREAT, "apgd-ce"),
        (model, moved, y, THREAT, "apgd-ce"),
        (model, x, y.roll(1), THREAT, "apgd-ce"),
        (model, x, y, Threat(eps=0.11), "apgd-ce"),
        (model, x, y, Threat(norm="l2", eps=0.1), "apgd-ce"),
        (model, x, y, THREAT, "apgd-dlr"),
    ]
    for number, case in enumerate(arguments, start=1):
        judge(*case, tmp_path)
        assert len(list(tmp_path.iterdir())) == number
    judge(model, x, y, THREAT, "apgd-ce", tmp_path, shard_size=3)
    judge(model, x, y, THREAT, "apgd-ce", tmp_path, seed=1)
    assert len(list(tmp_path.iterdir())) == len(arguments) + 2
    judge(model, x, y, THREAT, "apgd-ce", tmp_path)
    assert len(list(tmp_path.iterdir())) == len(arguments) + 2


def test_equal_weights_of_another_function_are_another_model(tmp_path: Path) -> None:
    class Turned(nn.Module):
        def __init__(self, model: nn.Module, sign: float) -> None:
            super().__init__()
            self.model = model
            self.sign = sign

        def forward(self, x: Tensor) -> Tensor:
            return self.sign * torch.as_tensor(self.model(x))

    model, x, y = learned()
    straight = judge(Turned(model, 1.0), x, y, Threat(eps=0.0), "apgd-ce", tmp_path)
    turned = judge(Turned(model, -1.0), x, y, Threat(eps=0.0), "apgd-ce", tmp_path)
    assert straight.clean_accuracy > turned.clean_accuracy


def test_the_first_attacks_of_standard_are_the_beginning_of_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one folder; nothing that is there is written anew, and the verdicts are those of standard at once."""
    model, x, y = learned()
    x, y = x[:30], y[:30]
    ran: list[str] = []
    run = autoattack.run

    def spy(attack: str, *arguments: Any) -> tuple[Tensor, int]:
        ran.append(attack)
        return run(attack, *arguments)

    def written() -> dict[str, tuple[int, int]]:
        (folder,) = (tmp_path / "parts").iterdir()
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}

    monkeypatch.setattr(autoattack, "run", spy)
    first = judge(model, x, y, THREAT, "apgd-ce", tmp_path / "parts")
    assert ran == ["apgd-ce"]
    before = written()
    second = judge(model, x, y, THREAT, "apgd", tmp_path / "parts")
    assert ran == ["apgd-ce", "apgd-t"]
    assert before.items() <= written().items()
    before = written()
    whole = judge(model, x, y, THREAT, "standard", tmp_path / "parts")
    assert ran == list(VERSIONS["standard"])
    assert before.items() <= written().items()
    assert len(written()) == 1 + 1 + 4  # judgement.json, clean, four attacks
    assert same_verdicts(whole, judge(model, x, y, THREAT, "standard", tmp_path / "at once"))

    ran.clear()
    assert same_verdicts(judge(model, x, y, THREAT, "apgd-ce", tmp_path / "parts"), first)
    assert same_verdicts(judge(model, x, y, THREAT, "apgd", tmp_path / "parts"), second)
    assert ran == []


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_families_are_told_by_how_they_begin(version: str) -> None:
    attacks = VERSIONS[version]
    for count in range(1, len(attacks) + 1):
        assert family(attacks[:count], strength(version)) == version
    swapped = (attacks[1], attacks[0], *attacks[2:])
    assert family(swapped, strength(version)) == "+".join(swapped)
    if version != "standard":  # the same attacks with fewer restarts or passes are not the same
        assert family(attacks[:2], "standard") == "apgd-ce+apgd-dlr"


def test_a_plan_covers_its_images() -> None:
    judge_options = trial().judge
    for size in (1, 7, 20, 500):
        plan = Plan.of(judge_options, "w", "validation", shard_size=size)
        rows = [row for number in range(plan.shards) for row in plan.shard(number).tolist()]
        assert rows == plan.rows.tolist() == judge_options.lists()[0].tolist()
        assert all(0 < len(plan.shard(number)) <= size for number in range(plan.shards))
    some = judge_options.model_copy(update={"images": judge_options.images.model_copy(update={"test": 50})})
    assert len(Plan.of(judge_options, "w", "test").rows) == 497
    assert len(Plan.of(some, "w", "test").rows) == 50


def test_plans_are_told_apart(tmp_path: Path) -> None:
    options = trial().judge

    def of(weights: str = "w", split: Any = "validation", **changes: Any) -> Plan:
        return Plan.of(Judge.model_validate(JUDGE | changes), weights, split)

    for name, content in (("a.pt", b"a"), ("b.pt", b"b")):
        (tmp_path / name).write_bytes(content)
    plans = [
        of(),
        of("v"),
        of(split="test"),
        Plan.of(options, "w", "validation", shard_size=5),
        Plan.of(options, "w", "validation", model={"answers": "a"}),
        Plan.of(options, "w", "validation", model={"answers": "b"}),
        Plan.of(options, "w", "validation", files={"joined": (tmp_path / "a.pt",)}),
        Plan.of(options, "w", "validation", files={"joined": (tmp_path / "b.pt",)}),
        Plan.of(options, "w", "validation", files={"joined": (tmp_path / "a.pt", tmp_path / "b.pt")}),
        Plan.of(options, "w", "validation", files={"claimed": (tmp_path / "a.pt",)}),
        of(threat={"eps": 0.2}),
        of(threat={"norm": "l2", "eps": 0.1}),
        of(version="plus"),
        of(version="rand"),
        of(version=["apgd-ce", "apgd-dlr"]),
        of(version=["apgd-t"]),
        of(accelerated=True),
        of(data={"name": "digits", "validation": 61}),
    ]
    assert len({plan.folder(tmp_path / "judgements") for plan in plans}) == len(plans)
    same = [
        of(version="apgd"),
        of(version=["apgd-ce"]),
        of(version=["apgd-ce", "apgd-t", "fab-t", "square"]),
        of(cheap={"steps": 3}, trials="all"),  # judges nothing else
    ]
    assert {plan.folder(tmp_path / "judgements") for plan in same} == {plans[0].folder(tmp_path / "judgements")}
    assert len(list((tmp_path / "judgements").iterdir())) == len(plans)


def test_stages_are_in_order(tmp_path: Path) -> None:
    (tmp_path / "x.pt").touch()
    options = Judge.model_validate(JUDGE | {"accelerated": True})
    files: dict[str, tuple[Path, ...]] = {"joined": (tmp_path / "x.pt",), "claimed": (tmp_path / "x.pt",)}
    plan = Plan.of(options, "w", "validation", files=files)
    assert plan.stages == ("clean", "claimed", "joined", "early", *VERSIONS["standard"])
    assert plan.before("clean") == ()
    assert plan.before("early") == ("clean", "claimed", "joined")
    assert shard_path(tmp_path, "fab-t", 3).name == "fab-t-0003.parquet"


@pytest.mark.parametrize(("overhead", "expected"), [(0.0, 150), (20.0, 150), (1000.0, 500)])
def test_a_shard_is_shared_out_where_that_pays(overhead: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPU workers share a network whose time is arithmetic, and not one whose time is overhead."""
    monkeypatch.setattr(shard_size, "_step", lambda model, x: overhead + len(x))
    model, x = nn.Identity(), torch.zeros(300, 1, 2, 2)
    made = Plan.of(Judge.model_validate(JUDGE | {"version": "apgd"}), "w", "validation")
    plan = replace(made, rows=np.arange(300, dtype=np.int64))
    assert shard_size.shared_out(model, x, 500, plan, 2) == expected
    assert shard_size.shared_out(model, x, 500, plan, 1) == 500
    assert shard_size.shared_out(model, x, 120, plan, 2) == 120


def test_timing_a_step_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).train()
    assert shard_size._step(model, torch.rand(5, 1, 2, 2)) > 0
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
