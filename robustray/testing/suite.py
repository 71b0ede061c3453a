"""Contracts: how they are declared, found, and run on a part."""

from __future__ import annotations

import importlib
import itertools
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import torch
from pydantic import ValidationError

from robustray.registry import Part

_ROOMS = {
    "attack": "attacks",
    "augmentation": "augmentations",
    "averaging": "training",
    "curriculum": "training",
    "data": "data",
    "defense": "defenses",
    "derive": "derived",
    "measure": "measures",
    "model": "models",
    "optimiser": "training",
    "part": "options",
    "schedule": "training",
    "update": "training",
}
"""The file with the contracts of a kind; `part` stands for every kind."""
_KNOWN: dict[str, list[Contract]] = {}
P = TypeVar("P", bound=Part)
F = TypeVar("F", bound=Callable[..., None])


class Result(NamedTuple):
    """How a part kept a contract."""

    name: str
    """The contract, and what it was tried with."""
    passed: bool
    message: str
    """What is promised and what was found instead; "" where the promise was kept."""


@dataclass(frozen=True)
class Contract:
    """A promise of every part of a kind: a function that takes one, and raises AssertionError where it is broken.

    `chosen` are its further arguments, one value of each axis.
    """

    name: str
    says: str
    function: Callable[..., None]
    chosen: Mapping[str, Any]
    default: bool
    """Whether parts as they are by default are enough. Otherwise each other value of each option of choice is tried as well."""
    where: Callable[[Any], bool]
    """Whose promise it is: of which parts of the kind."""

    def asked_of(self, part: Part, other: str = "") -> bool:
        """Whether it is to be tried on a part that is other than by default in what `other` says."""
        return self.where(part) and not (self.default and other)

    def __call__(self, part: Part) -> None:
        """Tries it on a part.

        Raises:
            AssertionError: the promise is broken. Exception: whatever the part raises.
        """
        with torch.random.fork_rng(devices=[]):
            self.function(part, **self.chosen)


def contract(
    kind: str, *, default: bool = False, where: Callable[[Any], bool] = lambda part: True, **axes: Mapping[str, Any]
) -> Callable[[F], F]:
    """Declares a function a contract of a kind: its name is the contract's, its docstring's first paragraph what is promised.

    Args:
        default, where: as in `Contract`.
        axes: further arguments, the values of each by a word for them. All combinations are contracts of their own.
    """

    def declare(function: F) -> F:
        says = " ".join((function.__doc__ or "").partition("\n\n")[0].split())
        known = _KNOWN.setdefault(kind, [])
        for row in itertools.product(*(values.items() for values in axes.values())):
            name = "-".join([function.__name__, *(word for word, _ in row)])
            chosen = dict(zip(axes, (value for _, value in row), strict=True))
            known.append(Contract(name, says, function, chosen, default, where))
        return function

    return declare


def contracts(kind: str) -> list[Contract]:
    """The contracts that a kind has beside those of every kind, `part`, in the order of their declaration."""
    if kind in _ROOMS:
        importlib.import_module(f"robustray.testing.{_ROOMS[kind]}")
    return list(_KNOWN.get(kind, []))


def check(cls: type[Part], **options: Any) -> list[Result]:
    """Tries every contract of a part's kind, and of every kind, on a part by default and with each value of each choice.

    Args:
        cls: the class, registered. options: those that it cannot do without, a folder say.

    Raises:
        RuntimeError: Python runs with -O, which takes the checks out.
    """
    if not __debug__:
        raise RuntimeError("python -O takes assertions away: check without it")
    found = list[Result]()
    tried = variants(cls, **options)
    for each in [*contracts("part"), *contracts(cls.kind)]:
        for word, part in tried:
            if not each.asked_of(part, word):
                continue
            message = _tried(each, part)
            found.append(Result(f"{each.name} ({word})" if word else each.name, not message, message))
    return found


def _tried(each: Contract, part: Part) -> str:
    try:
        each(part)
    except Exception as error:
        broken = isinstance(error, AssertionError)
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = str(error) or where.line or type(error).__name__
        return f"{each.says} {told if broken else f'{type(error).__name__}: {told}'}"
    return ""


def variants(cls: type[P], **options: Any) -> list[tuple[str, P]]:
    """A part by default, then with each other value of each option of choice, each with a word for what is other.

    Values that do not go with the rest of its options are left out. What a class names in `cheap` stands for its defaults.
    """
    options = {**getattr(cls, "cheap", {}), **options}
    found = [("", cls(**options))]
    for option, field in cls.model_fields.items():
        if option == "name" or option in options:
            continue
        for value in choices(field.annotation):
            if value == field.default:
                continue
            try:
                found.append((f"{option}={value}", cls(**options, **{option: value})))
            except ValidationError:
                continue
    return found


def choices(annotation: Any) -> list[Any]:
    """The values of an option of choice; none where there are too many to tell."""
    if annotation is bool:
        return [False, True]
    if annotation is type(None):
        return [None]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        found = [choice for part in get_args(annotation) for choice in choices(part)]
        return found if found != [None] else []
    return []


@contextmanager
def raises(*kinds: type[Exception], saying: str = "") -> Iterator[None]:
    """The block raises one of these, with these words in its message.

    Raises:
        AssertionError: it raises nothing, or says something else.
    """
    caught: Exception | None = None
    try:
        yield
    except kinds as error:
        caught = error
    wanted = " or ".join(kind.__name__ for kind in kinds)
    assert caught is not None, f"nothing was raised where {wanted}{saying and ' about '}{saying} should have been"
    assert saying in str(caught), f"{wanted} should speak of {saying!r}: {caught}"
