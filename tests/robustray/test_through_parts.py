"""The stage that attacks what a mixture is made of: closed forms, and images made once for all mixtures of the same parts."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.derived.mixture import Bypassed, Mixture, OneHot, PowerMap, Scale
from robustray.judging import through_parts
from robustray.judging.case import Case
from robustray.judging.in_memory import judge
from robustray.judging.plan import Plan
from robustray.testing.derived import JUDGE, trained
from robustray.training.checkpoints import weights_hash
from robustray.verdicts import Shard, in_order

PLAN = JUDGE.model_copy(update={"threat": Threat(norm="linf", eps=0.1), "version": ("apgd-ce",)})


def mixture(alpha: float = 0.6, *, hard: bool = False) -> Mixture:
    g, h = (copy.deepcopy(trained(seed)) for seed in (0, 1))
    return Mixture(g, h, OneHot() if hard else Scale(2.0), Scale(1.0), alpha).eval().requires_grad_(False)


def case(model: nn.Module, folder: Path, shared: Path | None = None) -> Case:
    return Case(
        model, weights_hash(model.state_dict()), PLAN, "validation", folder, shard_size=50, device="cpu", shared=shared
    )


def judged(found: Case, *stages: str) -> list[Shard]:
    return [found.shard(stage, shard) for shard in range(found.plan.shards) for stage in stages]


def test_a_mixture_is_judged_through_its_parts_and_another_model_is_not(tmp_path: Path) -> None:
    assert case(mixture(), tmp_path / "a").plan.stages == ("clean", "apgd-ce", "parts")
    assert case(copy.deepcopy(trained(0)), tmp_path / "b").plan.stages == ("clean", "apgd-ce")
    assert Plan.of(PLAN, "0" * 64, "validation", mixture=True).extras == ("parts",)


@pytest.mark.parametrize(
    ("attacks", "stages"),
    [
        (("apgd-ce", "apgd-t"), ("joined", "apgd-ce", "parts", "apgd-t")),
        (("square",), ("joined", "parts", "square")),
        ((), ("joined", "parts")),
    ],
)
def test_thousands_of_steps_come_after_the_first_hundred(attacks: tuple[str, ...], stages: tuple[str, ...]) -> None:
    assert in_order(("joined", "parts"), attacks) == stages
    assert in_order((), attacks) == attacks


def test_images_of_parts_are_made_once_for_all_mixtures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second mixture of the same parents runs no attack in this stage, and its verdicts are those without what was kept."""
    first = case(mixture(0.6), tmp_path / "first", tmp_path / "shared")
    judged(first, "clean", "apgd-ce", "parts")
    kept = sorted((tmp_path / "shared").iterdir())
    assert len(kept) == 4 * first.plan.shards, "two parts, two attacks"
    alone = judged(case(mixture(0.8), tmp_path / "alone"), "clean", "apgd-ce", "parts")

    def never(*_: object) -> Tensor:
        raise AssertionError("an attack was run")

    found = case(mixture(0.8), tmp_path / "second", tmp_path / "shared")
    before = judged(found, "clean", "apgd-ce")
    monkeypatch.setattr("robustray.judging.bench.Bench._in_pieces", never)
    again = [*before, *judged(found, "parts")]

    def broken(shards: list[Shard]) -> dict[tuple[str, int], list[bool]]:
        return {(shard.attack, shard.shard): shard.broken.tolist() for shard in shards}

    assert broken(again) == broken(alone)


def test_in_memory_too(tmp_path: Path) -> None:
    """Judged on arrays, a mixture has the verdicts that it has on the images of a source."""
    model = mixture(0.3, hard=True)
    found = case(model, tmp_path / "a")
    x, y = found.images(0)
    shards = {stage: found.shard(stage, 0) for stage in found.plan.stages}
    verdicts = judge(model, x, y, PLAN.threat, "apgd-ce", tmp_path / "b", shard_size=50)
    assert verdicts.broken_by.tolist().count("parts") == int(shards["parts"].broken.sum()) > 0
    assert int(verdicts.robust_correct.sum()) == 50 - sum(int(shard.broken.sum()) for shard in shards.values())


def test_a_damaged_file_of_images_is_made_again(tmp_path: Path) -> None:
    model = mixture()
    wanted = judged(case(model, tmp_path / "a", tmp_path / "shared"), "clean", "apgd-ce", "parts")
    for path in (tmp_path / "shared").iterdir():
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2])
    again = judged(case(model, tmp_path / "b", tmp_path / "shared"), "clean", "apgd-ce", "parts")
    assert [shard.broken.tolist() for shard in again] == [shard.broken.tolist() for shard in wanted]


def test_what_hides_gradients_is_broken_through_its_parts(tmp_path: Path) -> None:
    """A one-hot accurate part passes no gradient, so APGD sees a flat mixture below alpha = 1/2; its parts show it."""
    hard = mixture(0.3, hard=True)
    blind = Case(hard, "0" * 64, PLAN, "validation", tmp_path / "x", shard_size=100, device="cpu")
    clean = blind.shard("clean", 0)
    apgd = blind.shard("apgd-ce", 0)
    parts = blind.shard("parts", 0)
    assert parts.broken.sum() > 0.25 * len(apgd.survivors), "what APGD on the whole left"
    assert len(parts.survivors) < 0.5 * len(clean.survivors)


def test_no_gradient_is_needed_where_nothing_stands(tmp_path: Path) -> None:
    parts = through_parts.Parts.of([], None)
    assert not parts
    x = torch.rand(3, 1, 8, 8)
    plan = Plan.of(PLAN, "0" * 64, "validation")
    same = parts.attacked(
        plan,
        0,
        x,
        torch.zeros(3).long(),
        torch.ones(3, dtype=torch.bool),
        lambda *a: x,
        lambda z: z[:, 0, 0, 0] >= 0,
        None,
    )
    assert torch.equal(same, x)


def test_a_part_of_one_mixture_alone_is_attacked_where_the_whole_stands(tmp_path: Path) -> None:
    """Shared parts are attacked wherever they are right, so that what is kept is a function of them."""
    g, h = (copy.deepcopy(trained(seed)) for seed in (0, 1))
    whole = Mixture(g, h, Scale(2.0), PowerMap(1.0, 2.0, -0.5), 0.7)
    x, y = case(whole.eval().requires_grad_(False), tmp_path).images(0)
    with torch.no_grad():
        standing = whole(x).argmax(1) == y
    first = standing.nonzero()[0, 0]
    attacked: dict[str, list[int]] = {"shared": [], "alone": []}

    def run(attack: str, part: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        alone = isinstance(part.model, Bypassed)
        attacked["alone" if alone else "shared"].append(len(x))
        return x

    def stands(x_adv: Tensor) -> Tensor:
        return torch.eq(torch.arange(len(x_adv)), first)

    parts = through_parts.Parts.of(list(whole.parts()), None)
    parts.attacked(Plan.of(PLAN, "0" * 64, "validation", mixture=True), 0, x, y, standing, run, stands, None)
    assert attacked["alone"] == [1, 1], "one image stands"
    right = [int((part(x).argmax(1) == y).sum()) for part in list(whole.parts())[:2]]
    assert attacked["shared"] == [right[0], right[0], right[1], right[1]]
