"""Attacks that judge: what is kept of a run, PGD-tau as published, and attacks beside `pgd`, with closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.attacks import Attack, Pgd, Threat, losses
from robustray.attacks.fgsm import Fgsm
from robustray.attacks.multi_targeted import MultiTargeted
from robustray.attacks.norms import Norm
from robustray.attacks.pgd import StepSize
from robustray.attacks.pma import Pma
from robustray.errors import UserError
from tests.robustray.made import batch, generator, linear, network


def right(images: int = 48, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    """A network, images, and labels of which all but one are what it says."""
    model, (x, _) = network(seed=seed).eval(), batch(images, seed=seed + 1)
    with torch.no_grad():
        y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5
    return model, x, y


def passed(model: nn.Module, attack: Attack, x: Tensor, y: Tensor, threat: Threat) -> list[Tensor]:
    """Every x' that an attack of one run asks the model about, in order, and in the end its result."""
    seen: list[Tensor] = []
    hook = model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    found = attack(model, x, y, threat, generator=generator())
    hook.remove()
    return [*seen, found]


def test_probability_margin_by_hand() -> None:
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7]], dtype=torch.float64)
    y = torch.tensor([0, 1])
    torch.testing.assert_close(losses.probability_margin(p.log() + 3, y), torch.tensor([-0.2, 0.6]).double())


@given(seed=st.integers(0, 999))
def test_probability_margin_is_positive_where_an_image_is_misclassified(seed: int) -> None:
    logits = torch.randn(9, 4, generator=generator(seed), dtype=torch.float64) * 5
    y = torch.arange(9) % 4
    found = losses.probability_margin(logits, y)
    assert torch.equal(found > 0, logits.argmax(1) != y)
    assert found.abs().max() <= 1


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("keep", ["misclassified", "worst"])
def test_what_is_kept_of_a_run(keep: str, loss: str) -> None:
    """Written down image by image over every x' of the run, the start and the last included."""
    model, x, y = right()
    attack = Pgd.model_validate({"steps": 5, "loss": loss, "keep": keep, "step_size": {"of_eps": 0.9}})
    *seen, found = passed(model, attack, x, y, Threat(eps=0.1))
    assert len(seen) == 6
    chosen = set()
    for number, label in enumerate(y):
        ranks = []
        for x_adv in seen:
            logits = model(x_adv[number, None])
            wrong = bool(logits.argmax(1) != label) and keep == "misclassified"
            climbed = F.cross_entropy(logits, label[None]) if loss == "ce" else losses.margin(logits, label[None])
            ranks.append((wrong, float(climbed.detach())))
        worst = max(range(6), key=lambda step: ranks[step])
        assert torch.equal(found[number], seen[worst][number])
        chosen.add(worst)
    assert len(chosen) > 2


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_highest_loss_never_falls_with_steps_or_restarts(norm: Norm) -> None:
    """Image by image, as more steps and restarts come after the same first ones."""
    model, x, y = right()
    threat, before = Threat(norm=norm, eps={"linf": 0.1, "l2": 0.8}[norm]), None
    for steps, restarts in ((0, 1), (2, 1), (4, 1)):
        attack = Pgd(steps=steps, restarts=restarts, loss="ce", keep="worst")
        loss = F.cross_entropy(model(attack(model, x, y, threat, generator=generator())), y, reduction="none")
        assert before is None or bool((loss >= before).all())
        before = loss
    for restarts in (2, 3):
        attack = Pgd(steps=4, restarts=restarts, loss="ce", keep="worst")
        loss = F.cross_entropy(model(attack(model, x, y, threat, generator=generator())), y, reduction="none")
        assert before is not None
        assert bool((loss >= before).all())
        assert bool((loss > before).any())
        before = loss


def test_restarts_keep_the_larger_loss_where_both_misclassify() -> None:
    """And once an image is misclassified it stays so, however many restarts follow."""
    model, x, y = right()
    before: tuple[Tensor, Tensor] | None = None
    for restarts in (1, 2, 4):
        attack = Pgd(steps=2, restarts=restarts, loss="ce", keep="misclassified")
        logits = model(attack(model, x, y, Threat(eps=0.05), generator=generator()))
        wrong, loss = logits.argmax(1) != y, F.cross_entropy(logits, y, reduction="none")
        if before is not None:
            both = wrong & before[0]
            assert bool((wrong | ~before[0]).all())
            assert bool((loss[both] >= before[1][both]).all())
        before = wrong, loss


def test_a_start_outside_the_ball_is_no_x_that_is_kept() -> None:
    model, x, y = right()
    for steps in (0, 1):
        attack = Pgd(steps=steps, start="gaussian", sigma=5, keep="worst")
        assert Threat(eps=0.05).inside(attack(model, x, y, Threat(eps=0.05), generator=generator()), x).all()


@pytest.mark.parametrize("tau", [0, 1, 2, 6, None])
@pytest.mark.parametrize("start", ["none", "uniform"])
def test_published_pgd_tau(tau: int | None, start: str) -> None:
    """As the published script, image by image: it goes on, and takes a misclassified x' whose loss has risen, tau + 1 times."""
    model, x, y = right(seed=3)
    options = {
        "steps": 6,
        "loss": "ce",
        "start": start,
        "tau": tau,
        "tau_rule": "flipped",
        "step_size": {"of_eps": 0.4},
    }
    *seen, found = passed(model, Pgd.model_validate(options), x, y, Threat(eps=0.1))
    never = 0
    for number, label in enumerate(y):
        kept, highest, left = x[number], -torch.inf, 99 if tau is None else tau
        flips = 0
        for x_adv in seen:
            logits = model(x_adv[number, None])
            loss, wrong = float(F.cross_entropy(logits, label[None]).detach()), bool(logits.argmax(1) != label)
            flips += wrong
            if loss > highest and wrong and left >= 0:
                kept, highest, left = x_adv[number], loss, left - 1
        assert torch.equal(found[number], kept)
        if not flips:
            assert torch.equal(found[number], x[number]), "an image that is never misclassified stays as it is"
            never += 1
    assert 0 < never < len(y)


@pytest.mark.parametrize("restarts", [1, 3])
def test_pgd_tau_without_an_end_is_the_best_misclassified_x(restarts: int) -> None:
    """With tau at least the number of steps, it is `keep: misclassified` where that one is, and x elsewhere."""
    model, x, y = right(seed=3)
    threat, options = Threat(eps=0.1), {"steps": 5, "loss": "ce", "restarts": restarts}
    kept = Pgd.model_validate(options | {"keep": "misclassified"})(model, x, y, threat, generator=generator())
    wrong = model(kept).argmax(1) != y
    expected = torch.where(wrong[:, None, None, None], kept, x)
    for tau in (5, 50, None):
        attack = Pgd.model_validate(options | {"tau": tau, "tau_rule": "flipped"})
        assert torch.equal(attack(model, x, y, threat, generator=generator()), expected)
    assert 0 < wrong.sum() < len(y)


def test_pgd_tau_says_itself_what_is_kept() -> None:
    with pytest.raises(ValidationError, match="leave keep at last"):
        Pgd(tau=1, tau_rule="flipped", keep="worst")


@pytest.mark.parametrize("options", [{"keep": "worst"}, {"keep": "misclassified"}, {"tau_rule": "flipped"}])
def test_keeping_needs_a_loss_of_each_image(options: dict[str, Any]) -> None:
    model, (x, y) = network(), batch()
    with pytest.raises(UserError, match=r"one number for the whole batch: set attack\.loss"):
        Pgd(**options)(model, x, y, Threat(eps=0.1), objective=lambda outputs, _: outputs.logits.sum())


def lines(classes: int, images: int = 12) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear classifier, its weights, images with room in the box, and its own labels."""
    weight = torch.randn(classes, 10, generator=generator(4), dtype=torch.float64)
    x = 0.4 + 0.2 * torch.rand(images, 1, 1, 10, generator=generator(5), dtype=torch.float64)
    model = linear(weight)
    return model, weight, x, model(x).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [
        Fgsm(),
        Fgsm(loss="pm"),
        Pgd(steps=1, loss="pm", step_size=StepSize(of_eps=2), start="none", keep="worst"),
        MultiTargeted(targets=1, steps=2, step_size=StepSize(of_eps=1), start="none"),
    ],
    ids=["fgsm", "fgsm-pm", "pgd", "multi_targeted"],
)
def test_two_classes_of_a_line_are_attacked_exactly(attack: Attack, norm: Norm) -> None:
    """The margin z_other - z_y rises by eps * ||w_other - w_y|| in the dual norm, and cannot rise further."""
    model, weight, x, y = lines(2)
    threat = Threat(norm=norm, eps=0.05)
    found = losses.margin(model(attack(model, x, y, threat, generator=generator())), y)
    gap = weight[1] - weight[0]
    most = losses.margin(model(x), y) + 0.05 * torch.linalg.vector_norm(gap, {"linf": 1, "l2": 2}[norm])
    torch.testing.assert_close(found, most, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_many_classes_of_a_line_are_attacked_exactly(norm: Norm) -> None:
    """max over j of z_j - z_y + eps ||w_j - w_y||_dual: one run for each wrong class finds it, and no attack more."""
    model, weight, x, y = lines(5)
    threat = Threat(norm=norm, eps=0.05)
    gaps = weight[None] - weight[y][:, None]
    reach = model(x) - model(x).gather(1, y[:, None])
    reach = reach + 0.05 * torch.linalg.vector_norm(gaps, {"linf": 1, "l2": 2}[norm], dim=2)
    most = reach.scatter(1, y[:, None], -torch.inf).amax(1)
    whole = MultiTargeted.model_validate({"targets": 4, "steps": 2, "step_size": {"of_eps": 1}, "start": "none"})
    found = losses.margin(model(whole(model, x, y, threat, generator=generator())), y)
    torch.testing.assert_close(found, most, rtol=1e-6, atol=1e-6)
    for other in (Fgsm(), Pma(steps=10), Pgd(steps=5, loss="pm", keep="worst")):
        assert (losses.margin(model(other(model, x, y, threat, generator=generator())), y) <= most + 1e-9).all()


@pytest.mark.parametrize("seed", range(3))
def test_many_targets_break_what_none_breaks(seed: int) -> None:
    """Every image that the untargeted attack breaks in as many steps from the same start."""
    model, x, y = right(64, seed)
    threat, options = Threat(eps=0.06), {"steps": 3, "step_size": {"of_eps": 0.5}}
    alone = Pgd.model_validate(options | {"loss": "margin"})(model, x, y, threat, generator=generator())
    every = MultiTargeted.model_validate(options | {"targets": 4})(model, x, y, threat, generator=generator())
    by_one, by_all = (model(x_adv).argmax(1) != y for x_adv in (alone, every))
    assert bool((by_all | ~by_one).all())
    assert 0 < by_one.sum() <= by_all.sum() < len(y)


def test_the_nearest_class_is_not_the_one_that_can_be_reached() -> None:
    """z = (0, -0.1 + x_1 / 2, -0.2 + 10 x_2): within 0.05 class 2 is reached, but from x the margin climbs toward class 1."""
    weight, bias = torch.tensor([[0, 0], [0.5, 0], [0, 10]]).double(), torch.tensor([0, -0.35, -5.2]).double()
    model, x, y = linear(weight, bias), torch.full((1, 1, 1, 2), 0.5).double(), torch.tensor([0])
    alone = Pgd(loss="margin", steps=9, start="none", keep="misclassified")(model, x, y, Threat(eps=0.05))
    every = MultiTargeted(targets=2, steps=9, start="none")(model, x, y, Threat(eps=0.05))
    assert model(alone).argmax(1) == y
    assert model(every).argmax(1) == 2


def test_the_stages_of_the_probability_margin_attack() -> None:
    """Steps fall from 2 eps to 0 in each half; on a line the first half moves one term of the margin, the second both."""
    model, weight, x, y = lines(3, 4)
    threat = Threat(norm="l2", eps=1e-4)  # so small that gradients stay what they are
    attack = Pma(steps=8, loss="margin")
    starts = torch.stack([x, x])
    steps = [list(attack._steps(y, 1, run)) for run in range(2)]
    lengths = [size for _, size in steps[0]]
    assert lengths[:4] == lengths[4:]
    assert lengths[0] == 2
    assert lengths == sorted(lengths[:4], reverse=True) * 2
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    attack(model, x, y, threat, start=starts)
    assert len(seen) == attack.passes - 2 * 8
    nearest = (model(x).scatter(1, y[:, None], -torch.inf)).argmax(1)
    for run, along in enumerate((-weight[y], weight[nearest])):
        moved = (seen[9 * run + 1] - x).flatten(1)
        torch.testing.assert_close(moved, 1e-4 * along / along.norm(dim=1, keepdim=True), rtol=0, atol=1e-9)


def test_more_starts_than_runs_are_refused() -> None:
    model, (x, y) = network(), batch()
    for attack, runs in ((Pma(steps=2), 2), (MultiTargeted(targets=2), 3)):
        with pytest.raises(ValueError, match=f"{runs + 1} starts were given for restarts: {runs}"):
            attack(model, x, y, Threat(eps=0.1), start=torch.stack([x] * (runs + 1)))
