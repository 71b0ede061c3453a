"""How options name plugins: a list in a request, a mapping of names to SHA-256 in a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.options.yaml import Document, Keys, show
from robustray.plugins.loading import Loaded, at_work, callable_in, contents, load
from robustray.plugins.sources import copy_in, file_at, is_file, module_named, place_of
from robustray.plugins.trust import FLAG, trust, trusts

_NAME = r"[^/\\\0]+\.py|\w+(\.\w+)*"


class Names(dict[str, str]):
    """The record of plugins: SHA-256 by name. Not to be changed, since options are hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler.generate_schema(dict[str, str]))


def _recorded(value: object) -> object:
    if isinstance(value, list | tuple) and value:
        raise PydanticCustomError(
            "plugins", "files are named in the YAML file itself; in Python, plugins.named(names, folder) loads them"
        )
    return value if value else {}


_MAPPING = {"type": "object", "additionalProperties": {"type": "string"}}
Plugins = Annotated[
    Names,
    BeforeValidator(_recorded),
    WithJsonSchema({"anyOf": [{"type": "array", "items": {"type": "string"}}, _MAPPING]}),
    Field(
        description="files (my_defense.py, as seen from the YAML file) and importable modules with parts of your own; a record "
        "names them with their SHA-256 and holds a copy"
    ),
]
"""An option that says which plugins the options after it need. Validation loads none: `in_document` and `recorded` do."""


def in_document(document: Document, folder: Path) -> None:
    """Loads what a YAML file names under `plugins`, and puts the record of it in its place.

    A list is a request, and trusted; a mapping is a record, as a trial's folder holds it.

    Args:
        folder: the file's, from which relative paths start.

    Raises:
        UserError: one of them cannot be had, is broken, registers nothing, takes a name that is taken, or is not trusted.
    """
    asked = document.value.get("plugins")
    if isinstance(asked, dict):
        recorded(asked, folder)
        return
    names = [asked] if isinstance(asked, str) else asked or []
    if not isinstance(names, list):
        raise document.error({("plugins",): f"must be a list of files and modules, not {show(names)}"})
    known: dict[str, str] = {}
    places: list[tuple[Keys, object, str]] = [(("plugins", index), name, "") for index, name in enumerate(names)]
    places += _functions(document.value)
    for keys, where, name in places:
        try:
            loaded = _named(where, folder, registers=not name)
            if known.setdefault(loaded.name, loaded.fingerprint) != loaded.fingerprint:
                raise UserError(f"there is another plugin {loaded.name}; give one of the files another name")
            if name:
                callable_in(loaded.module, f"{where}:{name}")
        except UserError as error:
            raise document.error({keys: str(error)}) from None
    if known:
        document.value["plugins"] = known


def _functions(options: Mapping[str, Any]) -> Iterator[tuple[Keys, str, str]]:
    """Where a trial, or a space's, names training scripts: the keys, the file or module, the function."""
    template = options.get("trial", options)
    if isinstance(template, dict) and "script" in template:
        keys: Keys = ("trial", "script") if "trial" in options else ("script",)
        yield from _inside(template["script"], keys)


def _inside(tree: object, keys: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Strings `where:function` in a tree, what a function is given apart."""
    if isinstance(tree, str):
        where, colon, name = tree.rpartition(":")
        if colon and where and name.isidentifier():
            yield keys, where, name
    elif isinstance(tree, dict | list):
        for key, below in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if key != "config":
                yield from _inside(below, (*keys, key))


def named(names: Iterable[str], folder: Path) -> dict[str, str]:
    """Loads plugins that the user names, and trusts them from now on, in other processes and lives too.

    Args:
        names: files, relative ones as seen from `folder`, or modules that can be imported.

    Returns:
        The record of them: SHA-256 by name, as options hold it.

    Raises:
        UserError: as `in_document`.
    """
    return {loaded.name: loaded.fingerprint for loaded in (_named(name, folder) for name in names)}


def recorded(names: Mapping[str, str], folder: Path) -> None:
    """Loads plugins that a folder of results names, from the copies in it.

    Raises:
        UserError: a copy is missing or is not what is recorded, or this user has not named the same content before.
    """
    for name, fingerprint in names.items():
        if at_work(fingerprint):
            continue
        if not re.fullmatch("[0-9a-f]{64}", str(fingerprint)) or not re.fullmatch(_NAME, name):
            raise UserError(f"{folder}: names a plugin {show(name)} that no record of ours would name")
        if not trusts(fingerprint):  # first of all: a module is found by running the packages around it
            there = place_of(name, fingerprint, folder) if is_file(name) else "it"
            raise UserError(
                f"{folder}: was made with the plugin {name}, code that you have not run on this machine; read {there}, and say "
                f"{FLAG} if you trust it"
            )
        load(copy_in(name, fingerprint, folder))


def keep(names: Mapping[str, str], folder: Path) -> None:
    """Puts copies of loaded files into a folder of results that names them. Modules are installed, and stay where they are."""
    for name, fingerprint in names.items():
        place = place_of(name, fingerprint, folder)
        if is_file(name) and not place.exists():
            if fingerprint not in contents:
                raise UserError(
                    f"the plugin {name} was not loaded; plugins.named(names, folder) loads files, and names them so"
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, contents[fingerprint])


def _named(name: object, folder: Path, *, registers: bool = True) -> Loaded:
    if not isinstance(name, str) or not name:
        raise UserError(f"must be a file or a module, not {show(name)}")
    source = file_at(folder / Path(name).expanduser()) if is_file(name) else module_named(name)
    loaded = load(source, registers=registers)
    trust(source.fingerprint, str(source.place))
    return loaded
