"""What pydantic finds wrong, in plain words and by the keys of the YAML file."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from robustray.errors import nearest
from robustray.options.yaml import Keys, dotted, show
from robustray.registry import Part, parts

_REQUIREMENTS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "number": "must be a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "count": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}
"""Error type -> what is asked for, with the error's context filled in. Errors not named here speak for themselves."""


class Mistakes(ValueError):
    """What is wrong inside one value, by the keys from it. Raised in a validator, each is reported at its own place."""

    def __init__(self, found: Mapping[Keys, str]) -> None:
        super().__init__("; ".join(f"{dotted(keys)}: {what}" for keys, what in found.items()))
        self.found = dict(found)


def mistakes(error: ValidationError, model: type[BaseModel]) -> dict[Keys, str]:
    """Everything that a failed validation found.

    Args:
        error: what pydantic raised.
        model: the class whose validation failed.

    Returns:
        What is wrong, one line each, by the keys as they stand in the data: tags of unions are taken out.
    """
    found: dict[Keys, str] = {}
    plain: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        keys, holder = _keys(detail["loc"], model)
        context = detail.get("ctx", {})
        inner = context.get("error")
        if isinstance(inner, Mistakes):
            found |= {(*keys, *below): what for below, what in inner.found.items()}
        elif detail["type"] == "missing":
            found[keys] = "is missing"
        elif detail["type"] == "extra_forbidden":
            known = holder.model_fields if isinstance(holder, type) and issubclass(holder, BaseModel) else {}
            found[keys] = f"unknown key; {nearest(str(keys[-1]), known)}"
        else:
            if isinstance(detail["input"], dict) and context.get("key") in detail["input"]:
                keys = (*keys, context["key"])  # the validator of a whole mapping knows which of its keys is wrong
            plain.setdefault(keys, []).append(detail)
    found |= {keys: requirement(details) for keys, details in plain.items()}
    # An error above others comes of another member of a union than they do: the one that fits as far as them knows more.
    return {keys: what for keys, what in found.items() if not any(_is_below(other, keys) for other in found)}


def _is_below(keys: Keys, above: Keys) -> bool:
    return len(keys) > len(above) and keys[: len(above)] == above


def requirement(details: Sequence[ErrorDetails]) -> str:
    """What one value must be and is not: `must be 'auto' or at least 0, not -1`.

    Args:
        details: pydantic's errors on that value; more than one where every member of a union refused it.
    """
    asked: list[str] = []
    for detail in details:
        template = _REQUIREMENTS.get(detail["type"])
        if template is None:
            return detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        context = {key: show(value) if key != "expected" else value for key, value in detail.get("ctx", {}).items()}
        asked.append(template.format(**context))
    alternatives = " or ".join([asked[0], *(each.removeprefix("must be ") for each in asked[1:])])
    return f"{alternatives}, not {show(details[0]['input'])}{_hint(details)}"


def _hint(details: Sequence[ErrorDetails]) -> str:
    value = details[0]["input"]
    if details[0]["type"] == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    words = [word for detail in details for word in re.findall("'([^']*)'", detail.get("ctx", {}).get("expected", ""))]
    hint = nearest(value, words) if isinstance(value, str) else ""
    return f"; {hint}" if hint.startswith("did you mean") else ""


def _keys(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[Keys, Any]:
    """Pydantic's location as keys of the data, and the type that holds the last of them."""
    keys: Keys = ()
    here: Any = model
    holder: Any = model
    for step in location:
        if step == "[key]":  # the step before was a key of a mapping, and the key itself is wrong
            continue
        holder, (here, is_key) = here, _below(here, step)
        if is_key:
            keys = (*keys, step)
    return keys, _itself(holder)


def _itself(here: Any) -> Any:
    """A type without what is around it: `Moves` of `Moves | None`."""
    origin, arguments = get_origin(here), get_args(here)
    if origin is Annotated:
        return _itself(arguments[0])
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if member is not type(None)]
        return _itself(members[0]) if len(members) == 1 else here
    return here


def _below(here: Any, step: int | str) -> tuple[Any, bool]:
    """The type one step down a location, and whether the step is a key of the data (or pydantic's word for a type)."""
    origin, arguments = get_origin(here), get_args(here)
    if origin is Annotated:
        return _below(arguments[0], step)
    if origin in (Union, types.UnionType):
        members = [member for member in arguments if member is not type(None)]
        return _below(members[0], step) if len(members) == 1 else (Any, False)
    if origin in (list, tuple, dict):
        return arguments[0 if origin is tuple else -1], True
    if isinstance(here, type) and issubclass(here, BaseModel):
        if issubclass(here, Part) and here.model_fields["name"].is_required():  # a kind: the step is a part's name
            return parts(here.kind)[str(step)], False
        field = here.model_fields.get(str(step))
        return (field.annotation if field else Any), True
    return Any, True
