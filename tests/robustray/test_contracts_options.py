"""What holds for every part of every kind: its options, its words, and its way through YAML."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from robustray.options.yaml import Place, parse
from robustray.registry import Count, Options, Part, Real, kinds, parts, register
from robustray.testing import Contract
from robustray.testing.options import found, placed
from robustray.training.updates import BoundUpdate, Update
from robustray.trial import TrialConfig
from tests.robustray.made import JUDGE, kept


@kept("part", of=kinds())
def test_contract(contract: Contract, part: Part) -> None:
    contract(part)


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

    with pytest.raises(TypeError, match="already"):
        register(Impostor)
    assert parts("update")["plain"] is not Impostor


def test_a_part_needs_a_literal_name() -> None:
    class Nameless(Part):
        kind = "nothing"

    with pytest.raises(TypeError, match="Literal"):
        register(Nameless)
    assert "nothing" not in kinds()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0100", 100),
        ("010", 10),
        ("-010", -10),
        ("0_10", 10),
        ("0", 0),
        ("0x10", 16),
        ("0b11", 3),
        ("1_000", 1000),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2026-11-28", "2026-11-28"),
        ("'0100'", "0100"),
        ("0.10", 0.1),
        ("010.5", 10.5),
    ],
)
def test_numbers_in_yaml_are_what_people_read(text: str, value: object) -> None:
    """No octals, no base 60, no dates."""
    read, _ = parse(f"a: [{text}]", lambda line: Place(line, str(line)))
    assert read["a"] == [value]
    assert type(read["a"][0]) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8./255", 8 / 255), ("8/255.", 8 / 255), ("0.5/255", 0.5 / 255), (" 8 / 255 ", 8 / 255), ("08", 8)],
)
def test_numbers_as_code_writes_them(text: str, value: float) -> None:
    assert Numbers(real=text).real == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["1:30", "1 28", "0. 1", "8/2 55", "1e999999999/2", "1/1e999999999", "/2", "2/", "1/2/3"]
)
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValidationError, match="must be a number"):
        Numbers(real=text)
