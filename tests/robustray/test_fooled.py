"""Can the judge be fooled? What seems more robust than it is, is flagged or pushed down; what is honest has no flag."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.attacks import Pgd, Threat
from robustray.attacks.pgd import StepSize
from robustray.data import Digits
from robustray.judging import gradients, judge
from robustray.judging.flags import found
from robustray.testing.trained import Small, over, suite
from robustray.verdicts import Verdicts, read_shards
from tests.robustray.made import generator, linear

THREAT = Threat(eps=0.15)
IMAGES = 40
PAIR = "apgd-ce+apgd-t"  # what the rest of AutoAttack leaves is at most what these leave


def digits(split: str, count: int) -> tuple[Tensor, Tensor]:
    kept = Digits(validation=200).load(split)  # type: ignore[arg-type]
    return torch.from_numpy(kept.images[:count]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(
        kept.labels[:count]
    )


@pytest.fixture(scope="session")
def small() -> dict[str, Small]:
    return suite(*digits("train", 1000), THREAT, width=48)


@pytest.fixture(scope="module")
def seen() -> tuple[Tensor, Tensor]:
    return digits("validation", IMAGES)


def threat_of(model: Small) -> Threat:
    return over(THREAT) if model.name == "overfitted" else THREAT


def judged(model: Small, seen: tuple[Tensor, Tensor], version: str, folder: Path) -> tuple[Verdicts, tuple[str, ...]]:
    """Verdicts and flags."""
    verdicts = judge(model.model, *seen, threat_of(model), version, folder)
    (inside,) = folder.iterdir()
    return verdicts, found(read_shards(inside, ("apgd-ce", "apgd-t", "fab-t", "square")))


def left(model: nn.Module, found: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.as_tensor(model(found).argmax(1) == y)


def known(model: Small, seen: tuple[Tensor, Tensor], others: list[nn.Module]) -> float:
    """What many attacks leave together: every target, long steps and short, on the model and on others that answer like it."""
    x, y = seen
    stands = left(model.model, x, y)
    for source in (model.model, *others):
        for loss, restarts in (("ce", 1), ("margin", 1), ("margin-targeted", 9)):
            for size in (0.25, 0.05):
                attack = Pgd(loss=loss, steps=30, step_size=StepSize(of_eps=size), start="none", restarts=restarts)
                stands &= left(model.model, attack(source, x, y, threat_of(model)), y)
    return float(stands.float().mean())


@pytest.mark.parametrize(("name", "version"), [("natural", PAIR), ("adversarial", PAIR), ("trades", "standard")])
def test_honest_models_have_no_flags(
    name: str, version: str, small: dict[str, Small], seen: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    assert small[name].honest
    verdicts, flags = judged(small[name], seen, version, tmp_path)
    assert flags == ()
    assert verdicts.clean_accuracy > 0.8
    assert (verdicts.robust_accuracy > 0.3) is (name != "natural")


FLAGGED = [
    ("quantised", "apgd-ce", {"gradients_lead_nowhere", "vanished_gradients"}),
    ("quantised", PAIR, {"gradients_lead_nowhere", "zero_gradients"}),
    ("stepped", "apgd-ce", {"gradients_lead_nowhere", "vanished_gradients"}),
    ("saturated", "apgd-ce", {"vanished_gradients"}),
    ("noisy", "apgd-ce", {"randomised"}),
]


@pytest.mark.parametrize(("name", "version", "flags"), FLAGGED)
def test_what_hides_its_gradients_is_flagged(
    name: str, version: str, flags: set[str], small: dict[str, Small], seen: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """Whatever the version; most of these by a look before any attack."""
    assert set(judged(small[name], seen, version, tmp_path)[1]) == flags


@pytest.mark.parametrize("name", ["dummy classes", "sparsified", "saturated", "overfitted"])
def test_what_shows_its_gradients_is_pushed_down(
    name: str, small: dict[str, Small], seen: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    """FGSM is fooled by a tenth of the images and more; the judge finds the least that is known, and raises no false alarm."""
    model = small[name]
    on = [small[model.built_on].model] if model.built_on else []
    verdicts, flags = judged(model, seen, PAIR, tmp_path)
    fgsm = gradients.first_step(model.model, *seen, threat_of(model)).left / IMAGES
    assert verdicts.robust_accuracy <= known(model, seen, on) + 2 / IMAGES
    assert verdicts.robust_accuracy <= fgsm - 0.1
    assert flags == ()


def test_every_trick_is_tried(small: dict[str, Small]) -> None:
    tried = {name for name, *_ in FLAGGED} | {"dummy classes", "sparsified", "overfitted"}
    assert tried == {name for name, model in small.items() if not model.honest}


# The two looks, in closed form.


@settings(deadline=None)
@given(seed=st.integers(0, 999), eps=st.floats(0.001, 0.1), norm=st.sampled_from(["linf", "l2"]))
def test_one_step_is_the_worst_there_is_for_two_linear_classes(seed: int, eps: float, norm: str) -> None:
    """It stands where the margin is above eps times the dual norm of the difference of weights, away from the box's edges."""
    weight = torch.randn(2, 12, generator=generator(seed), dtype=torch.float64)
    x = 0.3 + 0.4 * torch.rand(30, 1, 3, 4, generator=generator(seed + 1), dtype=torch.float64)
    y = torch.randint(0, 2, (30,), generator=generator(seed + 2))
    apart = weight[0] - weight[1]
    margin = (x - 0.5).flatten(1) @ apart * torch.where(y == 0, 1.0, -1.0)
    worst = eps * (apart.abs().sum() if norm == "linf" else apart.norm())
    model = linear(weight, -0.5 * weight.sum(1)).eval().requires_grad_(False)
    clear = (margin - worst).abs() > 1e-9
    step = gradients.first_step(model, x[clear], y[clear], Threat(norm=norm, eps=eps))
    assert step.left == int((margin[clear] > worst).sum())
    assert step.vanished == 0


@pytest.mark.parametrize("count", [0, 7, gradients.PIECE + 5])
def test_gradients_vanish_beyond_what_float32_tells_from_zero(count: int) -> None:
    """e^-110 is nothing in float32, e^-80 is something."""
    total = gradients.PIECE + 10
    x = torch.full((total, 1, 1, 1), 0.9)
    x[count:] = 80 / 110 * 0.9
    model = linear(torch.tensor([[55 / 0.9], [-55 / 0.9]])).eval().requires_grad_(False)
    y = torch.zeros(total, dtype=torch.int64)
    step = gradients.first_step(model, x, y, Threat(eps=0.01))
    assert (step.vanished, step.left) == (count, total)
    assert gradients.first_step(model, x, y + 1, Threat(eps=0.01)).vanished == 0, "what is wrong anyway hides nothing"


class Backwards(nn.Module):
    """Answers of a model, gradients that point the other way."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        z = torch.as_tensor(self.model(x))
        return 2 * z.detach() - z


@pytest.mark.parametrize(("images", "nowhere"), [(gradients.ENOUGH, True), (gradients.ENOUGH - 1, False)])
def test_gradients_that_lead_nowhere(images: int, nowhere: bool) -> None:
    x = torch.rand(images, 1, 3, 4, generator=generator(3))
    model = linear(torch.randn(4, 12, generator=generator(4))).eval().requires_grad_(False)
    y = model(x).argmax(1)
    assert len(set(y.tolist())) > 1
    assert not gradients.lead_nowhere(model, x, y)
    assert gradients.lead_nowhere(Backwards(model), x, y) is nowhere
    assert not gradients.lead_nowhere(Backwards(model), x, (y + 1) % 4), "nothing is right: nothing was asked"


def test_one_answer_for_all_is_not_asked() -> None:
    """A network that died has no gradient and nothing to hide."""
    x = torch.rand(20, 1, 3, 4, generator=generator(3))
    dead = linear(torch.zeros(4, 12), torch.tensor([1.0, 0.0, 0.0, 0.0])).eval().requires_grad_(False)
    assert not gradients.lead_nowhere(dead, x, torch.zeros(20, dtype=torch.int64))
