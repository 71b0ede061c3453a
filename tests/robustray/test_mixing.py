"""Mixing networks: the policy against the originals' numbers, gradients, and a training that is killed and goes on."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray.data.device import DeviceImages
from robustray.derived import Smoothing, point
from robustray.derived.apgd import _checkpoints, apgd
from robustray.derived.base import Ground, Parent
from robustray.derived.mixing import Mixing
from robustray.derived.mixing_network import AdaptiveMixture, MixingNetwork, Policy, planes
from robustray.derived.mixing_training import Training, assembled, network_of
from robustray.derived.mixture import mix
from robustray.derived.point import Recipe
from robustray.errors import Paused, UserError
from robustray.judging.case import Case
from robustray.models.preact_resnet18 import PreactResnet18
from robustray.testing.derived import JUDGE, trained
from robustray.training.checkpoints import weights_hash

FEW = {
    "epochs": 1, "size": 60, "targets": 1, "parts": 4, "parts_per_descent": 2, "iterations": 2, "lr": 0.01,
    "alpha_span": 0.4, "alpha_low": 0.5,
}  # fmt: skip


def parents() -> list[Parent]:
    models = [copy.deepcopy(trained(seed)) for seed in (0, 1)]
    return [Parent(f"../{at:04d}", model, weights_hash(model.state_dict())) for at, model in enumerate(models)]


def ground(folder: Path, stop: threading.Event | None = None, tell: Any = None) -> Ground:
    heard = tell or (lambda said: None)
    return Ground(JUDGE, torch.device("cpu"), folder, folder / "kept", stop or threading.Event(), heard)


def images(count: int = 16) -> Tensor:
    return DeviceImages(JUDGE.data.load("validation"), torch.device("cpu")).batch(slice(0, count))[0]


def test_original_policies(golden: Callable[[str], dict[str, Any]]) -> None:
    kept = golden("11_adaptive_smoothing")
    g, h, raw = (torch.from_numpy(kept[f"in/{name}"]) for name in ("logits_std", "logits_rob", "policy_raw_gamma"))
    names = {key.removesuffix("/out") for key in kept if key.startswith("policy/") and key.endswith("/out")}
    assert len(names) >= 6
    for name in sorted(names):
        own = {key.rpartition("/")[2]: float(kept[key]) for key in kept if key.startswith(f"{name}/set/")}
        policy = Policy(own["gamma_scale"], own["gamma_bias"], own["alpha_scale"], own["alpha_bias"]).double()
        assert policy.norm.running_mean is not None
        assert policy.norm.running_var is not None
        policy.norm.running_mean.fill_(own["bn_running_mean"])
        policy.norm.running_var.fill_(own["bn_running_var"])
        policy.train(name.endswith("_train"))
        alpha, gamma = policy(raw)
        ours = mix(own["std_scale"] * g, own["rob_scale"] * h, alpha[:, None])
        for found, key in ((ours, "out"), (gamma, "gamma")):
            assert torch.allclose(found, torch.from_numpy(kept[f"{name}/{key}"]), rtol=1e-10, atol=1e-10), (name, key)
        for found, key in ((policy.norm.running_mean, "mean"), (policy.norm.running_var, "var")):
            after = torch.from_numpy(kept[f"{name}/bn_running_{key}_after"])
            assert torch.allclose(found, after, rtol=1e-10), (name, key)


def test_shares_stay_in_their_range() -> None:
    policy = Policy(2.0, 1.0, 0.15, 0.84).eval()
    alpha, gamma = policy(torch.linspace(-50, 50, 101))
    assert float(alpha.min()) >= 0.84 - 1e-6
    assert float(alpha.max()) <= 0.99 + 1e-6
    assert float(gamma[50]) == pytest.approx(1.0)
    assert float(torch.tensor(2.0).sigmoid()) == pytest.approx(0.881, abs=5e-4)
    with pytest.raises(ValueError, match="leaves"):
        Policy(2.0, 1.0, 0.5, 0.6)


def test_published_widths() -> None:
    """BiT-152 (512) with WRN-70-16 (256): 768 to 512, 768 and 1024; late maps of 1536 channels go through a 1x1 convolution."""
    assert planes((512, 256)) == (768, 512, 768, 1024)
    assert planes((64, 64)) == (128, 256, 512, 1024)
    network = MixingNetwork((512, 256), (1024, 512), "v4")
    assert isinstance(network.meets, nn.Conv2d)
    assert network.meets.weight.shape == (512, 1536, 1, 1)
    maps = [torch.randn(2, width, 8, 8) for width in (512, 256)], [torch.randn(2, width, 4, 4) for width in (1024, 512)]
    assert network.eval()(*maps).shape == (2,)
    assert MixingNetwork((64, 64), (128, 128), "v3").eval() is not None
    with pytest.raises(ValueError, match="use v4"):
        MixingNetwork((512, 256), (1024, 512), "v3")


def test_attached_and_detached() -> None:
    """The gradient of gamma to the image is exactly zero where inputs are detached, and the flag says so; parents get none."""
    x = images(4)
    for detached in (False, True):
        whole = _whole(Mixing(detached=detached, **FEW), x)
        pixels = x.clone().requires_grad_()
        _, gamma = whole.answer(pixels)
        if detached:
            assert not gamma.requires_grad or not _slope(gamma, pixels).any()
        else:
            assert bool(_slope(gamma, pixels).abs().sum() > 0)
        assert all(weight.grad is None for base in (whole.accurate, whole.robust) for weight in base.parameters())


def _slope(gamma: Tensor, pixels: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(gamma.sum(), pixels, allow_unused=True)
    return torch.zeros_like(pixels) if found is None else found


def _whole(options: Mixing, x: Tensor) -> AdaptiveMixture:
    torch.manual_seed(0)
    models = [copy.deepcopy(trained(seed)) for seed in (0, 1)]
    return assembled(models, options, (2.0, 1.0), x, training=False).eval()


def test_gradient_of_the_whole_by_differences() -> None:
    x = images(3).double().clamp(0.1, 0.9)
    whole = _whole(Mixing(**FEW), x.float()).double()
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pixels = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(whole(pixels)[:, 2].sum(), pixels)
    with torch.no_grad():
        rise = (whole(x + 1e-6 * direction)[:, 2].sum() - whole(x - 1e-6 * direction)[:, 2].sum()) / 2e-6
    assert float((slope * direction).sum()) == pytest.approx(float(rise), rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Tensor]:
    """Weights of a network whose training nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    return Training(parents(), Mixing(**FEW), (2.0, 1.0), ground(folder), folder / "whole.pt").run()


@pytest.mark.parametrize("at", [0, 3, 11])
def test_training_killed_in_the_middle_goes_on_bit_for_bit(
    at: int, whole: Mapping[str, Tensor], tmp_path: Path
) -> None:
    options = Mixing(**FEW)
    stop = threading.Event()
    first = Training(parents(), options, (2.0, 1.0), ground(tmp_path, stop), tmp_path / "cut.pt")
    step = first._step

    def stepped(number: int) -> None:
        if number == at:
            stop.set()
        step(number)

    first._step = stepped  # type: ignore[method-assign]
    with pytest.raises(Paused):
        first.run()
    assert first.done == at + 1
    again = Training(parents(), options, (2.0, 1.0), ground(tmp_path), tmp_path / "cut.pt")
    found = again.run()
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_point_with_a_network_is_kept_loaded_and_shared(tmp_path: Path) -> None:
    """It learns to tell attacked images; another point with other constants trains nothing; its file is enough to load it."""
    heard: list[Mapping[str, Any]] = []
    known = {parent.spec: parent for parent in parents()}
    maker = Smoothing(network=Mixing(**{**FEW, "epochs": 3}))
    recipe = Recipe(maker, maker.numbers(2)[0], list(known), JUDGE)
    (tmp_path / "a").mkdir()
    made = point.make(recipe, ground(tmp_path / "a", tell=heard.append), known.__getitem__)
    assert made.passes > 0
    assert heard[-1]["loss"] < heard[0]["loss"]
    loaded = point.load(tmp_path / "a", known.__getitem__)
    assert torch.equal(loaded.model(images()), made.model(images()))
    assert loaded.passes == made.passes, "a process may die before it has told them"
    other = Smoothing(network=Mixing(**{**FEW, "epochs": 3, "alpha_low": 0.55}))
    (tmp_path / "b").mkdir()
    where = Ground(JUDGE, torch.device("cpu"), tmp_path / "b", tmp_path / "a" / "kept")
    second = point.make(Recipe(other, other.numbers(2)[0], list(known), JUDGE), where, known.__getitem__)
    assert second.passes == 0
    (tmp_path / "a" / point.FILE).unlink()  # as where the process died once the network was trained
    assert point.make(recipe, ground(tmp_path / "a"), known.__getitem__).passes == made.passes
    assert second.weights != made.weights


def test_batch_size_changes_no_answer() -> None:
    x = images(12).double()
    whole = _whole(Mixing(**FEW), x.float()).double()
    apart = torch.cat([whole(x[at : at + 1]) for at in range(len(x))])
    assert torch.allclose(whole(x), apart, rtol=1e-10, atol=1e-10)


def test_the_detached_form_is_flagged(tmp_path: Path) -> None:
    for detached in (False, True):
        whole = _whole(Mixing(detached=detached, **FEW), images(2)).requires_grad_(False)
        case = Case(
            whole, weights_hash(whole.state_dict()), JUDGE, "validation", tmp_path / str(detached), shard_size=50
        )
        assert ("detached" in case.shard("clean", 0).info["flags"]) == detached


def test_a_form_that_does_not_fit_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use v4"):
        Training(parents(), Mixing(form="v3", widths=(3, 4, 5)), (2.0, 1.0), ground(tmp_path), tmp_path / "x.pt")


def linear(weight: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: (x.flatten(1) * weight).sum(1)


def test_apgd_reaches_the_corner_of_a_linear_loss() -> None:
    """In linf the maximum over the ball is x + eps sign(w), in l2 x + eps w / |w|, each image with its own radius."""
    draws = torch.Generator().manual_seed(0)
    weight = torch.randn(12, generator=draws, dtype=torch.float64)
    x = torch.full((5, 3, 2, 2), 0.5, dtype=torch.float64)
    eps = torch.linspace(0.01, 0.2, 5, dtype=torch.float64)
    for norm, way in (("linf", weight.sign()), ("l2", weight / weight.norm())):
        found = apgd(linear(weight), x, eps, 30, norm, draws)  # type: ignore[arg-type]
        wanted = x + eps[:, None, None, None] * way.view(1, 3, 2, 2)
        assert torch.allclose(found, wanted, atol=1e-3), norm
        assert float((found - x).abs().max()) <= 0.2 + 1e-9


def test_apgd_checkpoints_as_published() -> None:
    """p = 0, .22, .41, .57, .70, .80, .87, .93, .99 of 100 iterations."""
    assert sorted(_checkpoints(100))[:8] == [22, 41, 57, 70, 80, 87, 93, 99]


def test_a_narrow_network_meets_maps_of_images_of_one_channel_in_the_plain_layout() -> None:
    """Their maps come in channels_last, in which oneDNN writes outside its memory: `robustray.numerics.plain_where_needed`."""
    bases = [PreactResnet18(width=4).build(JUDGE.data) for _ in range(2)]
    x = torch.rand(3, 8, 8, 1).permute(0, 3, 1, 2)
    featured, network = network_of(bases, Mixing(), x)
    maps = [base.features(x)[1] for base in featured]
    assert not maps[0]["early"].is_contiguous()
    shortcut, seen = network.stages[0][0].around, list[torch.Tensor]()  # type: ignore[index]
    assert shortcut.in_channels < 16
    shortcut.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network([each["early"] for each in maps], [each["late"] for each in maps])
    assert seen[0].is_contiguous()
