"""Updates in closed form: where the gradient is taken, how far away that is, and the way back."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray import weight_space
from robustray.attacks import Threat
from robustray.attacks.norms import Norm
from robustray.testing.minibatch import cross_entropy, minibatch, slopes
from robustray.training import Awp, EntropySgd, Free, Plain, Sam, Update, WeightNoise
from tests.robustray.made import batch, generator, network, same, state


def noisy() -> nn.Module:
    """A network with batch norm and dropout, in training mode."""
    return nn.Sequential(network(), nn.Dropout(0.3)).train()


class Quadratic(nn.Module):
    """f(w) = w H w / 2 over one matrix of weights, whatever the images are."""

    def __init__(self, size: int, seed: int = 0) -> None:
        super().__init__()
        root = torch.randn(size, size, generator=generator(seed), dtype=torch.float64)
        self.hessian = root @ root.T / size + torch.eye(size, dtype=torch.float64) / 2
        self.weight = nn.Parameter(torch.randn(size, 1, generator=generator(seed + 1), dtype=torch.float64))

    def value(self, _: Tensor) -> Tensor:
        return (self.weight * (self.hessian @ self.weight)).sum() / 2

    def descended(self, update: Update) -> Tensor:
        """The gradient that an update leaves."""
        update.bind(self)(minibatch(self, torch.zeros(1, 1, 1, 1), self.value))
        assert self.weight.grad is not None
        return self.weight.grad


def at_gradients(update: Update, model: nn.Module, x: Tensor, y: Tensor) -> list[dict[str, Tensor]]:
    """The weights at which an update asked for gradients, in order."""
    seen: list[dict[str, Tensor]] = []

    def value(x_adv: Tensor) -> Tensor:
        seen.append({name: weight.detach().clone() for name, weight in model.named_parameters()})
        return cross_entropy(model, y)(x_adv)

    update.bind(model)(minibatch(model, x, value))
    return seen


@pytest.mark.parametrize(
    "update",
    [Awp(xi=0), Awp(xi=0, steps=3), Sam(rho=0), WeightNoise(xi=0), EntropySgd(steps=0)],
    ids=lambda update: f"{update.name}",
)
def test_without_a_move_it_is_the_plain_gradient(update: Update) -> None:
    """Bit for bit, with dropout and batch norm: passes before the last leave no trace in masks and buffers."""
    ends = []
    for rule in (update, Plain()):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model, (x, y) = noisy(), batch()
            rule.bind(model)(minibatch(model, x, cross_entropy(model, y)))
            ends.append((slopes(model), state(model), {"draws": torch.get_rng_state()}))
    for one, other in zip(*ends, strict=True):
        assert same(one, other)


@pytest.mark.parametrize(("steps", "step_size"), [(1, 1.0), (3, 1.0), (4, 0.25), (5, 2.0)])
def test_awp_stays_in_its_ball(steps: int, step_size: float) -> None:
    """||nu_l|| <= xi ||w_l||, equal where the first step reaches it; biases and batch norm stay."""
    xi, (x, y) = 0.02, batch()
    model = network().eval()
    home, *climbed = at_gradients(Awp(xi=xi, steps=steps, step_size=step_size), model, x, y)
    assert len(climbed) == steps
    for name, start in home.items():
        lengths = [float((place[name] - start).norm() / start.norm()) for place in climbed]
        if start.ndim == 1:
            assert all(torch.equal(place[name], start) for place in climbed), name
        else:
            assert lengths[0] == pytest.approx(xi * min(1, step_size), rel=1e-12)
            assert all(length <= xi * (1 + 1e-12) for length in lengths)
            assert all(length > 0 for length in lengths)


def test_awp_climbs_and_comes_back() -> None:
    """One step: nu_l = xi ||w_l|| g_l / ||g_l|| exactly, where the loss is larger; the gradient is that at w + nu."""
    xi, model, (x, y) = 0.02, network().eval(), batch()
    value = cross_entropy(model, y)
    before = state(model)
    value(x).backward()  # type: ignore[no-untyped-call]
    plain = slopes(model)
    shifted = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in shifted.named_parameters():
            if weight.ndim > 1:
                weight.add_(xi * weight.norm() * plain[name] / plain[name].norm())
    there = cross_entropy(shifted, y)(x)
    there.backward()  # type: ignore[no-untyped-call]

    loss = Awp(xi=xi).bind(model)(minibatch(model, x, value))
    assert loss.total.item() == pytest.approx(there.item(), rel=1e-12)
    assert loss.total > value(x)
    for name, slope in slopes(model).items():
        torch.testing.assert_close(slope, slopes(shifted)[name], rtol=1e-10, atol=1e-12)
    assert same(state(model), before)


def test_awp_of_a_layer_at_zero_or_without_a_slope_does_not_move_it() -> None:
    used, (x, y) = network().eval(), batch()
    with torch.no_grad():
        next(used.parameters()).zero_()
    model = nn.ModuleDict({"used": used, "unused": nn.Linear(3, 3, dtype=torch.float64)})
    bound = Awp(xi=0.1).bind(model)
    bound(minibatch(model, x, cross_entropy(used, y)))
    assert all(slope.isfinite().all() for slope in slopes(model).values())
    assert not any(name.startswith("unused") for name in slopes(model))


@pytest.mark.parametrize("update", [Awp(), Sam(), WeightNoise(), EntropySgd(steps=2)])
def test_weights_come_back_after_an_exception(update: Update) -> None:
    model, (x, y) = network().eval(), batch()
    before, count = state(model), 0

    def value(x_adv: Tensor) -> Tensor:
        nonlocal count
        count += 1
        if not same(state(model), before):
            raise KeyboardInterrupt
        return cross_entropy(model, y)(x_adv)

    with pytest.raises(KeyboardInterrupt):
        update.bind(model)(minibatch(model, x, value))
    assert same(state(model), before)


@given(st.integers(1, 12), st.floats(0, 5), st.integers(0, 1000))
def test_sam_on_a_quadratic(size: int, rho: float, seed: int) -> None:
    """H (w + rho H w / ||H w||)."""
    model = Quadratic(size, seed)
    w = model.weight.detach().clone()
    slope = model.hessian @ w
    expected = model.hessian @ (w + rho * slope / slope.norm())
    torch.testing.assert_close(model.descended(Sam(rho=rho)), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(model.weight, w)


def test_sams_step_has_one_length_over_all_parameters() -> None:
    model, (x, y) = network().eval(), batch()
    home, there = at_gradients(Sam(rho=0.3), model, x, y)
    moves = torch.cat([(there[name] - home[name]).flatten() for name in home])
    assert moves.norm().item() == pytest.approx(0.3, rel=1e-12)
    assert all(not torch.equal(there[name], home[name]) for name in home if name != "0.bias")


@given(
    st.integers(1, 8), st.integers(1, 6), st.floats(0.01, 0.5), st.floats(0, 1), st.floats(0.1, 1), st.integers(0, 99)
)
def test_entropy_sgd_on_a_quadratic(size: int, steps: int, a: float, gamma: float, average: float, seed: int) -> None:
    """Without noise: v_k = v + (1 - a (H + gamma))^k (w - v) around v = gamma (H + gamma)^-1 w, and their mean."""
    model = Quadratic(size, seed)
    w, one = model.weight.detach().clone(), torch.eye(size, dtype=torch.float64)
    centre = torch.linalg.solve(model.hessian + gamma * one, gamma * w)
    contraction = one - a * (model.hessian + gamma * one)
    mean = (1 - average) ** steps * w
    for k in range(1, steps + 1):
        point = centre + torch.linalg.matrix_power(contraction, k) @ (w - centre)
        mean = mean + average * (1 - average) ** (steps - k) * point
    rule = EntropySgd(steps=steps, step_size=a, gamma=gamma, average=average, noise=0)
    torch.testing.assert_close(model.descended(rule), w - mean, rtol=1e-8, atol=1e-9)
    assert torch.equal(model.weight, w)


def test_entropy_sgds_noise_has_its_size() -> None:
    """sqrt(a) * noise per inner step; a sum of independent draws over steps where nothing else moves."""
    a, noise, steps = 0.25, 0.8, 4
    model = Quadratic(1)
    model.weight = nn.Parameter(torch.zeros(20_000, 1, dtype=torch.float64))
    model.value = lambda _: (0 * model.weight).sum()  # type: ignore[method-assign]
    rule = EntropySgd(steps=steps, step_size=a, gamma=0, average=1, noise=noise)
    left = model.descended(rule)
    assert left.std().item() == pytest.approx(math.sqrt(steps * a) * noise, rel=0.03)
    assert left.mean().item() == pytest.approx(0, abs=0.03)


def test_entropy_sgds_scope() -> None:
    """gamma (1 + scoping)^t, until one step would bring the walk all the way back."""
    rule = EntropySgd(gamma=1e-4, scoping=1e-3, step_size=0.1)
    assert [rule.gamma_at(t) for t in (0, 1, 1000)] == pytest.approx([1e-4, 1.001e-4, 1e-4 * 1.001**1000], rel=1e-9)
    assert rule.gamma_at(11_000) < rule.gamma_at(12_000) == rule.gamma_at(10**9) == 10
    assert EntropySgd(gamma=0, scoping=1).gamma_at(10**9) == 0
    assert EntropySgd().gamma_at(10**9) == 1e-4

    model = Quadratic(3)
    w, one = model.weight.detach().clone(), torch.eye(3, dtype=torch.float64)
    bound = EntropySgd(steps=2, gamma=1, scoping=1, noise=0, step_size=0.05, average=1).bind(model)
    for gamma in (1, 2, 4):  # nothing pulls in the first step of a walk
        bound(minibatch(model, torch.zeros(1, 1, 1, 1), model.value))
        first = w - 0.05 * model.hessian @ w
        second = first - 0.05 * (model.hessian + gamma * one) @ first + 0.05 * gamma * w
        assert model.weight.grad is not None
        torch.testing.assert_close(model.weight.grad, w - second)


def test_weight_noise_lies_on_the_sphere() -> None:
    model, (x, y) = network().eval(), batch()
    home = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    places = [at_gradients(WeightNoise(xi=0.3), model, x, y)[0] for _ in range(2)]
    assert all(torch.equal(places[0][name], places[1][name]) for name in home)  # equal seeds
    for name, start in home.items():
        expected = 0 if start.ndim == 1 else 0.3 * float(start.norm())
        assert float((places[0][name] - start).norm()) == pytest.approx(expected, rel=1e-12)


def test_weight_noise_points_anywhere() -> None:
    model = Quadratic(1)
    model.weight = nn.Parameter(torch.ones(2, 1, dtype=torch.float64))
    model.hessian = torch.eye(2, dtype=torch.float64)
    bound, moves = WeightNoise(xi=1).bind(model), []
    many = minibatch(model, torch.zeros(1, 1, 1, 1), model.value)
    for _ in range(2000):
        bound(many)
        assert model.weight.grad is not None
        moves.append((model.weight.grad - 1)[:, 0].clone())
    angles = torch.atan2(*torch.stack(moves).T)
    counts = torch.histc(angles, bins=4, min=-math.pi, max=math.pi)
    assert all(400 < count < 600 for count in counts)  # 500 each, five standard deviations


def test_layers_are_told_apart_by_what_they_are() -> None:
    """Convolutions and linear layers are perturbed, whatever their name; scales of norms and all biases are not."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[4].bias.requires_grad_(False)
    weights, rest = weight_space.split(model)
    assert [id(w) for w in weights] == [id(model[0].weight), id(model[4].weight)]
    assert {id(w) for w in rest} == {id(p) for i in (1, 2) for p in model[i].parameters()} | {id(model[0].bias)}
    assert {id(w) for w in weight_space.scales(model)} == {id(model[1].weight), id(model[2].weight)}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_free_equals_separate_gradients(norm: Norm) -> None:
    """Weights and delta after two batches of three replays, against a loop that takes each gradient on its own."""
    threat, replays, rate = Threat(norm=norm, eps=0.1), 3, 0.5
    model = network().train()
    other = copy.deepcopy(model)
    bound = Free(replays=replays, step_size=0.7).bind(model)

    def descend(net: nn.Module) -> None:
        with torch.no_grad():
            for weight in net.parameters():
                assert weight.grad is not None
                weight.sub_(rate * weight.grad)

    delta: Tensor | None = None
    for seed in range(2):
        x, y = batch(seed=seed)
        bound(minibatch(model, x, cross_entropy(model, y), descend=lambda: descend(model), threat=threat))
        descend(model)

        start = (
            threat.uniform(x, minibatch(model, x, cross_entropy(model, y)).generator) if delta is None else x + delta
        )
        x_adv = threat.project(start, x)
        for _ in range(replays):
            images = x_adv.clone().requires_grad_()
            (to_images,) = torch.autograd.grad(cross_entropy(copy.deepcopy(other), y)(images), images)
            other.zero_grad()
            cross_entropy(other, y)(x_adv).backward()  # type: ignore[no-untyped-call]
            descend(other)
            x_adv = threat.project(threat.ascend(x_adv, to_images, 0.7 * threat.eps), x)
        delta = x_adv - x
        for name, weight in state(other).items():
            torch.testing.assert_close(model.state_dict()[name], weight, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(bound.state_dict()["delta"], delta, rtol=1e-10, atol=1e-12)


def test_free_keeps_its_images_inside() -> None:
    """Also where the next batch has other images, or the threat has become smaller."""
    model, bound = network().train(), None
    for seed, eps in enumerate((0.3, 0.3, 0.05)):
        x, y = batch(seed=seed)
        threat, seen = Threat(eps=eps), list[Tensor]()

        def value(images: Tensor, y: Tensor = y, seen: list[Tensor] = seen) -> Tensor:
            seen.append(images.detach().clone())
            return cross_entropy(model, y)(images)

        bound = bound or Free(replays=3).bind(model)
        bound(minibatch(model, x, value, threat=threat))
        assert len(seen) == 3
        assert not any(threat.violated(images, x) for images in seen)
        assert not torch.equal(seen[0], x)
        assert not torch.equal(seen[0], seen[1])


def test_free_with_a_loss_that_does_not_see_x_adv() -> None:
    """A defense that regularises at x alone: delta stays, nothing breaks."""
    model, (x, y) = network().train(), batch()
    bound = Free(replays=2).bind(model)
    bound(minibatch(model, x, lambda _: cross_entropy(model, y)(x)))
    assert all(slope.isfinite().all() for slope in slopes(model).values())
