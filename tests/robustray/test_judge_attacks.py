"""The authors' attacks as the judge runs them: their settings, the truth where it is known, nothing drawn from the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_base import FABAttack
from pyautoattack.square import SquareAttack
from scipy.stats import binom, norm
from torch import Tensor, nn

from robustray.attacks import Threat, autoattack
from robustray.attacks.norms import Norm
from robustray.attacks.versions import VERSIONS, AttackName, strength, unfit
from robustray.errors import UserError
from robustray.judging import judge
from robustray.verdicts import CLEAN, read_shard, read_shards
from tests.robustray.judged import THREAT, same_verdicts
from tests.robustray.made import batch, generator, linear, network

DUAL: dict[Norm, float] = {"linf": 1, "l2": 2, "l1": float("inf")}
RADIUS: dict[Norm, float] = {"linf": 0.01, "l2": 0.05, "l1": 0.08}
OURS = {"model", "predict", "logger", "seed", "device"}
"""What need not be as theirs: the network, where the log goes, our seed of every shard."""


def known(norm: Norm) -> tuple[nn.Module, Tensor, Tensor, NDArray[np.bool_]]:
    """A linear model, images far from the ends of [0, 1], its own labels, and which images no x' in the ball can break.

    Stands: z_y - z_j > eps ||w_y - w_j||_q for every j != y, q the dual norm.
    """
    stream = generator(4)
    weight = torch.randn(5, 25, generator=stream)
    x = 0.3 + 0.4 * torch.rand(30, 1, 5, 5, generator=stream)
    model = linear(weight, -weight.sum(1) * 0.5).eval().requires_grad_(False)
    logits = model(x)
    y = logits.argmax(1)
    gap = logits.gather(1, y[:, None]) - logits
    reach = RADIUS[norm] * torch.linalg.vector_norm(weight[y][:, None] - weight[None], DUAL[norm], dim=2)
    stands = ((gap > reach) | (gap == 0)).all(1).numpy()
    assert 6 < stands.sum() < 24
    return model, x, y, stands


@pytest.fixture
def returned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Tensor, Tensor]]:
    """Every attack's batch and what it gave back."""
    seen: list[tuple[str, Tensor, Tensor]] = []
    run = autoattack.run

    def spy(attack: str, model: nn.Module, x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        x_adv, zero = run(attack, model, x, *rest)
        seen.append((attack, x.clone(), x_adv.clone()))
        return x_adv, zero

    monkeypatch.setattr(autoattack, "run", spy)
    return seen


@pytest.mark.parametrize("norm", list(DUAL))
@pytest.mark.parametrize(
    ("attack", "missed"),
    [("apgd-ce", 5), ("apgd-dlr", 1), ("apgd-t", 1), ("fab", 1), ("fab-t", 1), ("square", 10)],
)
def test_attacks_find_what_can_be_found_and_nothing_else(
    attack: AttackName, missed: int, norm: Norm, tmp_path: Path, returned: list[tuple[str, Tensor, Tensor]]
) -> None:
    """Untargeted APGD picks one class to go for, and may pick the wrong one; Square searches at random."""
    model, x, y, stands = known(norm)
    threat = Threat(norm=norm, eps=RADIUS[norm])
    verdicts = judge(model, x, y, threat, attack, tmp_path)
    assert verdicts.clean.all()
    assert verdicts.robust[stands].all(), "what stands by proof, stands"
    assert int((verdicts.robust & ~stands).sum()) <= missed
    ((name, batch_of, x_adv),) = returned
    assert name == attack
    broken = torch.from_numpy(~verdicts.robust)
    assert bool(threat.inside(x_adv, batch_of)[broken].all())
    (folder,) = tmp_path.iterdir()
    shard = read_shard(folder, attack, 0)
    assert shard is not None
    assert "outside" not in shard.info
    assert 0.5 * threat.eps < shard.info["largest"] <= threat.eps + 3e-6


@pytest.mark.parametrize("version", ["plus", "rand", "apgd-dlr+fab"])
def test_versions_run_their_attacks_in_order_and_know_the_truth(
    version: str, tmp_path: Path, returned: list[tuple[str, Tensor, Tensor]]
) -> None:
    model, x, y, stands = known("linf")
    verdicts = judge(model, x, y, Threat(eps=RADIUS["linf"]), version, tmp_path)
    assert [attack for attack, _, _ in returned] == list(VERSIONS.get(version, ("apgd-dlr", "fab")))
    assert verdicts.robust[stands].all()
    assert int((verdicts.robust & ~stands).sum()) <= 1
    assert set(np.unique(verdicts.robust_correct)) <= {0.0, 1.0}, "no fractions of a model that is not randomised"


@pytest.mark.parametrize("attack", ["apgd-ce", "apgd-t", "fab", "fab-t", "square"])
def test_nothing_is_drawn_from_the_world(attack: str, tmp_path: Path) -> None:
    model, x, y, _ = known("linf")
    found = []
    for number in range(2):
        torch.manual_seed(number)
        found.append(judge(model, x[:6], y[:6], Threat(eps=0.03), attack, tmp_path / str(number)))
    assert same_verdicts(*found)
    assert not found[0].robust.all()


# Settings.


class Settings:
    """What every attack object held at the moment it was run. Nothing is broken, so that all of them are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[dict[str, Any]] = []
        for cls in (APGDAttack, APGDAttack_targeted, FABAttack, SquareAttack):
            monkeypatch.setattr(cls, "perturb", lambda attack, x, y: self._perturb(attack, x))

    def _perturb(self, attack: Any, x: Tensor) -> Tensor:
        held = {name: value for name, value in vars(attack).items() if name not in OURS}
        self.seen.append({"class": type(attack).__name__, **held})
        return x

    def taken(self) -> list[dict[str, Any]]:
        seen, self.seen = self.seen, []
        return seen


@pytest.mark.parametrize("norm", list(DUAL))
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_settings_are_those_of_the_authors(version: str, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts, targets, averaged gradients, queries, larger radii in l1 ... at the moment each attack is run."""
    model = linear(torch.randn(12, 25, generator=generator(1))).eval().requires_grad_(False)
    x = torch.rand(3, 1, 5, 5, generator=generator(2))
    y = model(x).argmax(1)
    settings = Settings(monkeypatch)
    named = {"linf": "Linf", "l2": "L2", "l1": "L1"}[norm]
    with torch.random.fork_rng():
        AutoAttack(model, norm=named, eps=RADIUS[norm], version=version).run_standard_evaluation(x, y)
    theirs = settings.taken()
    for attack in VERSIONS[version]:
        autoattack.run(attack, model, x, y, Threat(norm=norm, eps=RADIUS[norm]), 7, strength(version))
    ours = settings.taken()
    assert len(theirs) == len(VERSIONS[version])
    for attack, mine, original in zip(VERSIONS[version], ours, theirs, strict=True):
        if attack.startswith("fab"):  # an untargeted attack has no targets
            mine["target_class"] = original["target_class"] = None
        assert mine == original, attack


def test_settings_as_published() -> None:
    """The numbers of the paper and of the authors' page, should a new version of their package change them."""

    def settings(version: str, norm: Norm) -> list[dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            held = Settings(patch)
            model = linear(torch.randn(12, 25, generator=generator(1))).eval()
            x = torch.rand(3, 1, 5, 5)
            for attack in VERSIONS[version]:
                autoattack.run(attack, model, x, model(x).argmax(1), Threat(norm=norm, eps=0.1), 7, strength(version))
            return held.taken()

    euclidean: tuple[Norm, ...] = ("linf", "l2")
    for named in euclidean:
        ce, targeted, fab, square = settings("standard", named)
        assert (ce["n_iter"], ce["n_restarts"], ce["eot_iter"], ce["loss"]) == (100, 1, 1, "ce")
        assert (targeted["n_iter"], targeted["n_restarts"], targeted["n_target_classes"]) == (100, 1, 9)
        assert (fab["n_iter"], fab["n_restarts"], fab["n_target_classes"], fab["targeted"]) == (100, 1, 9, True)
        assert (square["n_queries"], square["n_restarts"], square["p_init"]) == (5000, 1, 0.8)
    ce, targeted, _, _ = settings("standard", "l1")
    assert (ce["n_restarts"], ce["use_largereps"]) == (5, True)
    assert (targeted["n_target_classes"], targeted["use_largereps"]) == (5, True)
    ce, dlr = settings("rand", "linf")
    assert (ce["n_restarts"], ce["eot_iter"], dlr["loss"]) == (1, 20, "dlr")
    assert [a["n_restarts"] for a in settings("plus", "linf")] == [5, 5, 5, 1, 1, 1]


# Few classes.


@pytest.mark.parametrize(("attack", "classes"), [("apgd-t", 3), ("apgd-dlr", 2)])
def test_too_few_classes(attack: str, classes: int, tmp_path: Path) -> None:
    model = network(classes=classes, dtype=torch.float32).eval()
    x, _ = batch(dtype=torch.float32)
    y = model(x).argmax(1)
    with pytest.raises(UserError, match=f"the model has {classes}"):
        judge(model, x, y, THREAT, attack, tmp_path)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_too_few_pixels(norm: Norm, tmp_path: Path) -> None:
    """Square lays a grid of five by five tiles: on smaller images the authors' code divides by zero."""
    model = linear(torch.randn(5, 16, generator=generator(1))).eval()
    x = torch.rand(4, 1, 4, 4, generator=generator(2))
    with pytest.raises(UserError, match=r"square in .* 5 x 5 tiles, but images have 4 x 4 pixels"):
        judge(model, x, model(x).argmax(1), Threat(norm=norm, eps=0.1), "square", tmp_path)


def test_the_sizes_that_square_takes_are_those_on_which_it_runs() -> None:
    """Every height and width around the grid's corners: refused in one line, or the authors' code ends."""
    refused = {
        (height, width)
        for height in (5, 7, 9, 10, 12, 13, 14, 15, 18, 19, 20, 23, 24, 25)
        for width in (5, 8, 12, 14, 20, 24, 28)
        if not _square_runs("l2", height, width)
    }
    assert {(12, 12), (14, 14), (24, 8), (24, 24)} <= refused
    assert not {(7, 8), (13, 5), (20, 20), (25, 20)} & refused
    assert not _square_runs("l1", 14, 14)
    assert _square_runs("linf", 14, 14)


class _Certain(nn.Module):
    """Class 0, whatever is shown."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0]]).repeat(len(x), 1)


def _square_runs(norm: Norm, height: int, width: int) -> bool:
    """Whether Square with five queries ends on this size; what the rule says must be what happens."""
    model = _Certain()  # nothing breaks it: all queries are asked
    x, y = torch.full((2, 1, height, width), 0.5), torch.zeros(2, dtype=torch.int64)
    with torch.random.fork_rng():
        square = autoattack.attack_of("square", model, x, Threat(norm=norm, eps=0.1), 0, "standard")
        square.n_queries, square.verbose = 5, False
    try:
        with torch.random.fork_rng():
            square.perturb(x, y)
    except RuntimeError:
        runs = False
    else:
        runs = True
    assert runs == (unfit("square", norm, height, width) is None), (norm, height, width)
    return runs


@pytest.mark.parametrize("attack", ["apgd-ce", "fab-t"])
@pytest.mark.parametrize("norm", list(DUAL))
def test_images_in_any_layout(attack: str, norm: Norm, tmp_path: Path) -> None:
    """Channels last, as data sources have them, is no other image."""
    model = network(classes=4, dtype=torch.float32).eval()
    x, _ = batch(dtype=torch.float32)
    y, threat = model(x).argmax(1), Threat(norm=norm, eps=5 * RADIUS[norm])
    last = x.contiguous(memory_format=torch.channels_last)
    assert not last.is_contiguous()
    found = [judge(model, images, y, threat, attack, tmp_path / str(n)) for n, images in enumerate((x, last))]
    assert same_verdicts(*found)


@pytest.mark.parametrize("classes", [4, 5])
def test_fewer_than_ten_classes(classes: int, tmp_path: Path) -> None:
    """The authors' nine targets become as many as there are."""
    model = network(classes=classes, dtype=torch.float32).eval()
    x, _ = batch(dtype=torch.float32)
    y = model(x).argmax(1)
    verdicts = judge(model, x, y, THREAT, "apgd-t+fab-t", tmp_path)
    assert verdicts.clean.all()
    assert not verdicts.robust.all()


# Randomised models.


class Noisy(nn.Module):
    """Logits (w x + b + sigma n, 0, -20), n standard normal, drawn anew for every image and pass.

    Class 0 is given with probability Phi(m / sigma), m = w x + b. In linf the worst x' has m' = m - eps ||w||_1.
    """

    def __init__(self, weight: Tensor, bias: float, sigma: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias
        self.sigma = sigma

    def margin(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight + self.bias

    def forward(self, x: Tensor) -> Tensor:
        margin = self.margin(x)
        rest = torch.tensor([0.0, -20.0]).expand(len(x), 2)
        return torch.cat([(margin + self.sigma * torch.randn(len(x)))[:, None], rest], 1)


def noisy(images: int) -> tuple[Noisy, Tensor, NDArray[np.float64], Threat]:
    """The model, images, q = P(class 0 at the worst x') of each, and the threat. Clean images are certain to be right.

    A tenth each is certain to fall and to stand; the others are in between.
    """
    sigma, threat = 0.1, Threat(eps=0.04)
    weight = torch.where(torch.rand(25, generator=generator(8)) < 0.5, -1.0, 1.0)
    model = Noisy(weight, 0.0, sigma)
    x = 0.3 + 0.4 * torch.rand(images, 1, 5, 5, generator=generator(9))
    worst = torch.linspace(-1.5, 1.5, images) * sigma
    worst[: images // 10], worst[-images // 10 :] = -6 * sigma, 8 * sigma
    reach = threat.eps * 25
    x = x + ((worst + reach - model.margin(x).detach()) / 25)[:, None, None, None] * weight.view(1, 1, 5, 5)
    assert bool(((x > threat.eps) & (x < 1 - threat.eps)).all()), "the ends of [0, 1] are out of reach"
    return model, x, norm.cdf((model.margin(x).detach().numpy() - reach) / sigma), threat


def test_a_randomised_model_is_judged_by_rand(tmp_path: Path) -> None:
    """Fractions of 20 passes at x', as the closed form has them; the same whatever the world draws.

    Both attacks end at the worst x', and each answer there is a binomial B of 20 passes with probability q. An image has
    the smaller one: E min = sum_k P(B >= k)^2 and E min^2 = sum_k (2k - 1) P(B >= k)^2.
    """
    images = 300
    model, x, q, threat = noisy(images)
    y = torch.zeros(images, dtype=torch.long)
    verdicts = judge(model, x, y, threat, "rand", tmp_path / "all", shard_size=100)
    torch.manual_seed(99)
    again = judge(model, x[:100], y[:100], threat, "rand", tmp_path / "first", shard_size=100)
    assert again.robust_correct.tolist() == verdicts.robust_correct[:100].tolist()
    assert verdicts.clean_accuracy > 0.999
    (folder,) = (tmp_path / "all").iterdir()
    for shard in read_shards(folder, VERSIONS["rand"]):
        count = shard.correct.astype(np.float64) * 20
        assert np.allclose(count, count.round(), atol=1e-5)
        assert shard.broken.tolist() == (count.round() == 0).tolist()
        if shard.attack != CLEAN:
            tail = np.minimum(
                binom.cdf(count.round(), 20, q[shard.image]), binom.sf(count.round() - 1, 20, q[shard.image])
            )
            assert tail.min() > 1e-6

    k = np.arange(1, 21)[:, None]
    both = np.asarray(binom.sf(k - 1, 20, q)) ** 2
    mean, square = both.sum(0) / 20, ((2 * k - 1) * both).sum(0) / 400
    error = float(np.sqrt(np.sum(square - mean**2))) / images
    assert abs(verdicts.robust_accuracy - mean.mean()) < 4 * error < 0.02
    assert verdicts.robust_accuracy == pytest.approx(verdicts.robust_correct.mean())
    assert (verdicts.robust_correct[: images // 10] == 0).all()
    assert (verdicts.robust_correct[-images // 10 :] == 1).all()
    assert verdicts.robust.tolist() == (verdicts.robust_correct >= 0.5).tolist()


def test_what_a_model_draws_is_not_the_worlds(tmp_path: Path) -> None:
    """AutoAttack asks the model once before it seeds: which images it attacks would be a draw of the world's."""
    model, x, _, threat = noisy(60)
    y = torch.zeros(60, dtype=torch.long)
    world = torch.get_rng_state()
    first = judge(model, x, y, threat, "apgd-ce", tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), world), "a model's draws are not the world's"
    torch.manual_seed(99)
    assert same_verdicts(judge(model, x, y, threat, "apgd-ce", tmp_path / "b"), first)
    assert 0 < first.robust.sum() < 60
