"""Numbers of the authors' own code: moves of weights, average and worst cases, the Hessian's ends (Stutz et al., 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustray import weight_space
from robustray.attacks.threats import Threat
from robustray.measures.hessian_products import End, Hessian, extremes
from robustray.measures.robust_loss import losses_at
from robustray.measures.weights import Batch, Movable, joint_ascent
from tests.conftest import Golden
from tests.robustray.golden import close, tiny

Read = Callable[[str], Golden]
both_models = pytest.mark.parametrize("name", ["plain", "bn"])
LAYERS = ("conv.weight", "conv.bias", "fc.weight", "fc.bias")
PEAK = 2.0**-26
"""The root of float64's precision: closer than that to where a loss is highest, which of two points is the higher one is
up to the rounding of a processor's own kernels."""


@pytest.fixture
def numbers(golden: Read) -> Golden:
    return golden("10_flatness_hessian")


def movable(numbers: Golden, name: str) -> Movable:
    found = Movable(tiny(numbers, f"{name}/w", norm=name == "bn").eval())
    assert numbers[f"{name}/attacked_parameter_names"].tolist() == list(LAYERS)
    assert [tuple(each.shape) for each in found.home] == [numbers[f"{name}/w/{layer}"].shape for layer in LAYERS]
    return found


def batch(numbers: Golden, name: str) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(numbers[f"{name}/x"]), torch.from_numpy(numbers[f"{name}/y"])


def recorded(numbers: Golden, group: str, home: list[Tensor], how: Any, xi: float, first: int = 0) -> list[Tensor]:
    """nu of the draws that an original made, from one on."""
    found, each = [], 1 if how == "sphere" else 2
    for layer, weight in enumerate(home):
        at = first + each * layer
        noise = torch.from_numpy(numbers[f"{group}/noise/{at}_normal"]).view_as(weight)
        u = (
            torch.ones(())
            if how == "sphere"
            else torch.from_numpy(numbers[f"{group}/noise/{at + 1}_uniform"]).squeeze()
        )
        found.append(weight_space.move(noise, u.to(noise), weight, xi, how))
    return found


def there(numbers: Golden, group: str, home: list[Tensor], nu: list[Tensor], slack: float = 0) -> bool:
    """Whether w + nu are the weights of a group."""
    return all(
        close(weight + move, numbers[f"{group}/{layer}"], slack)
        for weight, move, layer in zip(home, nu, LAYERS, strict=True)
    )


@both_models
@pytest.mark.parametrize(("variant", "how"), [("sphere", "sphere"), ("ball", "ball"), ("norm", "radius")])
def test_random_moves(numbers: Golden, name: str, variant: str, how: Any) -> None:
    group, home = f"{name}/init_layerwise_l2_uniform_{variant}", movable(numbers, name).home
    nu = recorded(numbers, group, home, how, numbers[f"{group}/set/xi"].item())
    assert there(numbers, f"{group}/out/w_initialised", home, nu)


@both_models
def test_projections(numbers: Golden, name: str) -> None:
    group, home = f"{name}/projection_layerwise_l2", movable(numbers, name).home
    before = [torch.from_numpy(numbers[f"{group}/in/perturbation/{layer}"]) for layer in LAYERS]
    nu = weight_space.projected(before, home, numbers[f"{group}/set/xi"].item())
    assert there(numbers, f"{group}/out/w_projected", home, nu)


@both_models
def test_steps_relative_to_a_layer(numbers: Golden, name: str) -> None:
    group, home = f"{name}/gradient_normalization_layerwise_relative_l2", movable(numbers, name).home
    gradients: list[Tensor | None] = [torch.from_numpy(numbers[f"{group}/in/grad/{layer}"]) for layer in LAYERS]
    steps = weight_space.ascended([torch.zeros_like(weight) for weight in home], gradients, home, 1)
    for step, layer in zip(steps, LAYERS, strict=True):
        assert close(step, numbers[f"{group}/out/grad/{layer}"])


@both_models
def test_the_average_case(numbers: Golden, name: str) -> None:
    group, at, (x, y) = f"{name}/average_case", movable(numbers, name), batch(numbers, name)
    reference, losses = losses_at(at.model, x, y).loss.mean().item(), []
    for attempt in range(numbers[f"{group}/set/attempts"].item()):
        nu = recorded(numbers, group, at.home, "sphere", numbers[f"{group}/set/xi"].item(), first=4 * attempt)
        losses.append(losses_at(at.move(nu), x, y).loss.mean().item())
        assert losses[-1] == pytest.approx(numbers[f"{group}/out/loss_attempt{attempt}"].item(), rel=1e-9)
    assert reference == pytest.approx(numbers[f"{name}/reference_loss_all_examples"].item(), rel=1e-9)
    assert np.mean(losses) - reference == pytest.approx(numbers[f"{group}/out/flatness_all_examples"].item(), rel=1e-8)


@both_models
def test_the_joint_worst_case(numbers: Golden, name: str) -> None:
    """The original keeps the last point; it takes as many steps from the same start."""
    group, at, (x, y) = f"{name}/worst_case_robust", movable(numbers, name), batch(numbers, name)
    options = {
        key: numbers[f"{group}/set/{key}"].item() for key in ("xi", "epochs", "epsilon", "input_lr", "weight_lr")
    }
    z, u = (torch.from_numpy(numbers[f"{group}/noise/{draw}"]) for draw in ("8_randn", "9_uniform"))
    delta = options["epsilon"] * u * z / z.abs().amax(1, keepdim=True)
    here = Batch(x, y, x + delta.view_as(x))
    points = list(
        joint_ascent(
            at, [here], Threat(norm="linf", eps=options["epsilon"]),
            recorded(numbers, group, at.home, "radius", options["xi"]), xi=options["xi"], steps=options["epochs"],
            weight_step=options["weight_lr"], step=options["input_lr"] / options["epsilon"],
        )
    )  # fmt: skip
    assert points[-2].loss == pytest.approx(-numbers[f"{group}/out/last_recorded_errors"].mean(), rel=1e-9)
    assert points[-1].loss == pytest.approx(numbers[f"{group}/out/loss_joint"].item(), rel=1e-9)
    assert there(numbers, f"{group}/out/w_perturbed", at.home, points[-1].nu)
    assert close(here.x_adv - x, numbers[f"{group}/out/input_perturbation"])


@both_models
@pytest.mark.parametrize("variant", ["worst_case", "worst_case_small"])
def test_steps_and_projections_of_the_worst_case(numbers: Golden, name: str, variant: str) -> None:
    """With the original's order of things: the first gradient at w, the last point never looked at, w a candidate too."""
    group, at, (x, y) = f"{name}/{variant}", movable(numbers, name), batch(numbers, name)
    xi, rate = numbers[f"{group}/set/xi"].item(), numbers[f"{group}/set/base_lr"].item()
    losses = []
    for attempt in range(numbers[f"{group}/set/attempts"].item()):
        nu = recorded(numbers, group, at.home, "radius", xi, first=8 * attempt)
        seen = [torch.zeros_like(weight) for weight in at.home]
        best, kept = -np.inf, seen
        for _ in range(numbers[f"{group}/set/epochs"].item()):
            at.move(seen)
            for weight in at.weights:
                weight.requires_grad_()
            loss = torch.nn.functional.cross_entropy(at.model(x), y)
            slopes: list[Tensor | None] = list(torch.autograd.grad(loss, at.weights))
            for weight in at.weights:
                weight.requires_grad_(False)
            if loss.item() > best:
                best, kept = loss.item(), seen
            nu = weight_space.projected(weight_space.ascended(nu, slopes, at.home, rate), at.home, xi)
            seen = nu
        losses.append(losses_at(at.move(kept), x, y).loss.mean().item())
        assert losses[-1] == pytest.approx(numbers[f"{group}/out/loss_attempt{attempt}"].item(), rel=1e-8)
        if attempt == 0:  # the one whose weights were kept
            assert there(numbers, f"{group}/out/w_attempt{attempt}", at.home, kept, slack=PEAK)
        lengths = [move.norm().item() for move in kept]
        np.testing.assert_allclose(lengths, numbers[f"{group}/out/layer_norms_attempt{attempt}"], rtol=1e-8)
    rise = max(losses) - numbers[f"{name}/reference_loss_all_examples"].item()
    # theirs has 1e-12 inside one of the two logarithms
    assert rise == pytest.approx(numbers[f"{group}/out/flatness_all_examples"].item(), rel=1e-5)


@both_models
@pytest.mark.parametrize("variant", ["worst_case", "worst_case_small"])
def test_the_worst_case_finds_no_less(numbers: Golden, name: str, variant: str) -> None:
    """The original takes its first gradient elsewhere and never looks at the last point: no trajectory to compare."""
    group, at, (x, y) = f"{name}/{variant}", movable(numbers, name), batch(numbers, name)
    xi, steps = numbers[f"{group}/set/xi"].item(), numbers[f"{group}/set/epochs"].item()
    found = 0.0
    for attempt in range(numbers[f"{group}/set/attempts"].item()):
        nu = recorded(numbers, group, at.home, "radius", xi, first=8 * attempt)
        rate = numbers[f"{group}/set/base_lr"].item()
        points = joint_ascent(at, [Batch(x, y, x)], None, nu, xi=xi, steps=steps, weight_step=rate, step=0)
        found = max(found, *(point.loss for point in points))
    assert found >= 0.99 * numbers[f"{group}/out/perturbed_loss_max"].item()


@both_models
@pytest.mark.parametrize("which", ["all_parameters", "tensors_with_dim_over_1"])
def test_the_ends_of_the_spectrum(numbers: Golden, name: str, which: str) -> None:
    model, (x, y) = tiny(numbers, f"{name}/w", norm=name == "bn").eval(), batch(numbers, name)
    parameters = [each for each in model.parameters() if which == "all_parameters" or each.ndim > 1]
    hessian = Hessian(model, parameters, lambda: [(x[:3], y[:3]), (x[3:], y[3:])], len(x))
    assert hessian.size == numbers[f"{name}/hessian/{which}/n_parameters"].item()
    ends: dict[str, End] = {"top4": "LA", "bottom4": "SA"}
    for end, code in ends.items():
        expected = numbers[f"{name}/hessian/{which}/{end}"]
        np.testing.assert_allclose(extremes(hessian, 4, code, 100)[0], expected, rtol=1e-3)
    if which == "tensors_with_dim_over_1":  # their own routine, both ends in one ascending row
        low, high = (extremes(hessian, 2, code, 100)[0] for code in ("SA", "LA"))
        theirs = numbers[f"{name}/hessian/original_iterative_k4_both_ends"]
        np.testing.assert_allclose([*low, *high[::-1]], theirs, rtol=1e-2)
