"""What the judge believes of a model: asked before anything is spent, and nothing it says by accident counts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.attacks import Threat, autoattack
from robustray.attacks.pgd import Pgd
from robustray.attacks.versions import VERSIONS, misfit
from robustray.data.base import Images
from robustray.data.device import DeviceImages
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.judging import checks, flags, identity, judge
from robustray.judging.answers import Copies, seeded, votes
from robustray.judging.chance import warnings
from robustray.judging.first_look import look
from robustray.measures.accuracy import accuracies
from robustray.verdicts import Shard
from tests.robustray.judged import Command, contents, same_verdicts

FEW = torch.linspace(0, 1, 8 * 4).reshape(8, 1, 2, 2)
APGD = ("apgd-ce",)


class Says(nn.Module):
    """Any function of images as a network."""

    def __init__(self, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(x)


def linear(x: Tensor) -> Tensor:
    """Three logits: a pixel, its negative, and a constant; their sum is no probability."""
    flat = x.flatten(1)
    return torch.stack([flat[:, 0], 0.9 - flat[:, 0], 0.2 + 0 * flat[:, 0]], 1)


def nowhere(x: Tensor) -> Tensor:
    with torch.no_grad():
        return linear(x)


def of_two(x: Tensor) -> Tensor:
    if len(x) < 2:
        raise ValueError("needs two images\nand more")
    return linear(x)


def no_slope(x: Tensor) -> Tensor:
    if x.requires_grad:
        raise ValueError("no gradients here")
    return linear(x)


def in_place(x: Tensor) -> Tensor:
    return linear(x.sub_(0.3))


def in_place_under_attack(x: Tensor) -> Tensor:
    """Changes one image alone, which no question about several shows."""
    return in_place(x) if len(x) == 1 else linear(x - 0.3)


def blind_at_zero(x: Tensor) -> Tensor:
    """The length of an image has no slope where it is black."""
    return linear(x) + (x.flatten(1) * (x > 0.1).flatten(1)).pow(2).sum(1, keepdim=True).sqrt()


def leaves(x: Tensor) -> Tensor:
    raise SystemExit("no GPU")


@pytest.mark.parametrize(
    ("answer", "classes", "stages", "said"),
    [
        (nowhere, 3, APGD, "net: no gradient reaches the images: list square alone"),
        (no_slope, 3, APGD, r"net: fails when asked for a gradient \(no gradients here\)"),
        (of_two, 3, ("square",), r"net: fails on images of shape \(1, 1, 2, 2\) \(needs two images\)"),
        (linear, 4, ("square",), "net: has 3 outputs, but the data has 4 classes"),
        (
            linear,
            3,
            ("apgd-t", "square"),
            "apgd-t compares 4 classes, but the model has 3: .* --version apgd-dlr.square$",
        ),
        (lambda x: linear(x)[:, :1], 1, ("square",), "gives 1 output; a classifier needs two"),
        (leaves, 3, ("square",), r"fails on images of shape \(8, 1, 2, 2\) \(no GPU\)"),
        (lambda x: (linear(x), x), 3, ("square",), r"gave tuple of 2 for \(8, 1, 2, 2\); wrap it in a module"),
        (lambda x: {"logits": linear(x), "loss": 0}, 3, ("square",), "gave dict of logits, loss for .*; wrap it"),
        (lambda x: linear(x).argmax(1), 3, ("square",), r"must give logits \[B, classes\], gave \(8,\) for"),
        (lambda x: linear(x)[..., None], 3, ("square",), r"gave \(8, 3, 1\) for"),
        (lambda x: linear(x).repeat(2, 1), 3, ("square",), r"gave \(16, 3\) for \(8, 1, 2, 2\)"),
        (lambda x: linear(x).long(), 3, ("square",), "gave torch.int64: whole numbers"),
        (lambda x: linear(x.half() @ x), 3, ("square",), "models are judged in float32"),
        (lambda x: linear(x) + (x - x).pow(2).sum().sqrt(), 3, APGD, "its gradients are NaN or infinite"),
        (lambda x: linear(x) / 0, 3, ("square",), "not finite"),
        (lambda x: linear(x)[:1].log().repeat(len(x), 1) if len(x) == 1 else linear(x), 3, ("square",), "not finite"),
    ],
)
def test_what_a_judgement_will_ask_is_asked_at_once(
    answer: Callable[[Tensor], Tensor], classes: int, stages: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said) as raised:
        look("net", Says(answer), FEW, classes, stages, "linf")
    assert "\n" not in str(raised.value)


def test_what_can_be_judged_is_only_warned_of() -> None:
    assert look("net", Says(nowhere), FEW, 3, ("square",), "linf") == [], "which asks for no gradient"
    assert look("net", Says(linear), FEW, 3, APGD, "linf") == []
    (more,) = look("net", Says(linear), FEW, 2, APGD, "linf")
    assert "3 outputs, the data 2 classes" in more
    (blind,) = look("net", Says(blind_at_zero), FEW, 3, APGD, "linf")
    assert "NaN or infinite at some images" in blind
    assert look("net", Says(lambda x: linear(x).bfloat16()), FEW, 3, APGD, "linf") == []


@pytest.mark.parametrize("answer", [in_place, in_place_under_attack])
def test_a_model_that_changes_its_images_is_told_so(answer: Callable[[Tensor], Tensor]) -> None:
    before = FEW.clone()
    with pytest.raises(UserError, match=r"net: changes the images it is given.*x\.clone\(\)"):
        look("net", Says(answer), FEW, 3, APGD, "linf")
    assert torch.equal(FEW, before)


def test_a_model_that_changes_images_later_is_judged_as_one_that_does_not(tmp_path: Path) -> None:
    """The first look sees a few images; whatever the model does to others, it does to copies."""
    x = torch.cat([FEW, FEW.flip(0)])
    y = linear(x - 0.3).argmax(1)

    def outside(x: Tensor) -> Tensor:
        return linear(x - 0.3)

    def changes(x: Tensor) -> Tensor:
        return in_place(x) if len(x) > 8 else outside(x)

    found = [
        judge(Says(answer), x, y, Threat(eps=0.05), "apgd-ce+square", tmp_path / name)
        for name, answer in (("a", changes), ("b", outside))
    ]
    assert found[0].clean_accuracy == 1
    assert found[0].broken_by.tolist() == found[1].broken_by.tolist()


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_nan_is_never_right(label: int, tmp_path: Path) -> None:
    """Neither as it is nor under attack, whatever the class: of a row of NaN, argmax is 0."""
    x, y = torch.full((4, 1, 2, 2), 0.5), torch.full((4,), label)
    right = 5 * nn.functional.one_hot(torch.tensor(label), 3).float()

    def answer(x: Tensor) -> Tensor:
        off = (x - 0.5).abs().amax((1, 2, 3)) > 1e-3
        return torch.where(off[:, None], torch.nan, right + 0 * x.flatten(1)[:, :3])

    said: list[Shard] = []
    found = judge(Says(answer), x, y, Threat(eps=0.1), "apgd-ce", tmp_path, progress=said.append)
    assert (found.clean_accuracy, found.robust_accuracy) == (1, 0)
    assert said[-1].info["not_finite"] == 4
    assert flags.told("not_finite", said).endswith("counted as wrong (4 in apgd-ce)")
    assert flags.told("outside", said) == flags.MEANING["outside"]
    classes, share, broken = votes(Says(lambda x: answer(x + 0.1)), x, y, 1, 0)
    assert (classes.tolist(), share.tolist(), broken.tolist()) == ([-1] * 4, [0.0] * 4, [True] * 4)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_an_answer_that_depends_on_the_batch_is_flagged(size: int) -> None:
    x = torch.rand(size, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: linear(x - x.mean(0)),
        lambda x: linear(x - x[:1]),
        lambda x: linear(x - x[-1:]),
    ]
    for way in ways if size > 1 else ways[:1]:
        assert checks.flags(Says(way), x) == ["batch_dependent"]
    assert checks.flags(Says(linear), x) == []


def test_generators_of_numpy_and_python_are_seeded_and_come_back() -> None:
    def drawn() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002

    cpu = torch.device("cpu")
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    with seeded(2**40 + 3, cpu):
        first = drawn()
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index] # noqa: NPY002
    with seeded(2**40 + 3, cpu):
        assert drawn() == first
    with seeded(4, cpu):
        assert not set(drawn()) & set(first)


def test_rand_attacks_every_image_that_stands(tmp_path: Path) -> None:
    """Logits (w.(x - 1/2) + noise, 0), noise uniform in [-1, 1]: label 0 is right in (1 + w.(x - 1/2)) / 2 of the passes.

    At the centre that is half; the threat takes w.x down by eps |w|_1 = 1.2, where no pass is right.
    """
    w = torch.tensor([1.0, -1.0, 1.0, -1.0])

    def answer(x: Tensor) -> Tensor:
        noise = 2 * torch.rand(len(x)) - 1
        score = (x.flatten(1) - 0.5) @ w + noise
        return torch.stack([score, 0 * score, 0 * score - 9], 1)

    x, y = torch.full((60, 1, 2, 2), 0.5), torch.zeros(60, dtype=torch.int64)
    found = judge(Says(answer), x, y, Threat(eps=0.3), "rand", tmp_path)
    assert 0.4 < found.clean_accuracy < 0.6
    assert found.robust_accuracy == 0


def test_an_attack_of_the_authors_looks_at_every_image_it_is_given() -> None:
    """Also one that the model is wrong about: what stands is for the judge to say."""
    x, y = torch.full((3, 1, 2, 2), 0.5), torch.ones(3, dtype=torch.int64)
    moved, _ = autoattack.run("apgd-ce", Says(linear), x, y, Threat(eps=0.1), 0)
    assert bool((moved != x).flatten(1).any(1).all())


def test_validation_changes_no_model() -> None:
    """Though its attack lets batch statistics move; and what it measures is the model as it was."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()
    draw = np.random.default_rng(0)
    images = Images(draw.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8), draw.integers(0, 3, 20))
    kept = DeviceImages(images, torch.device("cpu"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = accuracies(model, kept, Pgd(mode="train", steps=3).bind(Threat(eps=0.1)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert accuracies(model, kept, Pgd(mode="train", steps=3).bind(Threat(eps=0.1))) == first


def test_a_function_is_known_by_its_answers_within_a_tolerance() -> None:
    """Rounding in another layout, which moves numbers across any step of rounding, makes no other function; classes in
    another order, other scales and the place of a logit do."""

    def of(answer: Callable[[Tensor], Tensor]) -> list[list[float]]:
        found = identity.answers(Says(answer), FEW)
        assert found is not None
        return found

    kept = of(linear)
    for step in np.linspace(-1e-5, 1e-5, 41).tolist():
        assert identity.alike(of(lambda x, step=step: linear(x) * (1 + step)), kept)  # type: ignore[misc]
    assert not identity.alike(of(lambda x: linear(x).roll(1, 1)), kept)
    assert not identity.alike(of(lambda x: 1.01 * linear(x)), kept)
    assert not identity.alike("3f1c", kept), "what was kept before"
    own = np.random.default_rng()
    assert identity.answers(Says(lambda x: linear(x) + float(own.normal())), FEW) is None


def test_a_judgement_in_another_layout_goes_on(tmp_path: Path) -> None:
    y = linear(FEW).argmax(1)
    judge(Says(linear), FEW, y, Threat(eps=0.05), "apgd-ce", tmp_path)
    judge(Says(lambda x: linear(x) * (1 + 1e-6)), FEW, y, Threat(eps=0.05), "apgd-ce", tmp_path)
    (folder,) = tmp_path.iterdir()
    judge(Says(lambda x: linear(x) * 2), FEW, y, Threat(eps=0.05), "apgd-ce", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert contents(folder, APGD)


def test_accuracy_at_chance_is_questioned() -> None:
    def clean(right: int) -> Shard:
        label, correct = np.arange(40, dtype=np.int16) % 4, (np.arange(40) < right).astype(np.float32)
        return Shard("clean", 0, np.arange(40, dtype=np.int32), label, label, correct == 0, correct, {})

    (line,) = warnings([clean(10)])
    assert "25.00% is no better than guessing (25.00%)" in line
    assert warnings([clean(11)]) == []
    assert warnings([]) == []


@pytest.mark.parametrize("name", ["apgd-ce", "square"])
def test_one_attack_is_a_list_of_one(name: str) -> None:
    assert Judge.model_validate({"data": "digits", "threat": {"eps": 0.1}, "version": name}).attacks == (name,)


NETS = """
import torch
from torch import nn
torch.manual_seed(0)
def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
def narrow(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))
class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    @torch.no_grad()
    def forward(self, x): return self.net(x)
class Noisy(Frozen):
    def forward(self, x):
        import numpy as np
        return self.net(x + torch.from_numpy(np.random.normal(0, 0.2, x.shape)).to(x))
"""


def test_the_command_says_it_before_anything_is_spent(command: Command, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    on = ("--data", "digits", "--eps", "0.05", "--images", "30", "--device", "cpu")
    for name, said in (("narrow", "9 outputs, but the data has 10"), ("Frozen", "no gradient reaches the images")):
        refused = command("judge", f"nets.py:{name}", *on)
        assert refused.code == 2
        assert said in refused.error
        assert not (tmp_path / "results").exists()
    judged = command.judge("nets.py:wide", *on, "--version", "apgd-ce")
    assert "12 outputs" in judged.result["warnings"][0]
    assert any(line.startswith("warning: wide has 12 outputs") for line in judged.lines)


def test_noise_of_numpy_is_repeated(command: Command, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    on = ("--data", "digits", "--eps", "0.05", "--images", "20", "--device", "cpu", "--version", "rand")
    first = command.judge("nets.py:Noisy", *on, "--save-adversarial")
    assert command.judge("nets.py:Noisy", *on, "--save-adversarial").folder == first.folder
    assert command("judge", "--verify", first.folder).code == 0


def test_noise_that_no_seed_reaches_is_not_taken_for_that_of_another_model(command: Command, tmp_path: Path) -> None:
    """Equal weights, and nothing either says tells it from the other: not the numbers of one for the other, nor those of a
    file as it was before."""
    own = "import numpy\nclass {}(Noisy):\n    def forward(self, x):\n"
    own += "        return {} * numpy.random.default_rng().normal() + self.net(x)\n"
    (tmp_path / "nets.py").write_text(NETS + own.format("Little", 1) + own.format("Much", 50))
    on = ("--data", "digits", "--eps", "0.05", "--images", "2", "--version", "apgd-ce", "--results", "here")
    folders = [command.judge(f"nets.py:{name}", *on).folder for name in ("Little", "Much", "Little")]
    assert folders[0] == folders[2] != folders[1], "one that was stopped goes on"
    for command_of, *more in (
        ("measure", "--eps", "0.05", "--measures", "clean_accuracy"),
        ("certify", "--sigma", "0.1", "--first", "5", "--samples", "20"),
    ):
        few = (*on[:2], "--images", "2", *more, "--results", command_of)
        for name in ("Little", "Much", "Little"):
            assert command(command_of, f"nets.py:{name}", *few).code == 0
        assert len(list((tmp_path / command_of).glob("test-*"))) == 2, command_of
    (tmp_path / "nets.py").write_text(NETS + own.format("Little", 2))
    assert command.judge("nets.py:Little", *on).folder not in folders


def test_what_is_drawn_is_known_by_its_code_wherever_it_lies() -> None:
    noisy = type("Noisy", (Says,), {})
    assert identity.drawn(Says(linear)) == identity.drawn(Says(nowhere)) != identity.drawn(noisy(linear))
    assert identity.drawn(Says(linear), "a") != identity.drawn(Says(linear), "b")


def test_copies_keep_the_gradient() -> None:
    x = FEW.clone().requires_grad_()
    (slope,) = torch.autograd.grad(Copies(Says(in_place))(x)[:, 0].sum(), x)
    assert slope.flatten(1)[:, 0].tolist() == [1.0] * 8
    assert math.isclose(float(slope.sum()), 8)
    assert torch.equal(x, FEW)


def test_verifying_takes_the_first_look_too(command: Command, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(
        NETS + "class Needs(Frozen):\n    def forward(self, x):\n"
        "        open('table.bin').close()\n        return self.net(x.float())\n"
    )
    (tmp_path / "table.bin").touch()
    on = ("--data", "digits", "--eps", "0.05", "--images", "20", "--device", "cpu", "--version", "apgd-ce")
    judged = command.judge("nets.py:Needs", *on, "--save-adversarial")
    assert command("judge", "--verify", judged.folder).code == 0
    (tmp_path / "table.bin").unlink()
    refused = command("judge", "--verify", judged.folder)
    assert (refused.code, len(refused.error.splitlines())) == (2, 1)
    assert "Needs: fails on images of shape" in refused.error
    assert "table.bin" in refused.error


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attack", ["fab-t", "square", "apgd-ce"])
def test_answers_of_any_precision_are_attacked_as_float32(dtype: torch.dtype, attack: str, tmp_path: Path) -> None:
    """Also those made in inference mode, into which nothing may be written; attacks that need a slope ask for one."""

    def four(x: Tensor) -> Tensor:
        return torch.cat([linear(x), linear(x)[:, :1] - 9], 1)

    def answer(x: Tensor) -> Tensor:
        with torch.inference_mode(attack == "square"):
            return four(x).to(dtype)

    y = four(FEW).argmax(1)

    def in_full(x: Tensor) -> Tensor:
        return four(x).to(dtype).float()

    found, plain = (
        judge(Says(said), FEW, y, Threat(eps=0.02), attack, tmp_path / name)
        for name, said in (("a", answer), ("b", in_full))
    )
    assert same_verdicts(found, plain)


@pytest.mark.parametrize(
    ("attacks", "classes", "size", "instead"),
    [
        (VERSIONS["standard"], 10, 8, None),
        (VERSIONS["standard"], 10, 12, ("apgd-ce", "apgd-t", "fab-t")),
        (VERSIONS["standard"], 3, 8, ("apgd-ce", "apgd-dlr", "fab", "square")),
        (VERSIONS["standard"], 2, 12, ("apgd-ce", "fab")),
        (VERSIONS["plus"], 3, 8, ("apgd-ce", "apgd-dlr", "fab", "square")),
        (("square",), 10, 12, ("apgd-ce",)),
    ],
)
def test_attacks_that_cannot_run_are_named_with_those_that_can(
    attacks: tuple[str, ...], classes: int, size: int, instead: tuple[str, ...] | None
) -> None:
    found = misfit(attacks, "l2", size, size, classes, "npz")
    assert (None if found is None else found.instead) == instead
    if found is not None:
        assert misfit(found.instead, "l2", size, size, classes, "npz") is None
        assert {name for name in ("apgd-t", "square") if name in found.why} == set(attacks) & {
            *(["apgd-t"] if classes < 4 else []),
            *(["square"] if size == 12 else []),
        }
