"""`robustray.testing.check`: it finds what breaks a promise, says which one, and leaves the world as it was."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar, Literal

import pytest
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from robustray import registry
from robustray.attacks import Attack, Pgd, Threat
from robustray.defenses import Defense
from robustray.defenses.base import Demand
from robustray.defenses.step import Loss, Step
from robustray.registry import Part, Real, kinds, parts
from robustray.testing import Result, check, contracts
from robustray.testing.suite import contract, raises, variants
from robustray.training.schedules import Constant
from tests.robustray.made import made


class Plain(Defense):
    """Adversarial training, as simple as can be."""

    name: Literal["checked"] = "checked"
    weight: Real = Field(1.0, ge=0, description="weight of the loss")

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        return Loss(
            robust=self.weight * step.cross_entropy(step.logits(x_adv)), clean=step.cross_entropy(step.logits(step.x))
        )


class Outside(Plain):
    """It leaves the ball."""

    def perturb(self, step: Step) -> Tensor:
        return (step.x + 2 * step.bound.threat.eps).clamp(0, 1)


class Frozen(Plain):
    """Its loss reaches no weight."""

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        with torch.no_grad():
            logits = step.logits(x_adv)
        return Loss(robust=step.cross_entropy(logits.requires_grad_()))


class WrongLabels(Plain):
    """It descends to the labels that attacks see."""

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        robust, clean = (F.cross_entropy(step.logits(images), step.attacked) for images in (x_adv, step.x))
        return Loss(robust=self.weight * robust, clean=clean)


class Careless(Plain):
    """It draws from the world's generator."""

    def perturb(self, step: Step) -> Tensor:
        noise = step.bound.threat.eps * (2 * torch.rand_like(step.x) - 1)
        return step.bound.threat.project(step.x + noise, step.x).detach()


class Undeclared(Plain):
    """It demands less than it needs."""

    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary"})

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        x = step.x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(step.cross_entropy(step.logits(x)), x, create_graph=True)
        return Loss(robust=step.cross_entropy(step.logits(x_adv)), slope=slope.square().sum())


class Broken(Plain):
    """It has a bug."""

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        raise KeyError("no such thing")


class Unexplained(Plain):
    """An option says nothing, and takes anything."""

    other: float = 1.0


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for kind in kinds():
        monkeypatch.setitem(registry._PARTS, kind, dict(registry._PARTS[kind]))


def checked(cls: type[Part]) -> dict[str, Result]:
    """Registers a class in the place of the one of its name, and checks it."""
    registry._PARTS[cls.kind][cls.model_fields["name"].default] = cls
    results = check(cls)
    assert all(bool(result.message) != result.passed for result in results)
    return {result.name: result for result in results}


def broken(cls: type[Part]) -> dict[str, str]:
    return {name: result.message for name, result in checked(cls).items() if not result.passed}


def test_a_part_that_keeps_its_promises_breaks_none() -> None:
    results = checked(Plain)
    assert [result for result in results.values() if not result.passed] == []
    assert set(results) == {each.name for kind in ("part", "defense") for each in contracts(kind)}


@pytest.mark.parametrize(
    ("cls", "names", "words"),
    [
        (Outside, "perturbed_images_are_inside-linf", "violated"),
        (Frozen, "loss_is_in_training_mode_and_reaches_every_weight", "grad"),
        (WrongLabels, "targets_are_for_the_loss_alone", "climbs away"),
        (WrongLabels, "smoothed_labels_are_for_the_loss_alone", "change the loss"),
        (Careless, "equal_seeds_give_equal_images_and_losses", "own stream"),
        (Undeclared, "passes_are_counted-own loss-2 images", "second_order"),
        (Broken, "gradient_is_that_of_the_loss", "KeyError: 'no such thing'"),
        (Unexplained, "every_option_is_explained", "other needs Field"),
        (Unexplained, "numbers_are_bounded", "other"),
    ],
)
def test_a_broken_promise_is_told(cls: type[Defense], names: str, words: str) -> None:
    """Which it is, and what was found; a bug is a broken promise, not an end of the checks."""
    found = broken(cls)
    assert names in found
    assert words in found[names]


def test_only_what_is_broken_is_told() -> None:
    assert set(broken(WrongLabels)) == {"targets_are_for_the_loss_alone", "smoothed_labels_are_for_the_loss_alone"}


def test_a_class_that_is_not_registered_is_told_so() -> None:
    first = next(result for result in check(Plain) if not result.passed)
    assert "put @register above the class" in first.message


def test_every_value_of_every_choice_is_tried() -> None:
    class Slow(Constant):
        """Falls where it is told to."""

        name: Literal["constant"] = "constant"
        falling: bool = Field(False, description="whether it falls below zero")

        def factor(self, step: int, total: int) -> float:
            return -1.0 if self.falling else 1.0

    found = broken(Slow)
    assert set(found) == {"rates_are_defined_for_any_length (falling=True)"}
    assert "above zero" in found["rates_are_defined_for_any_length (falling=True)"]


def test_options_that_a_part_cannot_do_without_are_given() -> None:
    cls = parts("curriculum")["stages"]
    with pytest.raises(ValueError, match="stages"):
        check(cls)
    assert all(result.passed for result in check(cls, stages=made(cls).stages))  # type: ignore[attr-defined]


def test_a_python_without_assertions_checks_nothing_and_says_so() -> None:
    code = (
        "from robustray.registry import parts; from robustray.testing import check; check(parts('schedule')['cosine'])"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "python -O takes assertions away" in done.stderr


def test_the_global_generator_stays() -> None:
    world = torch.get_rng_state()
    check(parts("schedule")["cosine"])
    assert torch.equal(torch.get_rng_state(), world)


@pytest.mark.parametrize("kind", ["part", *(kind for kind in kinds() if kind != "mix")])
def test_every_contract_says_what_it_promises(kind: str) -> None:
    known = contracts(kind)
    assert known
    assert all(each.says for each in known)
    assert len({each.name for each in known}) == len(known)


def test_a_contract_of_a_new_kind_is_declared_by_a_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustray.testing.suite._KNOWN", {})

    @contract("attack", default=True, where=lambda attack: attack.steps > 1, threat={"tiny": Threat(eps=1e-3)})
    def is_short(attack: Attack, threat: Threat) -> None:
        """Of few steps."""
        assert getattr(attack, "steps", 0) < 5, f"too long, within {threat.eps}"

    (found,) = contracts("attack")
    assert (found.name, found.says) == ("is_short-tiny", "Of few steps.")
    assert found.asked_of(Pgd(steps=2))
    assert not found.asked_of(Pgd(steps=2), "mode=eval")
    assert not found.asked_of(Pgd(steps=1))
    found(Pgd(steps=2))
    with pytest.raises(AssertionError, match=r"too long, within 0\.001"):
        found(Pgd(steps=6))


def failing(error: Exception) -> None:
    with raises(ValueError, saying="words"):
        raise error


def test_an_error_must_be_there_and_speak() -> None:
    failing(ValueError("with words in it"))
    with pytest.raises(AssertionError, match="should speak of"):
        failing(ValueError("nothing"))
    with pytest.raises(KeyError):
        failing(KeyError("words"))
    with pytest.raises(AssertionError, match="nothing was raised"), raises(ValueError):
        pass


def test_a_dear_part_is_tried_cheaply() -> None:
    """With the options that its class names, each choice with every value; what a caller gives comes first."""

    class Dear(Plain):
        cheap: ClassVar[dict[str, object]] = {"weight": 0.5}
        how: Literal["a", "b"] = Field("a", description="a choice")

    tried = variants(Dear)
    assert {part.weight for _, part in tried} == {0.5}
    assert "how=b" in [word for word, _ in tried]
    assert {part.weight for _, part in variants(Dear, weight=2)} == {2}
