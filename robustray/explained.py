"""`--explain NAME`: whatever a YAML file may name, from the same fields as the pages of docs/reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_origin

from robustray import words
from robustray.errors import UserError, nearest
from robustray.options.yaml import Keys, dotted
from robustray.registry import Options, Part, kinds, parts

WHOLE = "sweep"
"""The section that is the file itself: its options are called without it."""


@dataclass(frozen=True)
class _Place:
    """An option somewhere in a file."""

    keys: Keys
    of: type[Options]  # the class it is a field of
    inside: type[Options] | None  # the class of a section of its own
    values: tuple[str, ...]  # that it takes by name

    @property
    def name(self) -> str:
        return dotted(self.keys)

    @property
    def told(self) -> str:
        """All of a section, or an option as a table of options has it."""
        if self.inside is not None:
            return words.text(self.inside, self.name)
        return f"{self.name}, an option\n\n{self.line}"

    @property
    def line(self) -> str:
        (option,) = (each for each in words.options(self.of) if each.name == self.keys[-1])
        return "\n".join(words.lines(option))


def found(name: str, sections: Mapping[str, type[Options]], terms: Mapping[str, str] | None = None) -> str:
    """Everything of this name: parts, a kind with the list of its parts, a section of the file; where there are none, a term,
    an option of a section, or what an option may be: `race`.

    Args:
        sections: the file's own keys that hold options, the file itself as `WHOLE`.
        terms: what else a file is written in, with what it means.

    Raises:
        UserError: nothing has it.
    """
    texts = [words.text(parts(kind)[name]) for kind in kinds() if name in parts(kind)]
    texts += [words.text(sections[name], name)] if name in sections else []
    texts += [words.listed(name)] if name in kinds() else []
    terms = terms or {}
    if not texts and name in terms:
        texts = [f"{name}\n\n{terms[name]}"]
    places = list(_places(sections))
    if not texts:
        texts = [place.told for place in places if name in (place.keys[-1], place.name)]
        texts += [_value(name, place, sections) for place in places if name in place.values]
    if not texts:
        known = {part for kind in kinds() for part in (kind, *parts(kind))} | set(sections) | set(terms)
        known |= {word for place in places for word in (str(place.keys[-1]), *place.values)}
        hint = nearest(name, known)
        if hint.startswith("known"):  # hundreds: the lists that have them
            hint = f"lists of parts: {', '.join(kinds())}; sections: {', '.join(sorted(sections))}"
        raise UserError(f"--explain {name}: nothing has this name; {hint}")
    return f"\n\n{'-' * 80}\n\n".join(texts)


def _value(name: str, place: _Place, sections: Mapping[str, type[Options]]) -> str:
    section = place.keys[-2] if len(place.keys) > 1 else None
    more = f"\n\nWhat stands beside it: --explain {section}" if section in sections else ""
    return f"{name}, a value of {place.name}\n\n{place.line}{more}"


def _places(sections: Mapping[str, type[Options]]) -> Iterator[_Place]:
    """Every option of the file and of its sections once: where it is met first."""
    seen: set[type[Options]] = set()
    for name, cls in sections.items():
        yield from _below(cls, () if name == WHOLE else (name,), seen)


def _below(cls: type[Options], keys: Keys, seen: set[type[Options]]) -> Iterator[_Place]:
    if cls in seen:
        return
    seen.add(cls)
    for name, field in cls.model_fields.items():
        inside = words.inside(field)
        section = None if inside is None or issubclass(inside, Part) else inside
        yield _Place((*keys, name), cls, section, tuple(_named(field.annotation)))
        if section is not None:
            yield from _below(section, (*keys, name), seen)


def _named(annotation: object) -> Iterator[str]:
    """The words among the values that a type allows."""
    if get_origin(annotation) is Literal:
        yield from (value for value in get_args(annotation) if isinstance(value, str))
        return
    for each in get_args(annotation):
        yield from _named(each)
