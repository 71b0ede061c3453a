"""What casts doubt on a judgement: models made to deceive AutoAttack, and honest ones beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack import checks
from scipy.stats import binomtest
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.judging import checks as own_checks
from robustray.judging import judge
from robustray.judging.flags import MEANING, SHARE, WHITE_BOX, beyond_chance, found
from robustray.verdicts import CLEAN, Shard, read_shards
from tests.robustray.judged import learned
from tests.robustray.made import generator, linear


class Through(nn.Module):
    """A model whose pixels or logits go through a function."""

    def __init__(
        self,
        model: nn.Module,
        *,
        pixels: Callable[[Tensor], Tensor] | None = None,
        logits: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.pixels = pixels
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        x = self.pixels(x) if self.pixels else x
        z: Tensor = self.model(x)
        return self.logits(z) if self.logits else z


def plain() -> nn.Module:
    return linear(torch.randn(5, 25, generator=generator(1))).eval().requires_grad_(False)


def images(count: int = 20) -> Tensor:
    return torch.rand(count, 1, 5, 5, generator=generator(2))


def raised(model: nn.Module, x: Tensor, threat: Threat, version: str, folder: Path, **options: Any) -> tuple[str, ...]:
    """The flags of a judgement by the model's own answers as labels."""
    with torch.no_grad():
        y = model(x).argmax(1)
    judge(model, x, y, threat, version, folder, **options)
    (inside,) = folder.iterdir()
    return found(read_shards(inside, version.split("+")))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.3)])
@pytest.mark.parametrize(("count", "flagged"), [(0, False), (1, False), (3, True)])
def test_gradients_that_are_not_finite_at_images_beyond_the_first(
    tmp_path: Path, norm: Any, eps: float, count: int, flagged: bool
) -> None:
    """The root of a pixel that is 0 has none: answers are finite, and a share of images is never attacked in earnest."""
    model = Through(plain())
    model.forward = lambda x: model.model(x) + 0 * x[:, :, 0, 0].sqrt()  # type: ignore[method-assign]
    x = images(60).clamp(min=0.01)
    x[20 : 20 + count, :, 0, 0] = 0
    flags = raised(model, x, Threat(norm=norm, eps=eps), "apgd-ce", tmp_path)
    assert ("unfinished_gradients" in flags) is flagged


# Looks at the model before it is attacked.


def test_an_ordinary_model_has_no_flags(tmp_path: Path) -> None:
    model, x, _ = learned()
    assert raised(model, x, Threat(eps=0.1), "apgd-ce+apgd-dlr+fab", tmp_path) == ()


@pytest.mark.parametrize(
    ("change", "flagged"),
    [
        ({"logits": lambda z: z + 0.5 * torch.randn(z.shape)}, True),
        ({"logits": lambda z: z + 1e-3 * torch.randn(z.shape)}, True),
        ({"logits": lambda z: z + 1e-6 * torch.randn(z.shape)}, False),  # what a GPU's sums may do
        ({"logits": lambda z: z * (1 + torch.rand(len(z), 1))}, False),  # another scale is no other answer
        ({"pixels": lambda x: x + 0.1 * torch.rand(x.shape)}, True),
        ({"pixels": lambda x: nn.functional.dropout(x, 0.1, training=True)}, True),
        ({"pixels": lambda x: x.roll(int(torch.randint(0, 2, ())), 3)}, True),
        ({}, False),
    ],
)
def test_randomised(change: dict[str, Any], flagged: bool) -> None:
    model = Through(plain(), **change)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert ("randomised" in own_checks.flags(model, images())) is flagged


def test_dropout_is_a_flag_only_where_it_is_left_on(tmp_path: Path) -> None:
    class Left(nn.Dropout):
        def train(self, mode: bool = True) -> Left:  # a bug of some published defenses
            return super().train(True)

    for cls, flags in ((nn.Dropout, ()), (Left, ("randomised",))):
        model = nn.Sequential(cls(0.3), plain())
        assert raised(model, images(), Threat(eps=0.0), "apgd-ce", tmp_path / cls.__name__) == flags


class Dynamic(nn.Module):
    """Moves x a little along a gradient of its own before it answers, by one of torch's ways to get one."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.model = plain()
        self.way = way

    def energy(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.model(x)).logsumexp(1).sum()

    def slope(self, x: Tensor) -> Tensor:
        if self.way == "func":
            return torch.func.grad(self.energy)(x)  # type: ignore[no-any-return]
        with torch.enable_grad():
            z = x.detach().clone().requires_grad_()
            if self.way == "grad":
                return torch.autograd.grad(self.energy(z), z)[0]
            if self.way == "jacobian":
                return torch.as_tensor(torch.autograd.functional.jacobian(self.energy, z))  # type: ignore[no-untyped-call]
            if self.way == "method":
                self.energy(z).backward()  # type: ignore[no-untyped-call]
            else:
                torch.autograd.backward(self.energy(z))
            assert z.grad is not None
            return z.grad

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.model(x - 0.01 * self.slope(x)))


@pytest.mark.parametrize("way", ["grad", "method", "function", "func", "jacobian"])
def test_dynamic(way: str) -> None:
    assert own_checks.flags(Dynamic(way).eval().requires_grad_(False), images()) == ["dynamic"]
    assert own_checks.flags(plain(), images()) == [], "an ordinary model afterwards is ordinary"


class Said:
    """A logger that keeps what AutoAttack warns of."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, line: str) -> None:
        self.lines.append(line)


def test_in_autoattack_one_dynamic_model_makes_every_later_one_dynamic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the check is not theirs."""
    monkeypatch.setattr(checks, "funcs", dict.fromkeys(checks.funcs, 0))
    said = Said()
    for model, warnings in ((plain(), 0), (Dynamic("grad").eval(), 1), (plain(), 2)):
        checks.check_dynamic(model, images(), logger=said)
        assert len(said.lines) == warnings


@pytest.mark.parametrize(
    ("logits", "flagged"),
    [
        (lambda z: z.softmax(1), True),
        (lambda z: z.softmax(1).clamp_min(1e-7), True),
        (lambda z: torch.nn.functional.one_hot(z.argmax(1), 5).float(), True),
        (lambda z: z.sigmoid(), False),  # in [0, 1], but no distribution
        (lambda z: z - z.mean(1, keepdim=True) + 0.2, False),  # sums to one, but leaves [0, 1]
        (lambda z: z.softmax(1) * torch.linspace(1, 0.9, len(z))[:, None], False),  # only the first image sums to one
        (lambda z: z.log_softmax(1), False),
    ],
)
def test_probabilities(logits: Callable[[Tensor], Tensor], flagged: bool) -> None:
    told = own_checks.flags(Through(plain(), logits=logits), images())
    assert told == (["probabilities"] if flagged else [])


def test_checks_agree_with_those_of_autoattack() -> None:
    """Wherever theirs warn about randomness or probabilities, ours do, batch by batch."""
    models: list[nn.Module] = [
        plain(),
        Through(plain(), logits=lambda z: z.softmax(1)),
        Through(plain(), logits=lambda z: z.sigmoid()),
        Through(plain(), logits=lambda z: z + 0.1 * torch.randn(z.shape)),
    ]
    x = images()
    words = {"randomised": "randomized", "probabilities": "probability"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for model in models:
            said = Said()
            with torch.no_grad():
                checks.check_randomized(model, x, model(x).argmax(1), logger=said)
                checks.check_range_output(model, x, logger=said)
            theirs = [name for name, word in words.items() if any(word in line for line in said.lines)]
            assert own_checks.flags(model, x) == theirs


# What the attacks find.


def blind(count: int, threshold: float = 0.5) -> tuple[nn.Module, Tensor]:
    """A model without gradients where the first pixel is dark, and 400 images of which so many are so."""
    x = images(400) * 0.4 + 0.3
    x[:, 0, 0, 0] = 0.9
    x[:count, 0, 0, 0] = 0.1

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = plain()

        def forward(self, x: Tensor) -> Tensor:
            z = torch.as_tensor(self.model(x))
            return torch.where(x[:, 0, 0, :1] > threshold, z, z.detach() + 0 * x.flatten(1).sum(1, keepdim=True))

    return Blind(), x


@pytest.mark.parametrize(
    ("count", "flags"),
    [(0, ()), (2, ()), (3, ("zero_gradients",)), (400, ("gradients_lead_nowhere", "zero_gradients"))],
)
def test_zero_gradients(count: int, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Counted to the image; 3 of 400 are too many, 2 may be chance, also where two attacks see them."""
    model, x = blind(count)
    assert raised(model, x, Threat(eps=0.001), "apgd-dlr", tmp_path / "one", shard_size=150) == flags
    (folder,) = (tmp_path / "one").iterdir()
    assert sum(shard.info.get("zero_gradients", 0) for shard in read_shards(folder, ["apgd-dlr"])) == count
    if count == 2:
        assert raised(model, x, Threat(eps=0.001), "apgd-dlr+apgd-t", tmp_path / "two") == ()


def test_a_quantised_network_has_no_gradients(tmp_path: Path) -> None:
    class Round(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 8).round() / 8

    model = nn.Sequential(Round(), plain())
    flags = ("gradients_lead_nowhere", "zero_gradients")
    assert raised(model, images(40), Threat(eps=0.01), "apgd-dlr", tmp_path) == flags


def masked() -> tuple[nn.Module, Tensor, Threat]:
    """A linear model whose gradients point the wrong way, and images that the worst x' breaks by far, random ones never."""

    class Reversed(nn.Module):
        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.model = linear(torch.stack([weight, -weight, 0 * weight]), torch.tensor([0.0, 0.0, -10.0]))

        def forward(self, x: Tensor) -> Tensor:
            z = torch.as_tensor(self.model(x - 0.5))
            return 2 * z.detach() - z

    weight = torch.where(torch.rand(64, generator=generator(5)) < 0.5, -1.0, 1.0)
    x = 0.5 + 0.035 * weight.view(1, 1, 8, 8)
    noise = torch.rand(20, 1, 8, 8, generator=generator(6)) - 0.5
    noise -= (noise.flatten(1) @ weight / 64)[:, None, None, None] * weight.view(1, 1, 8, 8)
    return Reversed(weight).eval().requires_grad_(False), (x + 0.1 * noise), Threat(eps=0.05)


def test_square_beats_white_box(tmp_path: Path) -> None:
    model, x, threat = masked()
    assert raised(model, x, threat, "apgd-ce+square", tmp_path / "after") == ("square_beats_white_box",)
    (folder,) = (tmp_path / "after").iterdir()
    shards = list(read_shards(folder, ["apgd-ce", "square"]))
    clean, apgd, square = [int(shard.broken.sum()) for shard in shards]
    assert (clean, apgd) == (0, 0)
    assert square > 10
    assert raised(model, x, threat, "square+apgd-ce", tmp_path / "before") == (), "it left them nothing"
    (folder,) = (tmp_path / "before").iterdir()
    assert found(read_shards(folder, ["square"])) == (), "and alone there is nothing to beat"


# Counting.


@given(st.data())
def test_beyond_chance_is_a_binomial_test(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 50_000))
    count = data.draw(st.integers(0, min(images, 200)))
    p = binomtest(count, images, SHARE, alternative="greater").pvalue
    assert beyond_chance(count, images) == (count / images > SHARE and p < 0.05)
    if beyond_chance(count, images):
        assert beyond_chance(min(images, count + 1), images)


@pytest.mark.parametrize(("images", "least"), [(400, 3), (10_000, 29)])
def test_stated_counts(images: int, least: int) -> None:
    assert [beyond_chance(count, images) for count in (least - 1, least)] == [False, True]


def test_nothing_is_no_reason() -> None:
    assert not beyond_chance(0, 0)
    assert found([]) == ()


def shard(attack: str, number: int, rows: list[int], broken: list[int], **info: Any) -> Shard:
    image = np.array(rows, np.int32)
    fallen = np.isin(image, broken)
    label = np.zeros(len(image), np.int16)
    return Shard(attack, number, image, label, fallen.astype(np.int16), fallen, 1 - fallen.astype(np.float32), info)


@given(st.data())
def test_flags_do_not_depend_on_the_order_of_shards(data: st.DataObject) -> None:
    """Random judgements of 4 shards of 10 images, stages in any order: found twice by counting images one by one."""
    stages = data.draw(st.permutations(["apgd-ce", "fab", "square", "joined"]))
    shards, square_beat, zero = [], 0, dict.fromkeys(stages, 0)
    for number in range(4):
        rows = list(range(10 * number, 10 * number + 10))
        shards.append(shard(CLEAN, number, rows, [], flags=data.draw(st.sampled_from([[], ["dynamic"]]))))
        for position, stage in enumerate(stages):
            broken = data.draw(st.lists(st.sampled_from(rows), unique=True, max_size=2)) if rows else []
            info = {"zero_gradients": data.draw(st.integers(0, 1))} if stage == "apgd-ce" else {}
            zero[stage] += info.get("zero_gradients", 0)
            if stage == "square" and WHITE_BOX & set(stages[:position]):
                square_beat += len(broken)
            shards.append(shard(stage, number, rows, broken, **info))
            rows = [row for row in rows if row not in broken]
    expected = {"dynamic"} if any(s.info.get("flags") for s in shards) else set()
    expected |= {"zero_gradients"} if beyond_chance(max(zero.values()), 40) else set()
    expected |= {"square_beats_white_box"} if beyond_chance(square_beat, 40) else set()
    assert found(data.draw(st.permutations(shards))) == tuple(sorted(expected))


def test_every_flag_has_a_meaning() -> None:
    model = Through(Dynamic("grad"), logits=lambda z: (z + torch.randn(z.shape)).softmax(1))
    told = own_checks.flags(model.eval(), images())
    assert told == ["randomised", "dynamic", "probabilities"]
    others = {"zero_gradients", "square_beats_white_box", "outside", "not_finite", "batch_dependent", "detached"}
    others |= {"gradients_lead_nowhere", "vanished_gradients", "unfinished_gradients"}
    assert {*told, *others} == set(MEANING)
