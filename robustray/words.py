"""What a part or a section of the YAML file is, in words: for `--explain trades` and the pages of docs/reference."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from robustray.options.yaml import Keys, dotted, show
from robustray.plain import first_sentence
from robustray.registry import KIND, SHORT, Options, Part, name_of, parts

Schema = Mapping[str, Any]
REQUIRED = "required"
_WIDE = 110
_BESIDE = {"measure": "measures"}
"""The space's own lists of parts, where they are not called as their kind."""
_NOUNS = {"number": "a number", "integer": "a whole number", "boolean": "true or false", "string": "text",
          "null": "null", "object": "a mapping", "array": "a list"}  # fmt: skip
_BOUNDS = {"minimum": "at least", "ge": "at least", "exclusiveMinimum": "above", "gt": "above",
           "maximum": "at most", "le": "at most", "exclusiveMaximum": "below", "lt": "below"}  # fmt: skip


@dataclass(frozen=True)
class Option:
    """One line of a table of options."""

    name: str  # dotted below a section: `batch.size`
    values: str  # `a number, at least 0`
    default: str  # as YAML writes it, or `required`
    description: str


def listed(kind: str) -> str:
    """A kind and a line for each of its parts."""
    width = max(map(len, parts(kind)))
    below = " " * (width + 4)
    lines = [
        textwrap.fill(
            summary(cls),
            _WIDE,
            initial_indent=f"  {name:{width}}  ",
            subsequent_indent=below,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, cls in parts(kind).items()
    ]
    return "\n".join([f"every {kind}:", "", *lines])


def summary(cls: type) -> str:
    """The first sentence of a docstring, on one line."""
    return first_sentence(_ended(opening(cls)[0]))


def opening(cls: type) -> tuple[str, str]:
    """The first paragraph of a docstring on one line, up to an empty line or to a formula, which is set in; and the rest."""
    lines = docstring(cls).splitlines()
    until = next((at for at, line in enumerate(lines) if not line.strip() or line[0] == " "), len(lines))
    return " ".join(lines[:until]), "\n".join(lines[until:])


def _ended(told: str) -> str:
    """A full stop for what goes on in a formula, `is certain within eps:`, or has none."""
    return told if told.endswith((".", "?", "!")) else f"{told.rstrip(' :;,')}."


def docstring(cls: type) -> str:
    """A class's docstring without its indentation."""
    first, _, rest = (cls.__doc__ or "").strip().partition("\n")
    lines = rest.splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join([first, *(line[indent:].rstrip() for line in lines)])


def text(cls: type[Options], called: str = "") -> str:
    """One part as `--explain` prints it: docstring, a line per option with its values below, cost, example.

    Args:
        called: the key of a section in the file, where this is none of a kind's parts.
    """
    blocks = [f"{cls.kind} {name_of(cls)}" if issubclass(cls, Part) else called, docstring(cls)]
    table = [line for option in options(cls) for line in lines(option)]
    blocks += ["\n".join(["Options", "", *table])] if table else ["No options."]
    if issubclass(cls, Part):
        blocks += [f"Cost: {told}" for told in [cost(cls)] if told]
        blocks.append("In a search space\n\n" + "\n".join(f"  {line}" for line in example(cls).splitlines()))
    return "\n\n".join(blocks)


def lines(option: Option) -> list[str]:
    """An option with its default and meaning, and the values it takes below."""
    return [f"  {option.name} = {option.default}  {option.description}".rstrip(), f"      {option.values}"]


def options(cls: type[Options]) -> list[Option]:
    """The options of a part or a section, those inside a section below it; `name` and whatever is no option left out."""
    whole = cls.model_json_schema()
    return list(_options(cls, whole, whole.get("$defs", {}), ()))


def _options(cls: type[BaseModel], schema: Schema, defs: Schema, above: Keys) -> Iterator[Option]:
    for name, field in cls.model_fields.items():
        if name == "name" and issubclass(cls, Part):
            continue
        node = schema["properties"][name]
        below = inside(field)
        described = field.description or (_ended(opening(below)[0]) if below else "")
        yield Option(dotted((*above, name)), words(node, defs), default(field), described)
        if below is not None and not issubclass(below, Part):
            yield from _options(below, _resolved(node, defs), defs, (*above, name))


def inside(field: FieldInfo) -> type[Options] | None:
    """The class of a field that holds options of its own."""
    united = get_origin(field.annotation) in (Union, types.UnionType)
    known = get_args(field.annotation) if united else (field.annotation,)
    return next((each for each in known if isinstance(each, type) and issubclass(each, Options)), None)


def _resolved(node: Schema, defs: Schema) -> Schema:
    """The mapping a node means, behind references and beside null or a shorter form."""
    if "$ref" in node:
        return _resolved(defs[node["$ref"].rpartition("/")[2]], defs)
    inner = [each for key in ("anyOf", "allOf") for each in node.get(key, ()) if each.get("type") != "null"]
    resolved = [_resolved(each, defs) for each in inner]
    return next((each for each in resolved if "properties" in each), *resolved[:1] or [node])


def words(node: Schema, defs: Schema) -> str:
    """The values that a node of pydantic's JSON Schema allows: `a number, at least 0, or null`."""
    if KIND in node:
        return f"{node[KIND]}: {either(list(node['discriminator']['mapping']))}"
    if "$ref" in node:
        inside = _resolved(node, defs)
        if SHORT not in inside:
            return "a mapping"
        bare = words(inside["properties"][inside[SHORT]], defs).removesuffix(" or null").rstrip(",")
        return f"{bare}, or a mapping"
    if "anyOf" in node:
        return either([words(each, defs) for each in node["anyOf"]])
    if "const" in node or "enum" in node:
        return either([_plain(value) for value in node.get("enum", [node.get("const")])])
    kind = node.get("type")
    if kind == "array":
        items = node.get("items") or {}
        return f"a list, each {words(items, defs)}" if items else "a list"
    if kind == "object" and isinstance(node.get("additionalProperties"), Mapping):
        keys, values = node.get("propertyNames", {}), node["additionalProperties"]
        return f"a mapping from {words(keys, defs)} to {words(values, defs)}"
    bounds = " and ".join(f"{word} {show(node[key])}" for key, word in _BOUNDS.items() if key in node)
    return ", ".join(filter(None, [_NOUNS.get(str(kind), "any value"), bounds]))


def either(several: Sequence[str]) -> str:
    """`a, b or c`."""
    *others, last = dict.fromkeys(several)
    if any(", " in each or ": " in each for each in others):
        return ", or ".join([*others, last])
    return f"{', '.join(others)} or {last}" if others else last


def default(field: FieldInfo) -> str:
    """The default of an option as YAML writes it."""
    if field.is_required() or field.default is PydanticUndefined:
        return REQUIRED
    return _plain(_data(field.default))


def _data(value: object) -> Any:
    """A default as plain data: a part by its name, with what is not that part's own default."""
    if isinstance(value, Part):
        changed = value.model_dump(mode="json", exclude_defaults=True)
        return {"name": value.name, **_data(changed)} if changed else value.name
    if isinstance(value, Options):
        return _data(value.model_dump(mode="json", exclude_none=True))
    if isinstance(value, tuple | list):
        return [_data(each) for each in value]
    if isinstance(value, dict):
        return {key: _data(each) for key, each in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> str:
    """Any plain data on one line of YAML; 6.0 as 6."""
    if isinstance(value, float):
        return show(value)
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return dumped.removesuffix("\n").removesuffix("\n...")


def cost(cls: type[Part]) -> str:
    """Passes per image with the default options, where a part declares what it costs; else "".

    A forward of an image is one pass, a backward to the input one, to the weights one more.
    """
    from robustray.attacks.base import Attack

    if any(field.is_required() for field in cls.model_fields.values()):
        return ""
    part = cls.model_validate({})
    return f"{part.passes} passes per image, with the options' defaults" if isinstance(part, Attack) else ""


def _stand_in(name: str, field: FieldInfo) -> Any:
    """For an option that has no default: the example its field gives, else it is a path."""
    return field.examples[0] if field.examples else f"path/to/{name}"


def example(cls: type[Part]) -> str:
    """A part at its place in a search space, with its defaults, as YAML. What is required has a stand-in."""
    shown: dict[str, Any] = {"name": name_of(cls)}
    for name, field in cls.model_fields.items():
        if name != "name":
            value = _stand_in(name, field) if default(field) == REQUIRED else _data(field.default)
            if value is not None:
                shown[name] = value
    tree: Any = shown if len(shown) > 1 else shown["name"]
    lines: list[str] = []
    indent = ""
    for key in place(cls.kind):
        if isinstance(key, int):
            tree = [tree]
        else:
            lines, indent = [*lines, f"{indent}{key}:"], f"{indent}  "
    inline = _plain(tree)
    if len(lines[-1]) + len(inline) < _WIDE:
        return "\n".join([*lines[:-1], f"{lines[-1]} {inline}"])
    block = yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=_WIDE)
    return "\n".join([*lines, *(indent + line for line in block.splitlines())])


def place(kind: str) -> Keys:
    """Where parts of a kind stand in a search space: `("trial", "defense")`; an index stands for a list."""
    whole = _trial()
    places = list(_places(whole, whole["$defs"], kind))
    if not places:
        return _BESIDE.get(kind, kind), 0  # a list of the space's own, beside its trial
    keys = min(places, key=lambda keys: (keys[0] == "judge", len(keys)))  # what is trained against before the judge's
    return keys if keys[0] == "judge" else ("trial", *keys)


@cache  # a second of work for all parts of the reference
def _trial() -> dict[str, Any]:
    from robustray.trial import TrialConfig

    return TrialConfig.model_json_schema()


def _places(node: Schema, defs: Schema, kind: str) -> Iterator[Keys]:
    if KIND in node:
        yield from [()] if node[KIND] == kind else []
        return
    if "$ref" in node:
        node = _resolved(node, defs)
    for each in node.get("anyOf", ()):
        yield from _places(each, defs, kind)
    if isinstance(node.get("items"), Mapping):
        yield from ((0, *keys) for keys in _places(node["items"], defs, kind))
    for name, inside in node.get("properties", {}).items():
        yield from ((name, *keys) for keys in _places(inside, defs, kind))
