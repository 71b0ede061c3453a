"""What holds for every part of every kind: its options, its words, and its way through YAML."""

from __future__ import annotations

import json
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from robustray import words
from robustray.registry import Part, Registered, parts
from robustray.testing.suite import contract, raises
from robustray.trial import TrialConfig

JUDGE: dict[str, Any] = {
    "data": {"name": "digits", "validation": 60},
    "threat": {"norm": "linf", "eps": 0.1},
    "cheap": {"name": "pgd", "loss": "margin", "steps": 2},
    "images": {"validation": 20},
}


INSIDE = {"data": ("judge", "data"), "augmentation": ("batch", "augment"), "mix": ("batch", "mix")}
"""Kinds that stand inside a section of a trial's file; others are keys of it, or stand beside it."""


def placed(part: object, kind: str) -> dict[str, Any]:
    """A trial's mapping with a part where its kind belongs."""
    if kind == "data":
        return {"judge": {"data": part, "threat": {"eps": 0.1}}}
    if kind == "augmentation":
        return {"judge": JUDGE, "batch": {"augment": [part]}}
    if kind == "mix":
        return {"judge": JUDGE, "batch": {"mix": part}}
    return {"judge": JUDGE, kind: part}


def found(config: TrialConfig, kind: str) -> Part:
    """The part of a kind that a trial has."""
    part = {
        "data": config.judge.data,
        "augmentation": (*config.batch.augment, None)[0],
        "mix": config.batch.mix,
    }.get(kind) or getattr(config, kind)
    assert isinstance(part, Part)
    return part


def taken(options: object, kind: str) -> Part:
    """The part that a trial's file makes of options; of a kind that stands beside trials, what a space makes of them."""
    if kind not in INSIDE and kind not in TrialConfig.model_fields:
        adapter: TypeAdapter[Part] = TypeAdapter(Annotated[Part, Registered(kind)])
        return adapter.validate_python(options)
    return found(TrialConfig.model_validate(placed(options, kind)), kind)


def remade(part: Part, **options: Any) -> Part:
    """The same part from its options as they are written, some of them changed."""
    return type(part).model_validate(part.model_dump(mode="json") | options)


@contract("part", default=True)
def is_known_by_its_name(part: Part) -> None:
    """`@register` files the class under its kind and its name."""
    known = parts(part.kind)
    assert part.name in known, f"there is no {part.kind} {part.name!r}: put @register above the class"
    assert known[part.name] is type(part)


@contract("part", default=True)
def options_go_through_json_and_back(part: Part) -> None:
    """A trial's file takes the part's options and gives the same part."""
    options = json.loads(json.dumps(part.model_dump(mode="json")))
    again = taken(options, part.kind)
    assert again == part
    assert type(again) is type(part)


@contract("part", default=True)
def unknown_options_are_refused(part: Part) -> None:
    """A key that is no option is an error that names the key."""
    options = part.model_dump(mode="json") | {"no_such_option": 1}
    with raises(ValidationError, saying="no_such_option"):
        taken(options, part.kind)


@contract("part", default=True)
def every_option_is_explained(part: Part) -> None:
    """The class has a docstring, every option a description, and help shows them."""
    cls = type(part)
    text = words.text(cls)
    assert cls.__doc__, "the class has no docstring"
    assert cls.__doc__.splitlines()[0] in text
    for name, field in cls.model_fields.items():
        if name != "name":
            assert field.description, f"{name} needs Field(..., description=...)"
            line = next((line for line in text.splitlines() if line.strip().startswith(f"{name} = ")), "")
            assert field.description in line, f"{name}: {line}"


@contract("part", default=True)
def options_are_frozen_and_hashable(part: Part) -> None:
    """Equal options are equal parts, and none can be changed."""
    assert part == remade(part)
    assert hash(part) == hash(remade(part))
    with raises(ValidationError):
        part.name = "other"  # type: ignore[misc]


@contract("part", default=True)
def numbers_are_bounded(part: Part) -> None:
    """Every number has a lower bound, and none is negative, a NaN, a boolean or a word."""
    for name, field in type(part).model_fields.items():
        if field.annotation in (float, int) or set(get_args(field.annotation)) & {float, int}:
            for wrong in (-1, "nan", True, "many"):
                with raises(ValidationError, saying=name):
                    remade(part, **{name: wrong})
