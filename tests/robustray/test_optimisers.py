"""Optimisers in closed form, what decays, and clipped weights."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from robustray.training import Adam, AdamW, Optimiser, Sgd, Trainer
from robustray.weight_space import split
from tests.robustray.made import generator, network, same, state, trial, variants


def slope_of_one(optimiser: Optimiser, rates: list[float], swing: float = 0) -> list[float]:
    """A weight that begins at 1 and always finds the slope 1, after every step."""
    layer, path = nn.Linear(1, 1, bias=False), list[float]()
    with torch.no_grad():
        layer.weight.fill_(1)
    built = optimiser.build(layer)
    for rate in rates:
        layer.weight.grad = torch.ones(1, 1)
        optimiser.set(built, rate, swing)
        built.step()
        path.append(layer.weight.item())
    return path


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [True, False])
def test_sgd_in_closed_form(momentum: float, nesterov: bool) -> None:
    """v <- m v + g, step v, or g + m v in Nesterov's form; decay adds to the slope."""
    weight, velocity, decay = 1.0, 0.0, 0.1
    expected = []
    for rate in (0.5, 0.2):
        slope = 1 + decay * weight
        velocity = momentum * velocity + slope
        weight -= rate * (slope + momentum * velocity if nesterov and momentum else velocity)
        expected.append(weight)
    found = slope_of_one(Sgd(momentum=momentum, nesterov=nesterov, weight_decay=decay), [0.5, 0.2])
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("cls", [Adam, AdamW])
def test_adam_in_closed_form(cls: type[Adam | AdamW]) -> None:
    """m and v are means with bias correction; the decay is part of the slope, or a shrinkage before the step."""
    beta1, beta2, epsilon, decay = 0.8, 0.9, 0.01, 0.1
    weight, mean, square = 1.0, 0.0, 0.0
    expected = []
    for t, rate in enumerate((0.5, 0.2, 0.1), start=1):
        slope = 1 + (decay * weight if cls is Adam else 0)
        weight *= 1 - (rate * decay if cls is AdamW else 0)
        mean = beta1 * mean + (1 - beta1) * slope
        square = beta2 * square + (1 - beta2) * slope**2
        weight -= rate * mean / (1 - beta1**t) / (math.sqrt(square / (1 - beta2**t)) + epsilon)
        expected.append(weight)
    built = cls(beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=decay)
    assert slope_of_one(built, [0.5, 0.2, 0.1]) == pytest.approx(expected, rel=1e-5)


@variants("optimiser", "optimiser")
def test_a_swing_is_another_momentum(optimiser: Optimiser) -> None:
    swung = optimiser.model_copy(
        update={"momentum" if isinstance(optimiser, Sgd) else "beta1": optimiser.base_momentum - 0.3}
    )
    rates = [0.1] * 5
    assert swung.base_momentum == optimiser.base_momentum - 0.3
    assert slope_of_one(optimiser, rates, swing=-0.3) == slope_of_one(swung, rates)
    assert slope_of_one(optimiser, rates) != slope_of_one(swung, rates) or not isinstance(optimiser, Sgd)


@variants("optimiser", "optimiser")
def test_what_decays(optimiser: Optimiser) -> None:
    """At a slope of zero nothing else moves: all parameters shrink, or those that are neither biases nor of norms."""
    for decays in ("all", "weights"):
        model = network()
        nn.init.constant_(model.get_parameter("4.bias"), 0.5)
        before = copy.deepcopy(model)
        chosen = optimiser.model_copy(update={"decays": decays, "weight_decay": 0.1})
        built = chosen.build(model)
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        chosen.set(built, 0.01, 0)
        built.step()
        shrunk = {
            name
            for (name, now), (_, then) in zip(model.named_parameters(), before.named_parameters(), strict=True)
            if (now.abs() < then.abs()).any()
        }
        assert shrunk >= {"0.weight", "4.weight"}
        assert (shrunk - {"0.weight", "4.weight"} == set()) == (decays == "weights")
        in_groups = [p for group in built.param_groups for p in group["params"]]
        assert {id(p) for p in in_groups} == {id(p) for p in model.parameters()}
        assert len(in_groups) == len(list(model.parameters()))


def test_decay_of_a_model_without_biases_and_norms() -> None:
    built = Sgd(decays="weights").build(nn.Linear(2, 2, bias=False))
    assert [group["weight_decay"] for group in built.param_groups] == [5e-4]


class Shifted(nn.Module):
    """p = 1 + w."""

    def forward(self, w: torch.Tensor) -> torch.Tensor:
        return 1 + w

    def right_inverse(self, p: torch.Tensor) -> torch.Tensor:
        return p - 1


def test_scales_and_biases_decay_in_no_parametrisation_when_weights_alone_do() -> None:
    """Of a scale of 1 + w the w is what a network trains, and it is no more a weight than the scale."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    for module, name in ((model[1], "weight"), (model[3], "bias"), (model[3], "weight")):
        parametrize.register_parametrization(module, name, Shifted())
    weights, rest = split(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in weights} == {"0.weight", "3.parametrizations.weight.original"}
    assert {names[id(p)] for p in rest} == {
        "0.bias",
        "1.bias",
        "1.parametrizations.weight.original",
        "3.parametrizations.bias.original",
    }


def test_weights_alone_decay_around_one() -> None:
    config = trial(model={"name": "resnet18", "width": 2, "scales": "around_one"}, optimiser={"decays": "weights"})
    model = config.model.build(config.judge.data)
    _, kept = config.optimiser.build(model).param_groups
    scales = {id(p) for name, p in model.named_parameters() if name.endswith("parametrizations.weight.original")}
    assert scales
    assert scales <= {id(p) for p in kept["params"]}
    assert kept["weight_decay"] == 0


@variants("optimiser", "optimiser")
def test_clipped(optimiser: Optimiser) -> None:
    """At the start and after every step, however large: scales of norms around 1, all else around 0."""
    model, reach = network(), 0.05
    chosen = optimiser.model_copy(update={"clip": reach})
    built = chosen.build(model)
    for _ in range(3):
        for name, weight in model.named_parameters():
            centre = 1 if name == "1.weight" else 0
            assert ((weight - centre).abs() <= reach + 1e-15).all(), name
            weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=weight.dtype)
        chosen.set(built, 1.0, 0)
        built.step()
    assert all(
        ((weight - float(name == "1.weight")).abs() > 0.999 * reach).any() for name, weight in model.named_parameters()
    )


@pytest.mark.parametrize(
    ("optimiser", "swing", "message"),
    [
        ({"name": "sgd", "momentum": 0.9}, 0.1, "out of 0 to 1"),
        ({"name": "sgd", "momentum": 0.0}, 0.05, "momentum_swing 0.05 takes"),
        ({"name": "adam", "beta1": 0.97}, 0.05, "momentum of 0.97"),
    ],
)
def test_a_momentum_that_swings_too_far(optimiser: dict[str, object], swing: float, message: str) -> None:
    schedule = {"name": "one_cycle", "epochs": 2, "momentum_swing": swing}
    with pytest.raises(ValueError, match=message):
        trial(optimiser=optimiser, schedule=schedule)
    assert trial(optimiser={"momentum": 0.9}, schedule=schedule | {"momentum_swing": 0.05})


@variants("optimiser", "optimiser")
@pytest.mark.parametrize("most", [0.01, 1.0, 1e6])
def test_the_norm_of_the_gradient_is_clipped_as_torch_does(optimiser: Optimiser, most: float) -> None:
    """The steps are those of gradients that torch.nn.utils.clip_grad_norm_ has clipped, over all groups together."""
    ours, theirs = network(), network()
    ours_built = optimiser.model_copy(update={"max_norm": most}).build(ours)
    theirs_built = optimiser.build(theirs)
    for step in range(3):
        for model in (ours, theirs):
            stream = generator(step)
            for weight in model.parameters():
                weight.grad = torch.randn(weight.shape, generator=stream, dtype=weight.dtype)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), most)
        for built in (ours_built, theirs_built):
            optimiser.set(built, 0.1, 0.0)
            built.step()
        assert same(state(ours), state(theirs))
        norm = torch.cat([weight.grad.flatten() for weight in ours.parameters() if weight.grad is not None]).norm()
        assert norm <= most * (1 + 1e-9)


def test_a_gradient_below_the_largest_norm_is_descended_bit_for_bit(tmp_path: Path) -> None:
    weights = {
        Trainer(trial(optimiser={"name": "sgd", "max_norm": most}), tmp_path / str(most), device="cpu").run()["weights"]
        for most in (None, 1e9)
    }
    assert len(weights) == 1
    short = Trainer(trial(optimiser={"name": "sgd", "max_norm": 1e-3}), tmp_path / "short", device="cpu").run()[
        "weights"
    ]
    assert short not in weights


@pytest.mark.parametrize("update", [{"name": "free", "replays": 2}, "sam", "awp"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_step_of_an_update_is_clipped(update: Any, precision: str, tmp_path: Path) -> None:
    """Without momentum and decay a step is at most rate * max_norm long, in every precision and with every update."""
    config = trial(
        update=update,
        precision=precision,
        optimiser={"name": "sgd", "momentum": 0, "weight_decay": 0, "max_norm": 1e-3},
        schedule={"name": "constant", "epochs": 1, "lr": 0.5},
        averaging="none",
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    before = torch.cat([weight.detach().flatten().clone() for weight in trainer.model.parameters()])
    lengths = []
    trainer.optimiser.register_step_post_hook(
        lambda *_: lengths.append(
            torch.cat([weight.detach().flatten().clone() for weight in trainer.model.parameters()])
        )
    )
    trainer.run()
    assert len(lengths) == 3 * config.update.descents
    for now in lengths:
        assert 0 < (now - before).norm() <= 0.5e-3 * 1.001
        before = now.clone()
