"""What holds for every part of every kind: its options, its words, and its way through YAML."""

from __future__ import annotations

import json
from typing import Any, Literal, get_args

import pytest
from pydantic import ValidationError

from robustray.options import words
from robustray.registry import Count, Options, Part, Real, kinds, parts, register
from robustray.training.updates import BoundUpdate, Update
from robustray.trial import TrialConfig
from tests.robustray.made import JUDGE, made

EVERY = [pytest.param(cls, id=f"{kind}-{name}") for kind in kinds() for name, cls in parts(kind).items()]
every_part = pytest.mark.parametrize("cls", EVERY)


def placed(part: dict[str, Any], kind: str) -> dict[str, Any]:
    """A trial's mapping with a part where its kind belongs."""
    if kind == "data":
        return {"judge": {"data": part, "threat": {"eps": 0.1}}}
    if kind == "augmentation":
        return {"judge": JUDGE, "batch": {"augment": [part]}}
    if kind == "mix":
        return {"judge": JUDGE, "batch": {"mix": part}}
    return {"judge": JUDGE, kind: part}


def found(config: TrialConfig, kind: str) -> Part:
    part = {
        "data": config.judge.data,
        "augmentation": (*config.batch.augment, None)[0],
        "mix": config.batch.mix,
    }.get(kind) or getattr(config, kind)
    assert isinstance(part, Part)
    return part


def test_every_kind_has_parts_and_all_are_kept_apart() -> None:
    assert {
        "attack",
        "augmentation",
        "averaging",
        "data",
        "defense",
        "model",
        "optimiser",
        "schedule",
        "update",
    } <= set(kinds())
    assert all(cls.kind == kind and cls.model_fields["name"].default == name
               for kind in kinds() for name, cls in parts(kind).items())  # fmt: skip


@every_part
def test_round_trip_through_json(cls: type[Part]) -> None:
    part = made(cls)
    options = json.loads(json.dumps(part.model_dump(mode="json")))
    config = TrialConfig.model_validate(placed(options, cls.kind))
    assert found(config, cls.kind) == part
    assert type(found(config, cls.kind)) is cls


@every_part
def test_unknown_option_is_refused(cls: type[Part]) -> None:
    options = made(cls).model_dump(mode="json") | {"no_such_option": 1}
    with pytest.raises(ValidationError, match="no_such_option"):
        TrialConfig.model_validate(placed(options, cls.kind))


@every_part
def test_explained(cls: type[Part]) -> None:
    """Every option is documented, and its help names it with its default."""
    text = words.text(cls)
    assert cls.__doc__ is not None
    assert cls.__doc__.splitlines()[0] in text
    for name, field in cls.model_fields.items():
        if name != "name":
            assert field.description, name
            line = next(line for line in text.splitlines() if line.strip().startswith(f"{name} = "))
            assert field.description in line


@every_part
def test_options_are_frozen_and_hashable(cls: type[Part]) -> None:
    part = made(cls)
    assert hash(part) == hash(made(cls))
    with pytest.raises(ValidationError):
        part.name = "other"  # type: ignore[misc]


@every_part
def test_numbers_are_bounded(cls: type[Part]) -> None:
    """No number may be negative: every numeric option of this package has a lower bound, and refuses NaN and booleans."""
    for name, field in cls.model_fields.items():
        if field.annotation in (float, int) or set(get_args(field.annotation)) & {float, int}:
            for wrong in (-1, "nan", True, "many"):
                with pytest.raises(ValidationError, match=name):
                    made(cls, **{name: wrong})


@pytest.mark.parametrize("kind", [k for k in kinds() if any(c.default for c in parts(k).values())])
def test_default_name(kind: str) -> None:
    """A mapping without a name means the kind's default; exactly one part declares it, by its own kind's name."""
    defaults = {cls.default for cls in parts(kind).values() if cls.default}
    assert len(defaults) == 1
    assert defaults <= set(parts(kind))
    assert found(TrialConfig.model_validate(placed({}, kind)), kind).name in defaults


def test_bare_name() -> None:
    assert TrialConfig.model_validate({"judge": JUDGE, "defense": "natural"}).defense.name == "natural"


@pytest.mark.parametrize(
    ("defense", "message"),
    [
        ({"name": "tredes"}, "did you mean 'trades'"),
        ({"name": 3}, "there is no defense '3'"),
        ({}, "needs a name"),
        (7, "must be a name or a mapping"),
        ({"name": "trades", "bta": 1}, "bta"),
    ],
)
def test_wrong_part(defense: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig.model_validate({"judge": JUDGE, "defense": defense})


class Numbers(Options):
    real: Real = 0.5
    count: Count = 1


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("1e-3", 1e-3), (" 1 / 4 ", 0.25), (3, 3.0), ("-1/2", -0.5)]
)
def test_real_takes_fractions(text: object, value: float) -> None:
    assert Numbers.model_validate({"real": text}).real == value


@pytest.mark.parametrize("wrong", [True, "eight", "1/0", "nan", "inf", "1/2/3", None, [1], "1e999"])
def test_real_refuses(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Numbers.model_validate({"real": wrong})


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000), (10.0, 10), ("20/2", 10), (7, 7)])
def test_count_takes_whole_numbers(text: object, value: int) -> None:
    assert Numbers.model_validate({"count": text}).count == value


@pytest.mark.parametrize("wrong", [True, 2.5, "5/2", "nan", None, "1e999"])
def test_count_refuses(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Numbers.model_validate({"count": wrong})


def test_a_taken_name_is_refused() -> None:
    class Impostor(Update):
        name: Literal["plain"] = "plain"

        def bind(self, model: object) -> BoundUpdate:
            raise AssertionError("never bound")

        def passes(self, perturb: int, loss: int) -> int:
            raise AssertionError("never counted")

    with pytest.raises(TypeError, match="already"):
        register(Impostor)
    assert parts("update")["plain"] is not Impostor


def test_a_part_needs_a_literal_name() -> None:
    class Nameless(Part):
        kind = "nothing"

    with pytest.raises(TypeError, match="Literal"):
        register(Nameless)
    assert "nothing" not in kinds()
