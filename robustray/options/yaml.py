"""YAML where every value knows its place, so that a mistake anywhere can name its file, line and key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from robustray.errors import UserError, nearest

Keys = tuple[str | int, ...]
"""Where a value stands in a tree: mapping keys and list indices from the root."""

MAX_VALUES = 100_000  # after aliases are expanded: nine lines of nested aliases can ask for a billion
MAX_DEPTH = 50
_CORE = "tag:yaml.org,2002:"
_SCALARS = tuple(_CORE + name for name in ("null", "bool", "int", "float", "str"))


class _Loader(yaml.SafeLoader):
    """SafeLoader, used only to compose nodes and to read scalars, without what YAML 1.1 reads into plain words.

    Dates and 1:30 stay text: no option is a date, or a number of base 60. A leading 0 means nothing: 0100 is 100.
    """

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if pair[0] != _CORE + "timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, kind: type[yaml.Token]) -> None:
        """Brackets within each other have an end: the time of PyYAML's scanner grows with the square of their number."""
        if self.flow_level > 4 * MAX_DEPTH:  # fewer are refused where they stand
            raise yaml.scanner.ScannerError(None, None, "is nested too deeply", self.get_mark())
        super().fetch_flow_collection_start(kind)

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a plain value."""
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        sixties = kind is yaml.ScalarNode and ":" in value and tag in (_CORE + "int", _CORE + "float")
        return _CORE + "str" if sixties else tag


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node).replace("_", "")
    digits = text.lstrip("+-")
    return int(text, 10 if digits.isdecimal() else 0)


_Loader.add_constructor(_CORE + "int", _integer)


@dataclass(frozen=True)
class Place:
    """Where something was written: a line of a file, or an override. Ranks put the file's lines first, in order."""

    rank: int
    text: str


@dataclass
class Document:
    """A YAML mapping as plain data, and the place of every value in it."""

    value: dict[str, Any]
    places: dict[Keys, Place]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Document:
        """Reads one YAML file.

        Args:
            path: a UTF-8 file that holds one mapping.

        Returns:
            The document. Aliases are expanded into copies, so changing one value changes no other.

        Raises:
            UserError: there is no such file, it is not YAML, or it has what an option file has no use for: tags,
                merges, keys that are not text, keys given twice, aliases without end.
        """
        return cls.of(_text(Path(path)), str(path))

    @classmethod
    def of(cls, text: str, called: str) -> Document:
        """Reads YAML text, as `read` does that of a file.

        Args:
            called: what stands for the file in messages, `called:12`.
        """
        value, places = parse(text, lambda line: Place(line, f"{called}:{line}"))
        if value is None:
            raise UserError(f"{called}: is empty")
        if not isinstance(value, dict):
            raise UserError(f"{places[()].text}: must be a mapping of keys to values, not {show(value)}")
        return cls(value, places)

    def error(self, found: Mapping[Keys, str]) -> UserError:
        """One line for the first mistake in the order of the file, and how many more there are.

        Args:
            found: what is wrong, by where it is wrong; at least one entry.

        Returns:
            The error, `file.yaml:12: trial.defense.betta: what is wrong (and 2 more)`, for the caller to raise.
        """
        keys = min(found, key=self._order)
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return _error(self._place(keys), keys, found[keys] + more)

    def _order(self, keys: Keys) -> int:
        """What is missing comes after all that is written around it: `epz: 0.1` before the `eps` that it should have been."""
        if keys in self.places:
            return self.places[keys].rank
        around = self._place(keys)
        above = next(keys[:end] for end in range(len(keys) - 1, -1, -1) if keys[:end] in self.places)
        return max(around.rank, *(place.rank + 1 for key, place in self.places.items() if key[: len(above)] == above))

    def _place(self, keys: Keys) -> Place:
        """The place of the value, or of the nearest one around it where the value is missing."""
        return next(self.places[keys[:end]] for end in range(len(keys), -1, -1) if keys[:end] in self.places)


def parse(text: str, place: Callable[[int], Place]) -> tuple[Any, dict[Keys, Place]]:
    """Reads YAML text.

    Args:
        text: one YAML document.
        place: the place of a line, counted from 1.

    Returns:
        The value, None for no document at all, and the place of everything in it.

    Raises:
        UserError: as `Document.read`.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, place) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _error(
            place(line), (), f"has the character {chr(error.character)!r}, which YAML does not allow"
        ) from None
    except RecursionError:
        raise _error(place(1), (), "is nested too deeply") from None
    builder = _Builder(loader, place)
    return (None if node is None else builder.build(node, ())), builder.places


def dotted(keys: Keys) -> str:
    """`trial.defense.beta`, as in messages, overrides and parameter names."""
    return ".".join(map(str, keys))


def show(value: object) -> str:
    """A value in a message: `a mapping`, `a list`, or the scalar as YAML writes it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list | tuple):
        noun = "mapping" if isinstance(value, dict) else "list"
        return f"a {noun}" if value else f"an empty {noun}"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Builder:
    """Plain data from composed nodes. Own work, because yaml's constructor keeps the last of two equal keys."""

    def __init__(self, loader: _Loader, place: Callable[[int], Place]) -> None:
        self.places: dict[Keys, Place] = {}
        self._loader, self._at_line = loader, place

    def build(self, node: yaml.Node, keys: Keys) -> Any:
        self.places.setdefault(keys, self._at_line(node.start_mark.line + 1))  # a mapping has set its keys' places
        if len(self.places) > MAX_VALUES:
            raise self._wrong(node, keys, f"expands to more than {MAX_VALUES:,} values; are there aliases of aliases?")
        if len(keys) > MAX_DEPTH:  # an alias that contains itself ends here as well
            raise self._wrong(node, keys[:3], "is nested too deeply, or an alias contains itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, keys)
        if node.tag not in (_CORE + "map", _CORE + "seq"):
            raise self._wrong_tag(node, keys)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*keys, index)) for index, item in enumerate(node.value)]
        value: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            name, line = self._key(key, keys), key.start_mark.line + 1
            if name in value:
                raise self._wrong(key, (*keys, name), f"is given twice, first on line {lines[name]}")
            lines[name] = line
            self.places[(*keys, name)] = self._at_line(line)
            value[name] = self.build(item, (*keys, name))
        return value

    def _key(self, key: yaml.Node, keys: Keys) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise self._wrong(key, keys, "a key must be text, not a mapping or a list")
        if key.tag == _CORE + "merge":
            raise self._wrong(key, keys, "merging with << is not supported; write the keys out, or use a plain alias")
        if key.tag != _CORE + "str":
            reading = show(self._scalar(key, keys))
            raise self._wrong(
                key, keys, f"the key {show(key.value)} is not text but {reading} in YAML; put it in quotes"
            )
        return str(key.value)

    def _scalar(self, node: yaml.ScalarNode, keys: Keys) -> Any:
        if node.tag not in _SCALARS:
            raise self._wrong_tag(node, keys)
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError):  # `!!int x`, `!!bool x`, or more digits than Python converts
            kind = node.tag.removeprefix(_CORE)
            raise self._wrong(node, keys, f"{show(node.value)} cannot be read as {kind}") from None

    def _wrong_tag(self, node: yaml.Node, keys: Keys) -> UserError:
        tag = node.tag.replace(_CORE, "!!")
        return self._wrong(node, keys, f"has the tag {tag}, but only plain values are read")

    def _wrong(self, node: yaml.Node, keys: Keys, what: str) -> UserError:
        return _error(self._at_line(node.start_mark.line + 1), keys, what)


def _error(place: Place, keys: Keys, what: str) -> UserError:
    line = f"{place.text}: {dotted(keys)}: {what}" if keys else f"{place.text}: {what}"
    return UserError("".join(character if character.isprintable() else " " for character in line))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        names = [file.name for file in path.parent.glob("*.y*ml")]
        raise UserError(f"{path}: no such file{'; ' + nearest(path.name, names) if names else ''}") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a YAML file") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"{str(path)!r}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _syntax_error(error: yaml.MarkedYAMLError, place: Callable[[int], Place]) -> UserError:
    unclosed = error.problem is not None and ("stream end" in error.problem or "end of stream" in error.problem)
    mark = (unclosed and error.context_mark) or error.problem_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = f"{error.context}, {error.problem}" if error.context else str(error.problem)
    if "'\\t'" in what:
        what = "a tab cannot stand here; use spaces"
    return _error(place(line), (), f"is not valid YAML: {what} (column {column})")
