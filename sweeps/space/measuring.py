"""`measures` in a search space: what is measured of models besides accuracies, by name, and of which models."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from robustray.measures.base import Measure, SplitName
from robustray.measures.metrics import METRICS, measure_of
from robustray.options.mistakes import Mistakes
from robustray.options.yaml import Keys
from robustray.registry import Count, Options, Registered, parts


def _by_name(value: object) -> object:
    """A list as the mapping that it is short for: each measure under its own name, `robust_accuracy_measured` where that is
    a metric's that training measures.
    """
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, object] = {}
    for at, each in enumerate(value):
        name = (
            each if isinstance(each, str) else each.get("name") if isinstance(each, dict) else getattr(each, "name", "")
        )
        if not isinstance(name, str) or name in found:
            again = "is there twice" if name in found else "needs a name"
            other = f"{name}_other" if name in found else "lipschitz"
            raise Mistakes({(at,): f"{name or each} {again}; name them: measures: {{{other}: {{name: ...}}}}"})
        found[name] = each
    return {f"{name}_measured" if name in set(METRICS) else name: each for name, each in found.items()}


def _list_too(schema: dict[str, Any]) -> None:
    values = copy.deepcopy(schema["additionalProperties"])
    mapping = {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": values}
    schema["anyOf"] = [{"type": "array", "items": schema.pop("additionalProperties")}, mapping]
    del schema["type"]


Measures = Annotated[
    dict[str, Annotated[Measure, Registered("measure")]], BeforeValidator(_by_name), Field(json_schema_extra=_list_too)
]
"""By name: a list of measures, or a mapping where two are of one kind: `lipschitz_softmax: {name: lipschitz, ...}`."""


class Measuring(Options):
    """Of which models `measures` are taken, and on which images."""

    short: ClassVar[str | None] = "of"
    of: Literal["members", "all"] = Field(
        "members",
        description="members: of the frontier's members, once they are fixed; all: besides, of every trial and point as its "
        "training ends, on tune images. What objectives or constraints name is always taken of all",
    )
    splits: tuple[SplitName, ...] = Field(
        ("validation",),
        description="on which images members are measured: those of validation that are judged, train, test; where test is "
        "named, it is read for members alone, after they are fixed",
    )
    images: Literal["all"] | Annotated[Count, Field(ge=1)] = Field(
        "all", description="at most so many images of each, stratified by class"
    )

    @field_validator("splits", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("splits")
    @classmethod
    def _some_once(cls, value: tuple[SplitName, ...]) -> tuple[SplitName, ...]:
        if not value or len(set(value)) < len(value):
            raise PydanticCustomError("splits", "must name one or more of train, validation, test, each once")
        return value


def misnamed(measures: Mapping[str, Measure]) -> dict[Keys, str]:
    """Names that do not begin with their measure's: unit and direction of a metric are found by its name."""
    wrong: dict[Keys, str] = {}
    for name, measure in measures.items():
        own = measure.name
        if name in set(METRICS) or measure_of(name) is not type(measure):
            bare = "" if own in set(METRICS) else f"be {own}, or "
            wrong[name,] = f"must {bare}begin with {own}_ and no other measure's or metric's name: {own}_other"
    return wrong


def unmeasured(names: Iterable[str], measures: Collection[str]) -> dict[Keys, str]:
    """Objectives or constraints that are measures, and not among those of the space."""
    wrong: dict[Keys, str] = {}
    for name in names:
        if name not in {*METRICS, *measures}:
            own = next(own for own, cls in parts("measure").items() if cls is measure_of(name))
            asked = f"[{own}]" if own == name else f"{{{name}: {{name: {own}}}}}"
            wrong[name,] = f"is a measure, and `measures` has none of this name; write measures: {asked}"
    return wrong


def keys_of_metrics() -> dict[str, Any]:
    """What objectives and constraints may be called, for editors: pydantic leaves the keys of a mapping unsaid."""
    own = sorted(parts("measure"))
    named: list[dict[str, Any]] = [{"enum": [*METRICS, *own]}]
    return {"anyOf": [*named, {"type": "string", "pattern": f"^({'|'.join(own)})_"}]} if own else named[0]


def held(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What must not change between runs: how objectives and constraints are measured. All else may be asked for later."""
    named = {*(resolved.get("objectives") or {}), *(resolved.get("constraints") or {})}
    asked = {name: each for name, each in (resolved.get("measures") or {}).items() if name in named}
    images = (resolved.get("measuring") or {}).get("images", "all")
    return {"measures": asked, "measuring": {"images": images}} if asked else {}
