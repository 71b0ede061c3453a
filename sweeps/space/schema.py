"""JSON Schema of a search space, for editors: `make schema` writes it beside the search spaces.

`python -m sweeps.space.schema my_defense.py` prints one that knows the parts of plugins as well.

Made from pydantic's schema of the options. Outside `trial` values are constants. Inside, any value may be a distribution, and
a choice may hold whole branches. What depends on two values at once (low below high) is left to `Sweep`, which says more.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from robustray import plugins, registry
from robustray.attacks.threats import Threat
from robustray.errors import told_in_one_line
from robustray.files import write_whole
from robustray.registry import KIND, SHORT, parts
from robustray.trial import TrialConfig
from robustray.words import summary
from sweeps.space import Sweep
from sweeps.space.distributions import KINDS, MEANING, OF_A_PRIOR, PRIOR
from sweeps.space.space import SHARED

FILE = "schema.json"
Node = Mapping[str, Any]
Forms = list[dict[str, Any]]
_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$|^\s*[-+]?(\d+\.?\d*|\.\d+)\s*/\s*0*[1-9]\d*\.?\d*\s*$"
_NUMBER_AS_TEXT: dict[str, Any] = {"$ref": "#/definitions/number as text"}  # 8/255, 1e-3
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}  # pydantic writes both
_LABEL = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_-]+$",
    "description": "what this branch is called in names of parameters; needed where name does not tell it from the others",
}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 7, which editors know best) of a search space."""
    refs, whole = models_json_schema([(Sweep, "validation"), (TrialConfig, "validation")])
    known = whole["$defs"]
    sweep, trial = (known[refs[cls, "validation"]["$ref"].rpartition("/")[2]] for cls in (Sweep, TrialConfig))
    writer = _Writer(known)
    properties = {name: writer.value(node, vary=False) for name, node in sweep["properties"].items()}
    inside = {name: node for name, node in trial["properties"].items() if name not in SHARED}
    template = {name: writer.value(node, vary=True) for name, node in inside.items()}
    properties["trial"] = {"description": sweep["properties"]["trial"]["description"], **_mapping(template, ())}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "robustray search space",
        "description": summary(Sweep),
        **_mapping(properties, sweep["required"]),
        "definitions": dict(sorted(writer.definitions.items())),
    }


def _mapping(properties: Mapping[str, Any], required: Iterable[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _any_of(forms: Forms) -> dict[str, Any]:
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


class _Writer:
    """Writes nodes of pydantic's schema anew. A mapping of options becomes a definition: for constants, varied, as a branch."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.definitions: dict[str, Any] = {"number as text": {"type": "string", "pattern": _NUMBER}}
        self._known = known

    def value(self, node: Node, *, vary: bool) -> dict[str, Any]:
        """A value: one of its forms, or a distribution over them."""
        forms = self._forms(node, vary=vary)
        if vary:
            forms = [*forms, self._distribution(node, forms)]
        return {key: node[key] for key in ("description", "default") if key in node} | _any_of(forms)

    def _forms(self, node: Node, *, vary: bool, branch: bool = False) -> Forms:
        """The forms of a value that is no distribution itself; `branch` for those that an entry of a choice has."""
        if KIND in node:
            return self._parts(node, vary=vary, branch=branch)
        if "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            short = self._known[name].get(SHORT)
            bare = self._forms(self._known[name]["properties"][short], vary=False) if short else []
            needs = {"required": ["label"]} if branch else {}
            return [{**self._section(name, vary=vary, branch=branch), **needs}, *bare]
        if "anyOf" in node:
            return [form for each in node["anyOf"] for form in self._forms(each, vary=vary, branch=branch)]
        if "enum" in node or "const" in node:
            return [{"enum": node.get("enum", [node.get("const")])}]
        match node.get("type"):
            case "number" | "integer" as kind:
                bounds = {_BOUNDS.get(key, key): value for key, value in node.items()}
                kept = {key: bounds[key] for key in _BOUNDS.values() if key in bounds}
                return [{"type": kind, **kept}, _NUMBER_AS_TEXT]
            case "array":
                return [] if branch else [{"type": "array", "items": self.value(node.get("items", {}), vary=vary)}]
            case "object":
                kept = {key: node[key] for key in ("propertyNames",) if key in node}
                inside = node.get("additionalProperties")
                values = self.value(inside, vary=vary) if isinstance(inside, Mapping) else True
                return [] if branch else [{"type": "object", **kept, "additionalProperties": values}]
            case "string" | "boolean" | "null" as kind:
                return [{key: node[key] for key in ("pattern",) if key in node} | {"type": kind}]
        return [{}]

    def _parts(self, node: Node, *, vary: bool, branch: bool) -> Forms:
        """A registered part: its bare name, or a mapping for each name."""
        taken = node["discriminator"]["mapping"]
        known = {name: cls for name, cls in parts(node[KIND]).items() if name in taken}
        fallback = next((cls.default for cls in known.values() if cls.default), None)
        names = [name for name, cls in known.items() if not any(f.is_required() for f in cls.model_fields.values())]
        forms: Forms = []
        if names:
            forms.append({"enum": names, "markdownEnumDescriptions": [summary(known[name]) for name in names]})
        for name, ref in taken.items():
            part = self._section(ref.rpartition("/")[2], vary=vary, branch=branch)
            needed = {"required": ["name"]}
            if name != fallback:
                forms.append({"allOf": [part, needed]})
            elif branch:
                forms.append({"allOf": [part, {"anyOf": [needed, {"required": ["label"]}]}]})
            else:
                forms.append(part)
        if vary and not branch:  # the name alone searched, with options that all of them have
            chosen = {"type": "object", "properties": {"choice": {"type": "array", "items": {"enum": list(known)}}}}
            forms.append({"type": "object", "properties": {"name": chosen}, "required": ["name"]})
        return forms

    def _section(self, name: str, *, vary: bool, branch: bool) -> dict[str, Any]:
        """A reference to the definition of a mapping of options, made where it is not there."""
        key = f"{name}{' varied' if vary else ''}"
        if key not in self.definitions:
            node = self._known[name]
            self.definitions[key] = {}  # a place, before what is inside asks for it
            inside = {
                option: self.value(each, vary=vary and option != "name") for option, each in node["properties"].items()
            }
            about = {"description": node["description"]} if "description" in node else {}
            given = vary and name == Threat.__name__  # what a training threat leaves out is the judge's
            self.definitions[key] = about | _mapping(inside, () if given else node.get("required", ()))
        if branch:
            at = f"#/definitions/{key}/properties/"
            inside = {option: {"$ref": at + option} for option in self.definitions[key]["properties"]}
            required = self.definitions[key]["required"]
            key = f"{name} branch"
            self.definitions[key] = _mapping({"label": _LABEL, **inside}, required)
        return {"$ref": f"#/definitions/{key}"}

    def _distribution(self, node: Node, forms: Forms) -> dict[str, Any]:
        """A reference to the definition of the distributions over a value: equal values share one."""
        numbers = [form for form in forms if form.get("type") in ("number", "integer") or form == _NUMBER_AS_TEXT]
        whole = numbers and numbers[0]["type"] == "integer"
        inside: dict[str, Any] = {}
        for kind in ("int", "logint", "stepped") if whole else KINDS[:-1] if numbers else ():
            ends = [dict(form) for form in numbers]
            if kind in ("int", "logint"):
                ends[0]["type"] = "integer"
            if kind in ("loguniform", "logint") and ends[0].get("minimum", 0) <= 0:
                ends[0] = {"exclusiveMinimum": 0} | {key: ends[0][key] for key in ends[0] if key != "minimum"}
            length = 3 if kind == "stepped" else 2
            items = {"type": "array", "items": _any_of(ends), "minItems": length, "maxItems": length}
            inside[kind] = {"description": MEANING[kind], **items}
        branches = self._forms(node, vary=True, branch=True)
        entries = {"items": _any_of(branches), "minItems": 1, "uniqueItems": True} if branches else {"maxItems": 0}
        inside["choice"] = {"description": MEANING["choice"], "type": "array", **entries}
        likely = {"description": OF_A_PRIOR, "type": ["number", "string", "boolean", "null"]}
        kinds = [{"required": [kind]} for kind in inside]  # exactly one of them
        made = {**_mapping({**inside, PRIOR: likely}, ()), "oneOf": kinds}
        key = "distribution " + hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:8]
        self.definitions[key] = made
        return {"$ref": f"#/definitions/{key}"}


def text() -> str:
    """The schema as the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    with told_in_one_line():
        if sys.argv[1:]:  # for somebody's own editor
            plugins.named(sys.argv[1:], Path.cwd())
            print(text(), end="")
        else:
            registry.without_installed()
            write_whole(Path(__file__).parents[2] / "search_spaces" / FILE, text())
