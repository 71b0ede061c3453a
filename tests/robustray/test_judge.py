"""Judging: AutoAttack in shards, the same verdicts however often it is interrupted."""

from __future__ import annotations

import copy
import itertools
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks import Threat, _autoattack
from robustray.errors import UserError
from robustray.evaluation import judge
from robustray.evaluation._trial import TrialJudge
from robustray.evaluation.plan import Plan
from robustray.models._normalise import Normalise
from robustray.training import Trainer
from robustray.trial import Judge
from robustray.verdicts import CLEAN, Shard, Verdicts, read_shard, read_shards
from tests.robustray.made import JUDGE, batch, flags, generator, linear, network, same, state, trial

THREAT = Threat(eps=0.1)
PAIR = ("apgd-ce", "apgd-dlr")
VERSION = "+".join(PAIR)


@lru_cache
def learned() -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small model trained against one step on digits, and 60 images of validation."""
    data = trial().judge.data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10)  # small: Square asks it 5,000 times
        model = nn.Sequential(Normalise(*data.statistics()), nn.Sequential(*layers))
    train, test = data.load("train"), data.load("validation")
    x = torch.from_numpy(train.images).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(train.labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(40):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
        x_adv = (x.detach() + 0.06 * slope.sign()).clamp(0, 1)
        x = x.detach()
        optimiser.zero_grad()
        F.cross_entropy(model(x_adv), y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    images = torch.from_numpy(test.images).permute(0, 3, 1, 2).float() / 255
    return model.requires_grad_(False), images, torch.from_numpy(test.labels)


def test_standard_equals_autoattack(tmp_path: Path) -> None:
    """Freezing and seeds of our own change the count by no more than another seed of theirs would."""
    from pyautoattack import AutoAttack

    model, x, y = learned()
    found = judge(model, x, y, THREAT, "standard", tmp_path)
    with torch.random.fork_rng():
        theirs = AutoAttack(model.eval(), norm="Linf", eps=THREAT.eps, seed=0, version="standard", device="cpu")
        x_adv, _ = theirs.run_standard_evaluation(x, y)
    with torch.no_grad():
        clean, robust = model(x).argmax(1) == y, model(x_adv).argmax(1) == y
    assert found.clean.tolist() == clean.tolist()
    assert 5 < int(robust.sum()) < int(clean.sum()) - 5  # a case that can go wrong either way
    assert abs(int(found.robust.sum()) - int(robust.sum())) <= 2


def test_verdicts_are_what_the_model_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predicted again by hand from the very images the attacks returned; each attack sees what stood before it."""
    model, x, y = learned()
    returned: list[tuple[str, Tensor, Tensor, Tensor]] = []
    run = _autoattack.run

    def spy(attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Tensor:
        x_adv = run(attack, model, x, y, threat, seed)
        returned.append((attack, x.clone(), y.clone(), x_adv.clone()))
        return x_adv

    monkeypatch.setattr(_autoattack, "run", spy)
    shards: list[Shard] = []
    verdicts = judge(model, x, y, THREAT, VERSION, tmp_path, shard_size=25, progress=shards.append)
    model.eval()
    assert [shard.attack for shard in shards] == [CLEAN, *PAIR] * 3
    calls = iter(returned)
    for shard in shards:
        rows = torch.from_numpy(shard.image).long()
        images = x[rows]
        if shard.attack != CLEAN:
            attack, seen, labels, images = next(calls)
            assert attack == shard.attack
            assert torch.equal(seen, x[rows])
            assert torch.equal(labels, y[rows])
        with torch.no_grad():
            predicted = model(images).argmax(1)
        assert shard.predicted.tolist() == predicted.tolist()
        assert shard.broken.tolist() == (predicted != y[rows]).tolist()
        assert shard.label.tolist() == y[rows].tolist()
    for earlier, later in itertools.pairwise(shards):
        if later.attack != CLEAN:
            assert later.image.tolist() == earlier.survivors.tolist()
    assert verdicts.image.tolist() == list(range(len(x)))
    assert verdicts.label.tolist() == y.tolist()
    assert verdicts.robust.sum() == sum(len(shard.survivors) for shard in shards if shard.attack == PAIR[-1])


def contents(folder: Path) -> dict[str, list[Any]]:
    """Every verdict there is, by file, without the clock."""
    (inside,) = folder.iterdir()
    return {
        f"{shard.attack}-{shard.shard}": [shard.image.tolist(), shard.predicted.tolist(), shard.broken.tolist(),
                                          {k: v for k, v in shard.info.items() if k != "seconds"}]
        for shard in read_shards(inside, PAIR)
    }  # fmt: skip


def same_verdicts(a: Verdicts, b: Verdicts) -> bool:
    return bool(a.image.tolist() == b.image.tolist() and a.broken_by.tolist() == b.broken_by.tolist())


def test_interrupted_anywhere(tmp_path: Path) -> None:
    """Killed after each shard in turn, files lost, a file damaged: the same verdicts in the end, whatever the world draws."""
    model, x, y = learned()
    whole = judge(model, x, y, THREAT, VERSION, tmp_path / "whole", shard_size=25)

    class Killed(Exception):
        pass

    def kill(shard: Shard) -> None:
        if shard.info["seconds"] not in seen:
            seen.add(shard.info["seconds"])
            raise Killed

    seen: set[float] = set()
    kills = 0
    while True:
        torch.manual_seed(kills)
        try:
            parts = judge(model, x, y, THREAT, VERSION, tmp_path / "parts", shard_size=25, progress=kill)
            break
        except Killed:
            kills += 1
    assert kills == 9
    assert same_verdicts(parts, whole)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")

    (inside,) = (tmp_path / "parts").iterdir()
    for lost in ("clean-0000", "apgd-ce-0001", "apgd-dlr-0002", "apgd-dlr-0001"):
        (inside / f"{lost}.parquet").unlink()
    (inside / "apgd-ce-0002.parquet").write_bytes(b"PAR1 damaged")
    assert same_verdicts(judge(model, x, y, THREAT, VERSION, tmp_path / "parts", shard_size=25), whole)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_every_attack_on_every_shard_has_a_seed_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at every run: verdicts are a function of the fingerprint."""
    model, x, y = learned()
    seeds: list[int] = []

    def spy(attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Tensor:
        seeds.append(seed)
        return x

    monkeypatch.setattr(_autoattack, "run", spy)
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        judge(model, x, y, THREAT, VERSION, tmp_path / folder, shard_size=25, seed=seed)
    first, again, other = seeds[:6], seeds[6:12], seeds[12:]
    assert first == again
    assert len({*first, *other}) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_nothing_is_done_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = learned()
    first = judge(model, x, y, THREAT, "apgd-ce", tmp_path)

    def forbidden(*_: object) -> Tensor:
        raise AssertionError("an attack was run again")

    monkeypatch.setattr(_autoattack, "run", forbidden)
    assert same_verdicts(judge(model, x, y, THREAT, "apgd-ce", tmp_path), first)
    with pytest.raises(AssertionError, match="run again"):
        judge(model, x, y, THREAT, "apgd-ce", tmp_path / "elsewhere")


def test_everything_that_matters_is_in_the_fingerprint(tmp_path: Path) -> None:
    """One folder each; and an attack list that begins alike is another judgement."""
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


def test_the_world_stays_as_it_was(tmp_path: Path) -> None:
    """The authors' code seeds torch globally, in a fork; the model's modes and flags come back."""
    model, x, y = learned()
    model.train()
    model[1].eval()
    torch.manual_seed(5)
    before, weights, world = flags(model), state(model), torch.get_rng_state()
    numpy_state = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    judge(model, x[:8], y[:8], THREAT, "apgd-ce+fab-t", tmp_path)
    assert torch.equal(torch.get_rng_state(), world)
    assert np.random.get_state()[1].tolist() == numpy_state  # type: ignore[index]  # noqa: NPY002
    assert flags(model) == before
    assert same(state(model), weights)
    assert all(weight.grad is None or not weight.grad.isnan().any() for weight in model.parameters())


def test_every_attack_runs_and_draws_nothing_from_the_world(tmp_path: Path) -> None:
    """On a linear model, where the truth is known: the margin over |w|_1 decides, and every attack finds most of it."""
    stream = generator(4)
    weight = torch.randn(5, 24, generator=stream)
    x = 0.3 + 0.4 * torch.rand(40, 1, 1, 24, generator=stream)
    model = linear(weight, -weight.sum(1) * 0.5).eval()
    y = model(x).argmax(1)
    eps = 0.01
    gaps = model(x).detach()
    top = gaps.gather(1, y[:, None])
    reach = eps * (weight[None] - weight[y][:, None]).abs().sum(2)
    truth = ((top - gaps - reach) > 0).logical_or(F.one_hot(y, 5).bool()).all(1)
    assert 10 < truth.sum() < 35
    for attack in ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t"):
        found = []
        for number in range(2):
            torch.manual_seed(number)
            found.append(judge(model, x, y, Threat(eps=eps), attack, tmp_path / f"{attack}{number}"))
        assert found[0].broken_by.tolist() == found[1].broken_by.tolist()
        robust = torch.from_numpy(found[0].robust)
        assert (robust | ~truth).all(), attack  # what stands by proof, stands
        missed = int((robust & ~truth).sum())  # apgd-ce picks one class to go for, and may pick the wrong one
        assert missed <= (5 if attack == "apgd-ce" else 1), attack


@pytest.mark.parametrize("shift", [0.5, -0.001, float("nan")])
def test_images_outside_the_range(shift: float, tmp_path: Path) -> None:
    x, y = batch(dtype=torch.float32)
    with pytest.raises(ValueError, match="normalisation"):
        judge(network(dtype=torch.float32), x.clamp(0.01, 1) - 0.01 + shift, y, THREAT, "apgd-ce", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["standrd", "apgd-ce+apgd", "", "apgd-ce+apgd-ce"])
def test_unknown_versions(version: str, tmp_path: Path) -> None:
    x, y = batch(dtype=torch.float32)
    with pytest.raises(UserError, match="version"):
        judge(network(dtype=torch.float32), x, y, THREAT, version, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("attack", "classes"), [("apgd-t", 3), ("apgd-dlr", 2)])
def test_too_few_classes(attack: str, classes: int, tmp_path: Path) -> None:
    model = network(classes=classes, dtype=torch.float32).eval()
    x, _ = batch(dtype=torch.float32)
    y = model(x).argmax(1)
    with pytest.raises(UserError, match=f"the model has {classes}"):
        judge(model, x, y, THREAT, attack, tmp_path)


@pytest.mark.parametrize("classes", [4, 5])
def test_fewer_than_ten_classes(classes: int, tmp_path: Path) -> None:
    """The authors' nine targets become as many as there are."""
    model = network(classes=classes, dtype=torch.float32).eval()
    x, _ = batch(dtype=torch.float32)
    y = model(x).argmax(1)
    verdicts = judge(model, x, y, THREAT, "apgd-t+fab-t", tmp_path)
    assert verdicts.clean.all()
    assert not verdicts.robust.all()


def test_nothing_left_to_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are wrong as they are, no attack is run, and every file is there all the same."""
    model, x, _y = learned()
    with torch.no_grad():
        wrong = (model.eval()(x).argmax(1) + 1) % 10
    monkeypatch.setattr(_autoattack, "run", lambda *_: pytest.fail("an attack was run on no images"))
    verdicts = judge(model, x, wrong, THREAT, "standard", tmp_path)
    assert not verdicts.clean.any()
    assert verdicts.robust_accuracy == 0
    (inside,) = tmp_path.iterdir()
    assert len(list(inside.glob("*.parquet"))) == 5


def test_a_lying_attack_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images outside the ball are no verdict, whatever an attack says of them."""
    model, x, y = learned()
    monkeypatch.setattr(_autoattack, "run", lambda attack, model, x, y, threat, seed: 1 - x)
    with pytest.raises(RuntimeError, match="apgd-ce broke images outside the linf ball"):
        judge(model, x, y, THREAT, "apgd-ce", tmp_path)
    (inside,) = tmp_path.iterdir()
    assert read_shard(inside, "apgd-ce", 0) is None


def test_an_attack_that_does_nothing_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = learned()
    monkeypatch.setattr(_autoattack, "run", lambda attack, model, x, y, threat, seed: x)
    verdicts = judge(model, x, y, THREAT, VERSION, tmp_path)
    assert verdicts.robust.tolist() == verdicts.clean.tolist()


def test_a_trained_trial(tmp_path: Path) -> None:
    """The selected weights on the judge's own list, shard by shard in any order of shards; other weights are refused."""
    config = trial(judge=JUDGE | {"version": list(PAIR)})
    report = Trainer(config, tmp_path / "t", device="cpu").run()
    worker = TrialJudge(
        tmp_path / "t", tmp_path / "j", "validation", shard_size=7, weights=report["weights"], device="cpu"
    )
    assert worker.plan.shards == 3
    with pytest.raises(RuntimeError, match="needs the verdicts of clean"):
        worker.shard("apgd-ce", 0)
    for number in (2, 0, 1):
        for attack in worker.attacks:
            worker.shard(attack, number)
    verdicts = Verdicts.read(worker.folder, PAIR)
    judged = config.judge.lists()[0]
    assert verdicts.image.tolist() == judged.tolist()
    assert verdicts.label.tolist() == config.judge.data.load("validation").labels[judged].tolist()
    with pytest.raises(RuntimeError, match="the record says 000000000000"):
        TrialJudge(tmp_path / "t", tmp_path / "j", "validation", shard_size=7, weights="0" * 64, device="cpu")


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
    plans = [
        Plan.of(options, "w", "validation"),
        Plan.of(options, "v", "validation"),
        Plan.of(options, "w", "test"),
        Plan.of(options, "w", "validation", shard_size=5),
        Plan.of(options.model_copy(update={"threat": Threat(eps=0.2)}), "w", "validation"),
        Plan.of(Judge.model_validate(JUDGE | {"version": "apgd"}), "w", "validation"),
        Plan.of(
            options.model_copy(update={"data": options.data.model_copy(update={"validation": 61})}), "w", "validation"
        ),
    ]
    assert len({plan.folder(tmp_path) for plan in plans}) == len(plans)
    assert Plan.of(options, "w", "validation").folder(tmp_path) == plans[0].folder(tmp_path)
    cheap = options.model_copy(update={"cheap": options.cheap.model_copy(update={"steps": 3}), "trials": "all"})
    assert Plan.of(cheap, "w", "validation").folder(tmp_path) == plans[0].folder(tmp_path)  # judges nothing else
    shutil.rmtree(tmp_path)


def test_a_batch_that_does_not_fit_is_attacked_in_fixed_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def small(attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Tensor:
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.cuda.OutOfMemoryError
        return x + 0.01 * torch.arange(len(x))[:, None, None, None] * 0

    model, x, y = learned()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero()[:8, 0]
    monkeypatch.setattr(_autoattack, "run", small)
    judge(model, x[right], y[right], Threat(eps=0.1), "apgd-ce", tmp_path)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    shards = [shard for folder in tmp_path.iterdir() for shard in read_shards(folder, ["apgd-ce"])]
    assert [shard.info["pieces"] for shard in shards] == [1, 4]


def test_one_image_that_does_not_fit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Tensor:
        raise torch.cuda.OutOfMemoryError

    model, x, y = learned()
    monkeypatch.setattr(_autoattack, "run", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        judge(model, x, y, Threat(eps=0.1), "apgd-ce", tmp_path)


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
