"""Judging: AutoAttack in shards, the same verdicts however often it is interrupted."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.attacks import Threat, autoattack
from robustray.errors import UserError
from robustray.judging import judge
from robustray.judging.case import Case
from robustray.judging.flags import found
from robustray.seeding import derive
from robustray.training import Trainer
from robustray.verdicts import CLEAN, Shard, Verdicts, read_shard, read_shards
from tests.robustray.judged import PAIR, THREAT, VERSION, contents, learned, same_verdicts
from tests.robustray.made import JUDGE, batch, flags, network, same, state, trial


def test_verdicts_are_what_the_model_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predicted again by hand from the very images the attacks returned; each attack sees what stood before it."""
    model, x, y = learned()
    returned: list[tuple[str, Tensor, Tensor, Tensor]] = []
    run = autoattack.run

    def spy(attack: str, model: nn.Module, x: Tensor, y: Tensor, *arguments: Any) -> tuple[Tensor, int]:
        x_adv, zero = run(attack, model, x, y, *arguments)
        returned.append((attack, x.clone(), y.clone(), x_adv.clone()))
        return x_adv, zero

    monkeypatch.setattr(autoattack, "run", spy)
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
    (inside,), (undisturbed,) = (tmp_path / "parts").iterdir(), (tmp_path / "whole").iterdir()
    assert contents(inside) == contents(undisturbed)
    assert len(contents(inside)) == 9

    for lost in ("clean-0000", "apgd-ce-0001", "apgd-dlr-0002", "apgd-dlr-0001"):
        (inside / f"{lost}.parquet").unlink()
    (inside / "apgd-ce-0002.parquet").write_bytes(b"PAR1 damaged")
    assert same_verdicts(judge(model, x, y, THREAT, VERSION, tmp_path / "parts", shard_size=25), whole)
    assert contents(inside) == contents(undisturbed)


def test_every_attack_on_every_shard_has_a_seed_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at every run: verdicts are a function of the fingerprint."""
    model, x, y = learned()
    seeds: list[int] = []

    def spy(
        attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int, strength: str
    ) -> tuple[Tensor, int]:
        seeds.append(seed)
        return x, 0

    monkeypatch.setattr(autoattack, "run", spy)
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

    monkeypatch.setattr(autoattack, "run", forbidden)
    assert same_verdicts(judge(model, x, y, THREAT, "apgd-ce", tmp_path), first)
    with pytest.raises(AssertionError, match="run again"):
        judge(model, x, y, THREAT, "apgd-ce", tmp_path / "elsewhere")


def test_the_world_stays_as_it_was(tmp_path: Path) -> None:
    """The authors' code seeds torch globally, in a fork; the model's modes and flags come back."""
    learnt, x, y = learned()
    model = copy.deepcopy(learnt).train().requires_grad_()
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


def test_nothing_left_to_attack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all are wrong as they are, no attack is run, and every file is there all the same."""
    model, x, _y = learned()
    with torch.no_grad():
        wrong = (model.eval()(x).argmax(1) + 1) % 10
    monkeypatch.setattr(autoattack, "run", lambda *_: pytest.fail("an attack was run on no images"))
    verdicts = judge(model, x, wrong, THREAT, "standard", tmp_path)
    assert not verdicts.clean.any()
    assert verdicts.robust_accuracy == 0
    (inside,) = tmp_path.iterdir()
    assert len(list(inside.glob("*.parquet"))) == 5


@pytest.mark.parametrize("lie", [lambda x: 1 - x, lambda x: x - 2, lambda x: x * torch.nan], ids=["far", "dark", "nan"])
def test_images_outside_the_threat_are_not_broken(
    lie: Callable[[Tensor], Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an attack says of them; that it did is said."""
    model, x, y = learned()
    monkeypatch.setattr(autoattack, "run", lambda attack, model, x, *rest: (lie(x), 0))
    verdicts = judge(model, x, y, THREAT, "apgd-ce", tmp_path)
    assert verdicts.robust.tolist() == verdicts.clean.tolist()
    (inside,) = tmp_path.iterdir()
    shard = read_shard(inside, "apgd-ce", 0)
    assert shard is not None
    with torch.no_grad():
        logits = model(lie(x))
        wrong = (logits.argmax(1) != y) | logits.isnan().any(1)
    assert shard.info["outside"] == int(wrong[torch.from_numpy(verdicts.clean)].sum()) > 0
    assert shard.predicted.tolist() == shard.label.tolist()
    assert "largest" not in shard.info
    assert found(read_shards(inside, ["apgd-ce"])) == ("outside",)


def test_images_inside_count_beside_images_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch in which one attack image of three breaks the rules: only that one is not counted."""
    model, x, y = learned()
    run = autoattack.run

    def cheats(attack: str, model: nn.Module, x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        x_adv, zero = run(attack, model, x, *rest)
        x_adv[::3] = 1 - x[::3]
        return x_adv, zero

    honest = judge(model, x, y, THREAT, "apgd-ce", tmp_path / "honest")
    monkeypatch.setattr(autoattack, "run", cheats)
    verdicts = judge(model, x, y, THREAT, "apgd-ce", tmp_path / "cheats")
    cheated = np.flatnonzero(honest.clean)[::3]
    assert verdicts.robust[cheated].all()
    others = np.setdiff1d(np.arange(len(x)), cheated)
    assert verdicts.robust[others].tolist() == honest.robust[others].tolist()
    assert not honest.robust[cheated].all()


def test_an_attack_that_does_nothing_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = learned()
    monkeypatch.setattr(autoattack, "run", lambda attack, model, x, *rest: (x, 0))
    verdicts = judge(model, x, y, THREAT, VERSION, tmp_path)
    assert verdicts.robust.tolist() == verdicts.clean.tolist()


def test_a_trained_trial(tmp_path: Path) -> None:
    """The selected weights on the judge's own list, shard by shard in any order of shards; other weights are refused."""
    config = trial(judge=JUDGE | {"version": list(PAIR)})
    report = Trainer(config, tmp_path / "t", device="cpu").run()
    worker = Case.of_trial(
        tmp_path / "t", tmp_path / "j", "validation", shard_size=7, weights=report["weights"], device="cpu"
    )
    assert worker.plan.shards == 3
    with pytest.raises(RuntimeError, match="needs the verdicts of clean"):
        worker.shard("apgd-ce", 0)
    for number in (2, 0, 1):
        for attack in worker.plan.stages:
            worker.shard(attack, number)
    verdicts = Verdicts.read(worker.folder, PAIR)
    judged = config.judge.lists()[0]
    assert verdicts.image.tolist() == judged.tolist()
    assert verdicts.label.tolist() == config.judge.data.load("validation").labels[judged].tolist()
    with pytest.raises(RuntimeError, match="the record says 000000000000"):
        Case.of_trial(tmp_path / "t", tmp_path / "j", "validation", shard_size=7, weights="0" * 64, device="cpu")


def test_a_batch_that_does_not_fit_is_attacked_in_fixed_halves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    run = autoattack.run

    def small(attack: str, model: nn.Module, x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.cuda.OutOfMemoryError
        return run(attack, model, x, *rest)

    model, x, y = learned()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).nonzero()[:8, 0]
    monkeypatch.setattr(autoattack, "run", small)
    halves = judge(model, x[right], y[right], THREAT, "apgd-ce", tmp_path)
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
    (folder,) = tmp_path.iterdir()
    assert [shard.info.get("pieces") for shard in read_shards(folder, ["apgd-ce"])] == [None, 4]
    assert 0 < halves.robust.sum() < 8
    by_hand = []
    for first in range(0, 8, 2):  # each piece as it is attacked by itself
        seed = derive(0, "apgd-ce", 0) % 2**31
        piece = slice(first, first + 2)
        x_adv, _ = run("apgd-ce", model, x[right][piece], y[right][piece], THREAT, seed)
        with torch.no_grad():
            by_hand += (model(x_adv).argmax(1) == y[right][piece]).tolist()
    assert halves.robust.tolist() == by_hand


def test_one_image_that_does_not_fit_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> Tensor:
        raise torch.cuda.OutOfMemoryError

    model, x, y = learned()
    monkeypatch.setattr(autoattack, "run", full)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        judge(model, x, y, THREAT, "apgd-ce", tmp_path)
