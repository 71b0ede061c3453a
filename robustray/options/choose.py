"""A part named on the command line: `cifar10`, or `{name: cifar10, validation: 2000}`."""

from __future__ import annotations

from pydantic import ValidationError

from robustray.errors import UserError, nearest
from robustray.options.mistakes import mistakes
from robustray.options.yaml import Place, dotted, parse
from robustray.registry import Part, parts


def choose(kind: str, text: str, flag: str) -> Part:
    """The part of a kind that a flag asks for.

    Raises:
        UserError: there is no such part, or an option of it is wrong.
    """
    try:
        options = parse(text, lambda _: Place(0, flag))[0]
    except UserError:
        options = None
    return chosen(kind, options, flag, text)


def several(kind: str, text: str, flag: str) -> list[Part]:
    """The parts of a kind that a flag lists, `lipschitz, {name: flatness, draws: 5}`, in its order; raises as `choose`."""
    try:
        found = parse(text if text.lstrip().startswith("[") else f"[{text}]", lambda _: Place(0, flag))[0]
    except UserError:
        raise UserError(f"{flag} {text}: must list names, each also as '{{name: ..., option: value}}'") from None
    return [chosen(kind, options, flag, text) for options in found]


def chosen(kind: str, options: object, flag: str, text: str) -> Part:
    """The part of a kind with these options, a name or a mapping, from the text of a flag; raises as `choose`."""
    if isinstance(options, str):
        options = {"name": options}
    if not isinstance(options, dict) or not isinstance(options.get("name"), str):
        raise UserError(f"{flag} {text}: must be a name, or '{{name: ..., option: value}}'")
    known = parts(kind)
    if options["name"] not in known:
        raise UserError(f"{flag}: there is no {kind} {options['name']!r}; {nearest(options['name'], known)}")
    cls = known[options["name"]]
    try:
        return cls.model_validate(options)
    except ValidationError as error:
        wrong = mistakes(error, cls)
        keys = min(wrong, key=lambda keys: keys[:1] != () and keys[0] not in options)  # written before missing
        what = wrong[keys]
        raise UserError(f"{flag} {options['name']}: {dotted(keys)}: {what}" if keys else f"{flag}: {what}") from None
