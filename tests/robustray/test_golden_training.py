"""Numbers of the authors' own code: perturbed weights, the steps made from them, averages over a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from robustray import Step
from robustray.defenses import Adversarial, Defense, Rst, Trades
from robustray.testing.minibatch import minibatch
from robustray.training import Awp, Ema, Plain, Sgd, Update
from robustray.training.average import Average
from tests.conftest import Golden
from tests.robustray.golden import RENORM, TRADES_L2, bound, close, from_noise, tiny
from tests.robustray.made import state

Read = Callable[[str], Golden]
both_models = pytest.mark.parametrize("name", ["plain", "bn"])


class Run:
    """One batch through a defense and an update, from an original's start: where the gradient was taken, and the step."""

    def __init__(self, numbers: Golden, group: str, defense: Defense, update: Update, **attack: object) -> None:
        name = group.split("/")[0]
        self.model = tiny(numbers, f"{name}/w", norm=name == "bn")
        x, y = torch.from_numpy(numbers[f"{name}/x"]), torch.from_numpy(numbers[f"{name}/y"])
        step = Step(self.model, x, y, bound(group, numbers, **attack), start=from_noise(group, numbers, x))
        self.x_adv = x
        self.places: list[dict[str, Tensor]] = []

        def perturb() -> Tensor:
            self.x_adv = defense.perturb(step)
            return self.x_adv

        def value(x_adv: Tensor) -> Tensor:
            self.places.append(dict(state(self.model)))
            return defense.loss(step, x_adv).total

        self.loss = update.bind(self.model)(minibatch(self.model, x, value, attack=perturb)).total

    def step(self, rule: Sgd, rate: float) -> None:
        """An optimiser step of the gradient that is there."""
        built = rule.build(self.model)
        rule.set(built, rate, 0)
        built.step()


VARIANTS = [
    ("at", Adversarial(), {}, 0.0),
    ("at_momentum_wd", Adversarial(), {}, 0.0),
    ("trades", Trades(beta=6), {}, 0.0),
    ("trades_momentum_wd", Trades(beta=6), {}, 0.0),
    ("trades_l2", Trades(beta=6), TRADES_L2, RENORM),
]


@both_models
@pytest.mark.parametrize(
    ("variant", "defense", "attack", "slack"), VARIANTS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_awp(name: str, variant: str, defense: Defense, attack: dict[str, object], slack: float, golden: Read) -> None:
    """The attack, w + nu, loss and gradient there, and w after the step: as far as a variant stores them."""
    numbers, group = golden("09_awp"), f"{name}/{variant}"
    run = Run(numbers, group, defense, Awp(xi=numbers[f"{group}/set/gamma"].item()), **attack)
    home, there = run.places

    def expected(key: str, weight: str) -> NDArray[Any] | None:
        return numbers.get(f"{group}/out/{key}/{weight}")

    if f"{group}/out/x_adv" in numbers:
        assert np.abs(run.x_adv.numpy() - numbers[f"{group}/out/x_adv"]).max() <= 1e-10 + slack
        assert close(run.loss, numbers[f"{group}/out/loss_at_perturbed"], slack)
    compared = 0
    for weight, value in run.model.named_parameters():
        if (nu := expected("awp_diff", weight)) is not None:
            assert close((there[weight] - home[weight]) / numbers[f"{group}/set/gamma"].item(), nu, 1e-10 + slack)
        elif expected("w_perturbed", weight) is not None:
            assert torch.equal(there[weight], home[weight])  # a bias, or of batch norm
        if (perturbed := expected("w_perturbed", weight)) is not None:
            assert close(there[weight], perturbed, slack), weight
            gradient = expected("grad_at_perturbed", weight)
            assert gradient is not None
            assert value.grad is not None
            assert close(value.grad, gradient, slack), weight
            compared += 1
        assert torch.equal(value, home[weight])
    assert compared == (0 if "momentum" in variant else len(list(run.model.parameters())))
    if "at" in variant.split("_") and "momentum" not in variant:  # TRADES' authors spend a third forward, on x again
        for buffer, now in run.model.named_buffers():
            np.testing.assert_allclose(now.numpy(), numbers[f"{group}/out/buf_after/{buffer}"], rtol=1e-10)

    momentum, decay = (
        numbers.get(f"{group}/set/sgd_{key}", np.zeros(())).item() for key in ("momentum", "weight_decay")
    )
    rate = numbers[f"{group}/set/sgd_lr"].item()
    run.step(Sgd(momentum=momentum, nesterov=False, weight_decay=decay), rate)
    for weight, value in run.model.named_parameters():
        shrunk = rate * decay * (there[weight] - home[weight])  # the original's decay acts at w + nu, and reaches nu
        final = expected("w_final", weight)
        assert final is not None
        assert close(value - shrunk, final, slack), weight


@both_models
@pytest.mark.parametrize("steps", [1, 3])
def test_awp_in_several_steps(name: str, steps: int, golden: Read) -> None:
    """The same repository's other script: steps of a share of the radius, and no way to leave the ball."""
    numbers, group = golden("09_awp"), f"{name}/at_single_file_{steps}iter"
    model = tiny(numbers, f"{name}/w", norm=name == "bn").train()
    x_adv, y = torch.from_numpy(numbers[f"{group}/in/x_adv"]), torch.from_numpy(numbers[f"{name}/y"])
    places: list[dict[str, Tensor]] = []

    def value(images: Tensor) -> Tensor:
        places.append(dict(state(model)))
        return F.cross_entropy(model(images), y)

    assert numbers[f"{group}/set/nb_iter"].item() == steps
    update = Awp(xi=numbers[f"{group}/set/eta"].item(), steps=steps, step_size=1 / steps)
    update.bind(model)(minibatch(model, x_adv, value))
    assert len(places) == steps + 1
    for weight, now in model.named_parameters():
        assert close(places[-1][weight], numbers[f"{group}/out/w_perturbed/{weight}"]), weight
        assert close(now, numbers[f"{group}/out/w_restored/{weight}"]), weight


@both_models
@pytest.mark.parametrize("variant", ["linf", "linf_steps", "l2"])
def test_one_step_of_sgd(name: str, variant: str, golden: Read) -> None:
    """Of a routine that sums over its 8 images where ours takes the mean: 8 times the rate."""
    numbers, group = golden("08_rst_advbeta"), f"{name}/{variant}"
    attack = {"mode": "train"} | ({"projection": "box_ball"} if variant == "l2" else {})
    run = Run(numbers, group, Rst(lam=2), Plain(), **attack)
    run.step(Sgd(momentum=0, weight_decay=0), 8 * numbers[f"{group}/set/sgd_lr"].item())
    for weight, value in run.model.named_parameters():
        assert close(value, numbers[f"{group}/out/w_after_sgd/{weight}"]), weight


@pytest.mark.parametrize("variant", ["warmup0", "warmup2", "warmup2p5"])
def test_training_with_an_average(variant: str, golden: Read) -> None:
    """Five batches: the model after every step, the average after every step, its buffers at the end of the epoch.

    The original gives batch norm another momentum in the first step, and makes the average's buffers the model's own at
    the end of an epoch: here they are copies, and stay what they are when the model goes on.
    """
    numbers = golden("13_ema")
    model = tiny(numbers, "bn/w", norm=True).train()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    rule, group = Sgd(momentum=0, weight_decay=0), f"bn/{variant}"
    built, update = rule.build(model), Plain().bind(model)
    average = Average(model, Ema(decay=0.995, warmup=numbers[f"{group}/set/warmup_steps"].item()))
    x, y = torch.from_numpy(numbers["bn/batches_x"]), torch.from_numpy(numbers["bn/batches_y"])

    def train(t: int) -> None:
        norm.momentum = numbers[f"{group}/step{t}/bn_momentum"].item()
        update(minibatch(model, x[t - 1], lambda images: F.cross_entropy(model(images), y[t - 1])))
        rule.set(built, numbers[f"{group}/set/sgd_lr"].item(), 0)
        built.step()

    for t in range(1, 1 + len(x)):
        train(t)
        average.update(t)
        for key, value in model.state_dict().items():
            assert close(value, numbers[f"bn/model_trajectory/step{t}/{key}"]), (t, key)
        for key, weight in average.model.named_parameters():
            assert close(weight, numbers[f"{group}/step{t}/wa_after/{key}"]), (t, key)
    for key, weight in average.model.named_parameters():
        assert close(weight, numbers[f"{group}/wa_final/{key}"]), key
    for key, buffer in average.model.named_buffers():
        np.testing.assert_allclose(buffer.numpy(), numbers[f"{group}/wa_buf_after_epoch/{key}"], rtol=1e-10)

    assert numbers[f"{group}/wa_bn_buffer_is_same_object_as_model"]
    held = state(average.model)
    train(1)
    assert all(torch.equal(value, held[key]) for key, value in state(average.model).items())
