"""Closed forms of single defenses, and the limits in which one is another."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from robustray import Loss, Step
from robustray.attacks import Pgd, Threat
from robustray.attacks._divergences import divergence, of_logits
from robustray.attacks.base import Outputs
from robustray.defenses import Adversarial, Natural, Trades
from tests.robustray.made import batch, generator, network


def step() -> Step:
    x, y = batch()
    return Step(network(), x, y, Pgd(steps=3).bind(Threat(eps=0.1)), generator=generator())


def near(x: torch.Tensor) -> torch.Tensor:
    return (x + 0.1 * (2 * torch.rand(x.shape, generator=generator(7), dtype=x.dtype) - 1)).clamp(0, 1)


def logits(x: torch.Tensor) -> torch.Tensor:
    """What the network of `step` says in training mode."""
    output: torch.Tensor = network().train()(x)
    return output


def test_natural_is_cross_entropy_of_clean_images() -> None:
    one = step()
    assert Natural().perturb(one) is one.x
    torch.testing.assert_close(Natural().loss(one, one.x).total, F.cross_entropy(logits(one.x), one.y))


def test_trades_without_weight_is_cross_entropy() -> None:
    one = step()
    loss = Trades(beta=0).loss(one, near(one.x))
    torch.testing.assert_close(loss.total, F.cross_entropy(logits(one.x), one.y))
    assert loss.parts["robust"] == 0


@pytest.mark.parametrize("beta", [0.5, 6.0])
def test_trades_in_closed_form(beta: float) -> None:
    one = step()
    x_adv = near(one.x)
    p, q = logits(one.x).softmax(1), logits(x_adv).softmax(1)
    divergence = (p * (p / q).log()).sum(1).mean()  # over classes the sum, over the batch the mean
    loss = Trades(beta=beta).loss(one, x_adv)
    torch.testing.assert_close(loss.parts["robust"], beta * divergence)
    torch.testing.assert_close(loss.parts["clean"], F.cross_entropy(logits(one.x), one.y))


def test_trades_at_the_clean_images_has_no_robust_term() -> None:
    one = step()
    assert Trades().loss(one, one.x.clone()).parts["robust"].abs() < 1e-12


def test_trades_attacks_from_a_gaussian() -> None:
    """With a uniform start its attack would be another one: the authors' is published with the defense."""
    assert Trades().attack_with(None) == Pgd(start="gaussian")
    assert Adversarial().attack_with(None) == Pgd()


def test_adversarial_is_cross_entropy_at_the_perturbed_images() -> None:
    one = step()
    x_adv = near(one.x)
    torch.testing.assert_close(Adversarial().loss(one, x_adv).total, F.cross_entropy(logits(x_adv), one.y))


def test_adversarial_with_clean_images_mixes_batch_statistics() -> None:
    one = step()
    x_adv = near(one.x)
    both = F.cross_entropy(logits(torch.cat([one.x, x_adv])), torch.cat([one.y, one.y]))
    loss = Adversarial(keep_clean=True).loss(one, x_adv)
    torch.testing.assert_close(loss.total, both)
    assert set(loss.parts) == {"clean", "robust"}


def test_an_objective_is_climbed_unless_the_attack_has_a_loss() -> None:
    x, y = batch()
    away = lambda outputs, _: -F.cross_entropy(outputs.logits, y)  # noqa: E731  # the opposite of an attack
    model, threat = network(), Threat(eps=0.1)

    def loss_after(attack: Pgd) -> float:
        x_adv = Step(model, x, y, attack.bind(threat), generator=generator()).attack(away)
        return F.cross_entropy(model.eval()(x_adv), y).item()

    clean = F.cross_entropy(model.eval()(x), y).item()
    assert loss_after(Pgd()) < clean < loss_after(Pgd(loss="ce"))


def test_an_objective_sees_logits_and_images() -> None:
    x, y = batch()
    seen: list[tuple[torch.Size, bool]] = []

    def objective(outputs: Outputs, x_adv: torch.Tensor) -> torch.Tensor:
        seen.append((outputs.logits.shape, x_adv.requires_grad))
        total: torch.Tensor = outputs.logits.sum()
        return total

    Step(network(), x, y, Pgd(steps=2).bind(Threat(eps=0.1))).attack(objective)
    assert seen == [(torch.Size([6, 5]), True)] * 2


def test_a_loss_has_parts() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Loss()


def test_trades_stays_finite_where_a_clean_probability_underflows() -> None:
    """softmax([0, 150, 3]) has a zero in float32, whose logarithm is not: the gradient is of p log p, not of 0 * inf."""
    clean = torch.tensor([[0.0, 150.0, 3.0]], requires_grad=True)
    robust = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    loss = divergence("kl", of_logits(clean), of_logits(robust)).mean()
    got = torch.autograd.grad(loss, [clean, robust])
    exact = [tensor.detach().double().requires_grad_() for tensor in (clean, robust)]
    p, q = (F.log_softmax(tensor, 1) for tensor in exact)
    wanted = torch.autograd.grad((p.exp() * (p - q)).sum(), exact)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-30)
