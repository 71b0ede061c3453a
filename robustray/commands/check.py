"""`python -m robustray check`: the contracts of every part that a plugin brings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from robustray import plugins
from robustray.errors import UserError, nearest
from robustray.options.choose import choose
from robustray.options.mistakes import mistakes
from robustray.options.yaml import dotted
from robustray.registry import Part, name_of


def check(
    names: Annotated[
        list[str], typer.Argument(metavar="PLUGIN...", help="Files (my_defense.py) or modules with parts of your own.")
    ],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="PART",
            help="Options that a part cannot do without, or to check it with: '{name: my_data, folder: images}'.",
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show broken promises only.")] = False,
) -> None:
    """Tries every promise of its kind on every part that a plugin brings. Exit codes: 0 all kept, 1 one broken, 2 no plugin."""
    if not __debug__:
        raise UserError("python -O takes the checks away: run it without -O")
    found = plugins.loaded(plugins.named(names, Path.cwd()).values())
    brought = [cls for plugin in found for cls in plugin.parts]
    asked = _asked(options or [], brought)
    broken = tried = 0
    for plugin in found:
        typer.echo(plugin.told)
    for cls in brought:
        for name, message in _results(cls, asked.get(cls, {})):
            tried += 1
            broken += bool(message)
            if message or not quiet:
                typer.echo(
                    f"{'BROKEN' if message else 'ok':6}  {cls.kind} {name_of(cls)}: {name}{message and ': '}{message}"
                )
    typer.echo(f"{tried - broken} of {tried} promises kept")
    if broken:
        raise typer.Exit(1)


def _asked(texts: list[str], brought: list[type[Part]]) -> dict[type[Part], dict[str, Any]]:
    """What --with says, by the part that it is for."""
    known = {name_of(cls): cls for cls in brought}
    found: dict[type[Part], dict[str, Any]] = {}
    for text in texts:
        name = next((name for name in known if name in text), None)
        if name is None:
            raise UserError(f"--with {text}: names none of the plugin's parts; {nearest(text, known)}")
        part = choose(known[name].kind, text, "--with")
        if type(part) not in known.values():
            raise UserError(
                f"--with {text}: {part.kind} {part.name} is no part of the plugin; {nearest(part.name, known)}"
            )
        found[type(part)] = {option: getattr(part, option) for option in part.model_fields_set if option != "name"}
    return found


def _results(cls: type[Part], options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each contract with what is wrong, "" where it is kept."""
    from robustray import testing

    try:
        results = testing.check(cls, **options)
    except ValidationError as error:
        keys, what = next(iter(mistakes(error, cls).items()))
        raise UserError(
            f"{cls.kind} {name_of(cls)}: {dotted(keys)} {what}; say --with '{{name: {name_of(cls)}, {dotted(keys)}: ...}}'"
        ) from None
    return [(result.name, " ".join(result.message.split())) for result in results]
