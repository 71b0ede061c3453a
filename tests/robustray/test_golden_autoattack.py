"""AutoAttack as its authors ran it: stored verdicts of a small model, and their own package beside ours, seed by seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyautoattack import AutoAttack
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.attacks.versions import VERSIONS
from robustray.data.digits import Digits
from robustray.judging import judge
from robustray.verdicts import CLEAN, read_shards
from tests.conftest import Golden
from tests.robustray.golden import tiny
from tests.robustray.judged import learned

Read = Callable[[str], Golden]
NAMED = {"Linf": "linf", "L2": "l2"}
WITHIN = {"apgd-ce": 5, "apgd-dlr": 5, "apgd-t": 3, "fab-t": 3, "square": 2}
"""The README's tolerances of 200; the count after Square is the ensemble's."""


def case(norm: str, golden: Read) -> tuple[Golden, nn.Module, Tensor, Tensor, Threat]:
    numbers = golden("12_autoattack")
    model = tiny(numbers, "w", norm=False, dtype=torch.float32)
    threat = Threat.model_validate({"norm": NAMED[norm], "eps": numbers[f"{norm}/set/eps"].item()})
    return numbers, model, torch.from_numpy(numbers["x"]), torch.from_numpy(numbers["y"]), threat


@pytest.mark.parametrize("norm", list(NAMED))
def test_standard_is_that_of_its_authors(norm: str, golden: Read, tmp_path: Path) -> None:
    """The count within 2 of 200, after each attack within its own tolerance, every image away from the boundary exactly."""
    numbers, model, x, y, threat = case(norm, golden)
    verdicts = judge(model, x, y, threat, "standard", tmp_path)
    np.testing.assert_array_equal(verdicts.clean, numbers["clean_correct"])
    expected = numbers[f"{norm}/standard/robust_flags_after_square"]
    assert abs(int(verdicts.robust.sum()) - int(expected.sum())) <= 2

    distance = numbers[f"{norm}/fab_min_distance_estimate"]
    clear = (distance < 0.95 * threat.eps) | (distance > 1.05 * threat.eps)
    assert clear.sum() > 170
    np.testing.assert_array_equal(verdicts.robust[clear], expected[clear])
    assert not verdicts.robust[distance < 0.95 * threat.eps].any()
    assert verdicts.robust[distance > 1.05 * threat.eps].all()

    (folder,) = tmp_path.iterdir()
    left = dict.fromkeys((CLEAN, *VERSIONS["standard"]), 200)
    for shard in read_shards(folder, VERSIONS["standard"]):
        for stage in list(left)[list(left).index(shard.attack) :]:
            left[stage] -= int(shard.broken.sum())
    for attack in VERSIONS["standard"]:
        flags = numbers[f"{norm}/standard/robust_flags_after_{attack}"]
        assert abs(left[attack] - int(flags.sum())) <= WITHIN[attack], attack


@pytest.mark.parametrize("norm", list(NAMED))
@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-dlr", "apgd-t"])
def test_each_attack_on_its_own(attack: str, norm: str, golden: Read, tmp_path: Path) -> None:
    numbers, model, x, y, threat = case(norm, golden)
    verdicts = judge(model, x, y, threat, attack, tmp_path)
    expected = numbers[f"{norm}/individual/robust_flags_{attack}"]
    assert abs(int(verdicts.robust.sum()) - int(expected.sum())) <= WITHIN[attack]
    columns = numbers[f"{norm}/seed_spread/columns"].tolist()
    seeds = numbers[f"{norm}/seed_spread/robust_counts_of_200"][:, columns.index(attack)]
    assert seeds.min() - WITHIN[attack] <= verdicts.robust.sum() <= seeds.max() + WITHIN[attack]


@pytest.mark.parametrize("norm", list(NAMED))
def test_stored_images_are_what_their_flags_say(norm: str, golden: Read, tmp_path: Path) -> None:
    """In the ball and the box, misclassified where the final flag is false; joined, they break just these images."""
    numbers, model, x, y, threat = case(norm, golden)
    x_adv = torch.from_numpy(numbers[f"{norm}/standard/x_adv"])
    robust = numbers[f"{norm}/standard/robust_flags_after_square"]
    assert bool(threat.inside(x_adv, x).all())
    with torch.no_grad():
        predicted = model(x_adv).argmax(1)
    assert predicted.tolist() == numbers[f"{norm}/standard/y_adv"].tolist()
    assert (predicted == y).tolist() == robust.tolist()


# Their package beside ours.


@lru_cache
def images() -> tuple[Tensor, Tensor]:
    """The first 200 test images of digits."""
    data = Digits().load("test")
    return torch.from_numpy(data.images[:200]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(data.labels[:200])


def theirs(model: nn.Module, eps: float, seed: int, **options: Any) -> NDArray[np.bool_]:
    """Which images plain AutoAttack leaves standing."""
    x, y = images()
    with torch.random.fork_rng():
        suite = AutoAttack(model, norm="Linf", eps=eps, seed=seed, **options)
        if options["version"] == "custom":
            suite.apgd.n_restarts = 1  # as standard has it
        x_adv, _ = suite.run_standard_evaluation(x, y)
    with torch.no_grad():
        return (model(x_adv).argmax(1) == y).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("hidden", "trained_at", "eps"), [(12, 0.03, 0.12), (24, 0.06, 0.12), (64, 0.12, 0.15)])
def test_we_differ_from_their_seeds_no_more_than_they_do(
    hidden: int, trained_at: float, eps: float, tmp_path: Path
) -> None:
    """Image by image, where APGD leaves room to differ: three models of other widths and defenses, five seeds each."""
    model, *_ = learned(hidden, trained_at)
    x, y = images()
    seeds = [theirs(model, eps, seed, version="custom", attacks=["apgd-ce"]) for seed in range(5)]
    apart = [int((a != b).sum()) for a, b in combinations(seeds, 2)]
    found = judge(model, x, y, Threat(eps=eps), "apgd-ce", tmp_path)
    from_us = [int((seed != found.robust).sum()) for seed in seeds]
    assert 20 < found.robust.sum() < 180
    assert max(from_us) <= max(apart) + 1
    counts = [int(seed.sum()) for seed in seeds]
    assert min(counts) - 1 <= int(found.robust.sum()) <= max(counts) + 1


def test_standard_beside_theirs(tmp_path: Path) -> None:
    """Freezing and seeds of our own change no more than another seed of theirs would."""
    model, *_ = learned()
    x, y = images()
    found = judge(model, x, y, Threat(eps=0.1), "standard", tmp_path)
    robust = theirs(model, 0.1, 0, version="standard")
    with torch.no_grad():
        assert found.clean.tolist() == (model(x).argmax(1) == y).tolist()
    assert 20 < robust.sum() < found.clean.sum() - 20  # a case that can go wrong either way
    assert int((found.robust != robust).sum()) <= 2
