"""Parts from outside this package: files and modules that a YAML file names, each known by its content.

A plugin is code. It runs since the user names it: in the list `plugins` of the YAML file that he runs, on a command line, or by
installing it (entry points, `registry.py`). Folders of results name plugins too, as a mapping of names to SHA-256, and hold
copies of the files; what such a folder names runs only where this user has named the same content before, on this machine, or
says --trust-plugins. A folder that came from somebody else runs nothing unasked.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from robustray import home, registry
from robustray.errors import UserError, nearest
from robustray.files import write_whole
from robustray.options.yaml import Document, Keys, show
from robustray.plain import line
from robustray.registry import Part

FOLDER = "plugins"
"""In a folder of results: copies of the files that it names, each below the beginning of its hash."""
FLAG = "--trust-plugins"
_ALL = "*"
_NAME = r"[^/\\\0]+\.py|\w+(\.\w+)*"
_OURS = ("robustray", "sweeps", "analysis")


class Names(dict[str, str]):
    """The record of plugins: SHA-256 by name. Not to be changed, since options are hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(cls, handler.generate_schema(dict[str, str]))


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


class _Source(NamedTuple):
    """Where a plugin is found: a file, or a module that is installed."""

    name: str
    place: Path
    content: bytes
    module: str | None = None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


_loaded: dict[str, Loaded] = {}
_trusted: set[str] = set()
_everything = False


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
                _callable(loaded.module, f"{where}:{name}")
        except UserError as error:
            raise document.error({keys: str(error)}) from None
    if known:
        document.value["plugins"] = known


def function(names: Mapping[str, str], text: str) -> Callable[..., Any]:
    """A function of a loaded plugin, `my_script.py:train` or `package.module:train`.

    Args:
        names: the record that it is one of.

    Raises:
        UserError: there is no such plugin in it, or no such function.
    """
    where, _, _ = text.rpartition(":")
    fingerprint = names.get(Path(where).name if _is_file(where) else where)
    if fingerprint not in _loaded:
        raise UserError(f"{text}: {where} is not among the plugins that were loaded")
    return _callable(_loaded[fingerprint].module, text)


def _callable(module: ModuleType, text: str) -> Callable[..., Any]:
    name = text.rpartition(":")[2]
    found = getattr(module, name, None)
    if not callable(found):
        known = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise UserError(f"{text}: there is no such function; {nearest(name, known)}")
    made: Callable[..., Any] = found
    return made


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
        if fingerprint in _loaded:
            continue
        if not re.fullmatch("[0-9a-f]{64}", str(fingerprint)) or not re.fullmatch(_NAME, name):
            raise UserError(f"{folder}: names a plugin {show(name)} that no record of ours would name")
        if not trusts(fingerprint):  # first of all: a module is found by running the packages around it
            there = _kept(name, fingerprint, folder) if _is_file(name) else "it"
            raise UserError(
                f"{folder}: was made with the plugin {name}, code that you have not run on this machine; read {there}, and say "
                f"{FLAG} if you trust it"
            )
        _load(_copy(name, fingerprint, folder))


def keep(names: Mapping[str, str], folder: Path) -> None:
    """Puts copies of loaded files into a folder of results that names them. Modules are installed, and stay where they are."""
    for name, fingerprint in names.items():
        place = _kept(name, fingerprint, folder)
        if _is_file(name) and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, _contents[fingerprint])


def loaded(names: Iterable[str]) -> list[Loaded]:
    """Plugins at work in this process, by their hashes."""
    return [_loaded[fingerprint] for fingerprint in names if fingerprint in _loaded]


def trust_everything() -> None:
    """From now on, this process and those that work for it run whatever plugins a folder names."""
    global _everything
    _everything = True


def trusts(fingerprint: str) -> bool:
    """Whether this user runs a plugin of this content: he named it before, or trusts everything."""
    return _everything or fingerprint in _trusted or (_store() / fingerprint).is_file()


def trust_parent(spec: str) -> None:
    """Trusts the function, `file.py:name` or `package.module:name`, that the user names as a parent of points."""
    if (fingerprint := _of_function(spec)) is not None:
        _trust(fingerprint, spec)


def demand_parent(spec: str, folder: Path) -> None:
    """Sees that a function may be called that a point's folder names as a parent.

    Raises:
        UserError: this user has not named it, or not with this content.
    """
    fingerprint = _of_function(spec)
    if fingerprint is not None and not trusts(fingerprint):
        raise UserError(
            f"{folder}: is made of {spec}, code that you have not run on this machine; read it, and say {FLAG} if you trust it"
        )


def _of_function(spec: str) -> str | None:
    """A hash of a file's content, or of a module's name; None where there is no such file."""
    where = spec.rpartition(":")[0]
    if not _is_file(where):
        return hashlib.sha256(f"function {spec}".encode()).hexdigest()
    try:
        return hashlib.sha256(Path(where).read_bytes()).hexdigest()
    except OSError:
        return None


def travelling() -> list[tuple[str, str, str]]:
    """What processes that work for this one have to know: name, hash and place of the plugins at work here, and what else is
    trusted, without a name."""
    others = sorted(_trusted - _loaded.keys()) + [_ALL] * _everything
    return [(each.name, each.fingerprint, str(each.place)) for each in _loaded.values()] + [
        ("", it, "") for it in others
    ]


def arrived(known: Iterable[tuple[str, str, str]]) -> None:
    """Trusts what the process trusts that this one works for, and loads what of it is here.

    On another machine a file may not be here; what needs it then finds the copy in its folder of results.
    """
    for name, fingerprint, place in known:
        if fingerprint == _ALL:
            trust_everything()
            continue
        _trusted.add(fingerprint)
        if name and fingerprint not in _loaded:
            with contextlib.suppress(OSError, UserError):
                source = _Source(name, Path(place), Path(place).read_bytes()) if _is_file(name) else _module(name)
                if source.fingerprint == fingerprint:
                    _load(source)


# Where plugins are found.

_contents: dict[str, bytes] = {}


def _is_file(name: str) -> bool:
    return name.endswith(".py")


def _named(name: object, folder: Path, *, registers: bool = True) -> Loaded:
    if not isinstance(name, str) or not name:
        raise UserError(f"must be a file or a module, not {show(name)}")
    source = _file(folder / Path(name).expanduser()) if _is_file(name) else _module(name)
    loaded = _load(source, registers=registers)
    _trust(source.fingerprint, str(source.place))
    return loaded


def _file(path: Path) -> _Source:
    try:
        return _Source(path.name, path.absolute(), path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; a sweep that was begun with it keeps a copy in its results, under {FOLDER}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _module(name: str) -> _Source:
    try:
        found: ModuleSpec | None = importlib.util.find_spec(name)
    except Exception as error:  # of a package around it, whose code runs
        raise UserError(f"{name}: {type(error).__name__}: {line(error)}") from None
    if found is None:
        raise UserError(f"{name}: no module of this name is installed; a file ends in .py")
    if not found.origin or not found.origin.endswith(".py"):
        raise UserError(f"{name}: is no module of Python source, whose content could be told")
    place = Path(found.origin)
    if place.name != "__init__.py":
        return _Source(name, place, place.read_bytes(), name)
    files = sorted(place.parent.rglob("*.py"))
    content = b"".join(b"%s\0%s\0" % (os.fsencode(path.relative_to(place.parent)), path.read_bytes()) for path in files)
    return _Source(name, place, content, name)


def _kept(name: str, fingerprint: str, folder: Path) -> Path:
    return folder.absolute() / FOLDER / fingerprint[:16] / name


def _copy(name: str, fingerprint: str, folder: Path) -> _Source:
    """What a record names, wherever it is now."""
    if not _is_file(name):
        source = _module(name)
        if source.fingerprint != fingerprint:
            raise UserError(
                f"{folder}: was made with another version of the module {name} ({fingerprint[:12]}, here it is "
                f"{source.fingerprint[:12]}); install that one"
            )
        return source
    place = _kept(name, fingerprint, folder)
    try:
        source = _Source(name, place, place.read_bytes())
    except OSError as error:
        raise UserError(
            f"{place}: {error.strerror}; it is the plugin {name} that {folder} was made with: copy it there as well"
        ) from None
    if source.fingerprint != fingerprint:
        raise UserError(
            f"{place}: is not the plugin that {folder} was made with (its hash begins with "
            f"{source.fingerprint[:12]}, that of the record with {fingerprint[:12]}); put that one back"
        )
    return source


def _trust(fingerprint: str, what: str) -> None:
    """For later processes a file of the hash's name, whose text says what it is; a home that cannot be written keeps none."""
    _trusted.add(fingerprint)
    with contextlib.suppress(OSError):
        _store().mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (_store() / fingerprint).exists():
            write_whole(_store() / fingerprint, f"{what}\n")


def _store() -> Path:
    own = os.environ.get("XDG_STATE_HOME")
    state = Path(own) if own else (home.found() or Path("/nonexistent")) / ".local" / "state"
    return state / "robustray" / "trusted_plugins"


# How they are loaded.


def _load(source: _Source, *, registers: bool = False) -> Loaded:
    """Runs a plugin, once a process and content. Fails without a trace: what it registered before is unknown again.

    Args:
        registers: whether it is meant to; a record's did, and a training script need not.
    """
    fingerprint = source.fingerprint
    if fingerprint in _loaded:
        return _loaded[fingerprint]
    registry.kinds()  # our own parts come first, so that a name that is taken is the plugin's mistake
    with registry.registering() as new, _told(source):
        before = set(sys.modules)
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
    _contents[fingerprint] = source.content
    _loaded[fingerprint] = Loaded(source.name, fingerprint, source.place, tuple(new), module)
    return _loaded[fingerprint]


def _run(source: _Source) -> ModuleType:
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
def _told(source: _Source) -> Iterator[None]:
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


def _line(error: BaseException, source: _Source) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(source.place):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    return next((frame.lineno or 1 for frame in reversed(frames) if frame.filename == str(source.place)), 1)


def _beside(source: _Source, before: set[str]) -> str | None:
    """The file of a module that a file imported from its own folder: it is there today, and nobody would keep it."""
    if source.module is not None:
        return None
    folder = source.place.parent.resolve()
    for name in set(sys.modules) - before:
        place = getattr(sys.modules.get(name), "__file__", None)
        if place is None or name.partition(".")[0] in _OURS or place == str(source.place):
            continue
        if not Path(place).is_absolute():  # torch's made-up modules: `_ops.py` of no folder
            continue
        path = Path(place).resolve()
        if path.parent == folder or (path.name == "__init__.py" and path.parent.parent == folder):
            return path.name if path.parent == folder else f"{path.parent.name}/"
    return None
