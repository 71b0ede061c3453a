"""Runs plugins, once a process and content, and tells in one line what goes wrong with them."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from robustray import registry
from robustray.errors import UserError, nearest
from robustray.plain import line
from robustray.plugins.sources import Source, is_file, module_named
from robustray.plugins.trust import take_over, trusted
from robustray.registry import Part

_OURS = ("robustray", "sweeps", "analysis", "run_sweep")
contents: dict[str, bytes] = {}
"""The source of what is loaded, by its hash."""


class Loaded(NamedTuple):
    """A plugin at work in this process."""

    name: str
    fingerprint: str  # SHA-256 of its source
    place: Path
    parts: tuple[type[Part], ...]  # what it registered
    module: ModuleType

    @property
    def told(self) -> str:
        """It and what it brings, in a line."""
        brought = ", ".join(f"{cls.kind} {registry.name_of(cls)}" for cls in self.parts) or "functions"
        return f"plugin {self.name} ({self.fingerprint[:12]}): {brought}"


_loaded: dict[str, Loaded] = {}


def load(source: Source, *, registers: bool = False) -> Loaded:
    """Runs a plugin, once a process and content. Fails without a trace: what it registered before is unknown again.

    Args:
        registers: whether it is meant to; a record's did, and a training script need not.
    """
    fingerprint = source.fingerprint
    if fingerprint in _loaded:
        return _loaded[fingerprint]
    registry.kinds()  # our own parts come first, so that a name that is taken is the plugin's mistake
    with registry.registering() as new, _told(source):
        before = dict(sys.modules)
        module = _run(source) if source.module is None else importlib.import_module(source.module)
        beside = _beside(source, before)
    if beside is None and not new:
        new = [cls for cls in registry.every() if f"{cls.__module__}.".startswith(f"{module.__name__}.")]
    if beside is not None or (registers and not new):
        for cls in new:
            registry.forget(cls)
        why = "registers nothing: put @register (robustray.registry) above the class of a part"
        if beside is not None:
            why = (
                f"imports {beside} from beside it, which no record would hold; write it into the one file, or install both "
                "as a package and name its module"
            )
        raise UserError(f"{source.place}:1: {why}")
    contents[fingerprint] = source.content
    _loaded[fingerprint] = Loaded(source.name, fingerprint, source.place, tuple(new), module)
    return _loaded[fingerprint]


def _run(source: Source) -> ModuleType:
    """A file as a module, from the very bytes that were hashed."""
    name = f"robustray_plugin_{re.sub(r'[^0-9A-Za-z]', '_', source.place.stem)}_{source.fingerprint[:12]}"
    found = importlib.util.spec_from_file_location(name, source.place)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        exec(compile(source.content, str(source.place), "exec"), module.__dict__)  # noqa: S102
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _told(source: Source) -> Iterator[None]:
    """What the user's code raises, in one line with its place."""
    try:
        yield
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        number = _line(error, source)
        what = f"{type(error).__name__}: {line(error)}"
        if isinstance(error, registry.NameTaken):
            what = f"{error}; give yours another name"
            other = next((each for each in _loaded.values() if each.name == source.name), None)
            if other is not None:
                what = f"this process has loaded another {source.name} ({other.fingerprint[:12]}); start a new one"
        elif isinstance(error, SyntaxError):
            what = f"{type(error).__name__}: {error.msg}"
        raise UserError(f"{source.place}:{number}: {what}") from None


def _line(error: BaseException, source: Source) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(source.place):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == str(source.place)), 1)


def _beside(source: Source, before: Mapping[str, ModuleType]) -> str | None:
    """The file of a module that a file imported from its own folder: it is there today, and nobody would keep it."""
    if source.module is not None:
        return None
    folder = source.place.parent.resolve()
    there = {
        getattr(module, "__file__", None) for module in before.values()
    }  # a program's own file has other names too
    for name in sys.modules.keys() - before.keys():
        place = getattr(sys.modules.get(name), "__file__", None)
        if place is None or name.partition(".")[0] in _OURS or place in (str(source.place), *there):
            continue
        if not Path(place).is_absolute():  # torch's made-up modules: `_ops.py` of no folder
            continue
        path = Path(place).resolve()
        if path.parent == folder or (path.name == "__init__.py" and path.parent.parent == folder):
            return path.name if path.parent == folder else f"{path.parent.name}/"
    return None


def loaded(names: Iterable[str]) -> list[Loaded]:
    """Plugins at work in this process, by their hashes."""
    return [_loaded[fingerprint] for fingerprint in names if fingerprint in _loaded]


def files(names: Iterable[str]) -> list[tuple[Loaded, bytes]]:
    """Those of them that are files, with their sources."""
    return [(each, contents[each.fingerprint]) for each in loaded(names) if is_file(each.name)]


def function(names: Mapping[str, str], text: str) -> Callable[..., Any]:
    """A function of a loaded plugin, `my_script.py:train` or `package.module:train`.

    Args:
        names: the record that it is one of.

    Raises:
        UserError: there is no such plugin in it, or no such function.
    """
    where, _, _ = text.rpartition(":")
    fingerprint = names.get(Path(where).name if is_file(where) else where)
    if fingerprint not in _loaded:
        raise UserError(f"{text}: {where} is not among the plugins that were loaded")
    return callable_in(_loaded[fingerprint].module, text)


def callable_in(module: ModuleType, text: str) -> Callable[..., Any]:
    name = text.rpartition(":")[2]
    found = getattr(module, name, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UserError(f"{text}: there is no such function; {nearest(name, known)}")
    made: Callable[..., Any] = found
    return made


def travelling() -> list[tuple[str, str, str]]:
    """What processes that work for this one have to know: name, hash and place of the plugins at work here, and what else is
    trusted, without a name."""
    others = sorted(trusted() - _loaded.keys())
    return [(each.name, each.fingerprint, str(each.place)) for each in _loaded.values()] + [
        ("", it, "") for it in others
    ]


def arrived(known: Iterable[tuple[str, str, str]]) -> None:
    """Trusts what the process trusts that this one works for, and loads what of it is here.

    On another machine a file may not be here; what needs it then finds the copy in its folder of results.
    """
    for name, fingerprint, place in known:
        take_over(fingerprint)
        if name and fingerprint not in _loaded:
            with contextlib.suppress(OSError, UserError):
                source = Source(name, Path(place), Path(place).read_bytes()) if is_file(name) else module_named(name)
                if source.fingerprint == fingerprint:
                    load(source)


def at_work(fingerprint: object) -> bool:
    """Whether a plugin of this content is loaded."""
    return fingerprint in _loaded
