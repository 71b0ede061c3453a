"""Overrides from the command line: `--set trial.defense.beta=3`."""

from __future__ import annotations

from typing import Any

from robustray.errors import UserError
from robustray.options.yaml import Document, Keys, Place, dotted, parse, show
from robustray.registry import kinds, parts
from sweeps.space.distributions import KINDS, PRIOR


def override(document: Document, text: str) -> None:
    """Replaces one value of a document, whole. Mappings on the way to it are made where they are missing.

    Args:
        document: what to change, in place.
        text: keys from the root with dots between them, list indices among them, then `=` and the value in YAML. A bare
            part name on the way (`defense: trades`) becomes the mapping that it is short for.

    Raises:
        UserError: the text is no override, or its path runs through something that has no such place inside.
    """
    last = max(place.rank for place in document.places.values())
    place = Place(max(last, 1 << 40) + 1, f"--set {text}")
    path, equals, written = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise UserError(f"{place.text}: must look like trial.defense.beta=3")
    value, places = parse(written, lambda _: place)
    if not places:
        raise UserError(f"{place.text}: has no value; write null for nothing")

    parent: Any = document.value
    keys: Keys = ()
    for name in names[:-1]:
        key = _key_in(parent, name, keys, place)
        keys = (*keys, key)
        below = parent.get(key) if isinstance(parent, dict) else parent[key]
        if below is None:
            below = parent[key] = {}
            document.places[keys] = place
        elif key != "name" and isinstance(below, str) and any(below in parts(kind) for kind in kinds()):
            below = parent[key] = {"name": below}
        parent = below
    key = _key_in(parent, names[-1], keys, place)
    keys = (*keys, key)
    parent[key] = value
    for old in [old for old in document.places if old[: len(keys)] == keys]:
        del document.places[old]
    document.places.update({keys + below: place for below, place in places.items()})


def _key_in(parent: Any, name: str, keys: Keys, place: Place) -> str | int:
    """The key or index that `name` means inside `parent`."""
    what = show(parent)
    if isinstance(parent, list):
        if name.isdecimal() and int(name) < len(parent):
            return int(name)
        what = f"a list with indices 0 to {len(parent) - 1}" if parent else "an empty list"
    elif isinstance(parent, dict):
        taken = [kind for kind in KINDS if kind in parent]
        if not taken or name in (*taken, PRIOR):
            return name
        what = f"a distribution ({taken[0]})"
    raise UserError(f"{place.text}: {dotted(keys)} is {what}, with no {name!r} inside; replace it whole")
