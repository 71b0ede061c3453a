"""Self-describing options: declared once as a pydantic model, found by name, with no list to edit.

A defense, model, attack, data source, schedule ... is a `Part`: a small frozen model with a `name`, typed, bounded and
documented fields, and its behaviour as methods. `@register` files it under its kind. Everything else comes from the
fields: the YAML schema, the error messages, `--explain`, the docs and the JSON Schema for editors.

This file and every file that declares options load without torch, so that help and errors are instant.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from robustray.errors import UserError, nearest
from robustray.plain import line


def _real(value: object) -> object:
    """A number as people write it in YAML: 0.1, 8/255, 1e-3. Booleans are not numbers."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "must be a number, not {value}", {"value": str(value).lower()})
    if isinstance(value, str):
        try:
            above, slash, below = value.partition("/")
            return _ratio(above.strip(), below.strip()) if slash else float(value)  # blanks around, none inside: `1 28`
        except (ValueError, ZeroDivisionError, OverflowError):
            raise PydanticCustomError("number", "must be a number, not '{value}'", {"value": value}) from None
    return value


def _ratio(above: str, below: str) -> float:
    """8/255, and 8./255 as papers' code has it; no powers of ten, since Fraction("1e999999999") would never end."""
    if set("eE/") & set(above + below):
        raise ValueError("a power of ten, or a fraction of a fraction")
    return float(Fraction(above) / Fraction(below))


def _count(value: object) -> object:
    value = _real(value)
    if isinstance(value, float) and not value.is_integer():
        raise PydanticCustomError("count", "must be a whole number, not {value}", {"value": value})
    return value


Real = Annotated[float, BeforeValidator(_real)]
"""A float field that also takes fractions (8/255, 8./255) and refuses booleans."""
Count = Annotated[int, BeforeValidator(_count)]
"""An int field that takes 1e3 and 10.0, and refuses booleans and 2.5."""

KIND, SHORT = "x-kind", "x-short"
"""What pydantic's JSON Schema of options says besides: which kind of part a field holds, and `Options.short`."""


class Options(BaseModel):
    """Base of everything that can be configured: frozen, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
    short: ClassVar[str | None] = None  # the option meant by a value that is no mapping: `step_size: 0.01`

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, value: object) -> object:
        return value if cls.short is None or isinstance(value, dict | cls) else {cls.short: value}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        made = handler(schema)
        if cls.short is not None:
            handler.resolve_ref_schema(made)[SHORT] = cls.short
        return made


class Part(Options):
    """One registered choice (a defense, an attack, ...). Subclasses of one `kind` are alternatives, told apart by `name`."""

    kind: ClassVar[str]
    default: ClassVar[str | None] = None  # the name taken when a YAML mapping of this kind has none
    name: str


C = TypeVar("C", bound=Part)
_PARTS: dict[str, dict[str, type[Part]]] = {}
_PACKAGES = tuple(
    f"robustray.{name}" for name in ("data", "models", "attacks", "defenses", "training", "derived", "measures")
)
ENTRY_POINTS = "robustray.plugins"
"""Group of the entry points by which an installed package brings parts: each names a module that registers them."""
_loaded = False
_installed = True


class NameTaken(TypeError):
    """Two classes of one kind ask for one name."""


def register(cls: type[C]) -> type[C]:
    """Class decorator: makes `cls` known under its kind and its `name`.

    Raises:
        TypeError: the class has no `name: Literal["..."]`. NameTaken: another class of the same kind has the name.
    """
    names = get_args(cls.model_fields["name"].annotation)
    if len(names) != 1:
        raise TypeError(f'{cls.__name__} needs a field name: Literal["..."] with a default')
    known = _PARTS.setdefault(cls.kind, {})
    other = known.get(names[0])
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise NameTaken(f"{cls.kind} {names[0]!r} is already {other.__module__}.{other.__qualname__}")
    known[names[0]] = cls
    return cls


def _load() -> None:
    global _loaded
    if _loaded:
        return
    _loaded = True  # first: the packages import this module while they load
    for package in _PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if _declares(module):
                importlib.import_module(module.name)
    try:
        for found in importlib.metadata.entry_points(group=ENTRY_POINTS) if _installed else ():
            _load_installed(found)
    except UserError:
        _loaded = False  # whoever asks next is told as well
        raise


def without_installed() -> None:
    """Leaves out what entry points bring, for pages and schemas that are part of this project; to be said before all else."""
    global _installed
    _installed = False


def _load_installed(found: importlib.metadata.EntryPoint) -> None:
    """Loads the parts of an installed package: that it was installed is the user's word for it.

    Raises:
        UserError: it cannot be loaded; no command goes on without parts that are meant to be there.
    """
    try:
        with registering():
            found.load()
    except Exception as error:  # the package's own code may raise anything
        package = found.dist.name if found.dist else found.value
        raise UserError(
            f"the plugin {found.name} of the installed package {package} cannot be loaded ({type(error).__name__}: "
            f"{line(error)}); mend it, or uninstall {package}"
        ) from None


@contextmanager
def registering() -> Iterator[list[type[Part]]]:
    """A list that holds, after the block, the classes that it registered; where the block fails, they are unknown again."""
    before, new = {kind: dict(known) for kind, known in _PARTS.items()}, list[type[Part]]()
    try:
        yield new
    except BaseException:
        _PARTS.clear()
        _PARTS.update(before)
        raise
    new.extend(cls for cls in every() if before.get(cls.kind, {}).get(name_of(cls)) is not cls)


def every() -> list[type[Part]]:
    """All registered parts of all kinds, in the order of their registration."""
    return [cls for known in _PARTS.values() for cls in known.values()]


def forget(cls: type[Part]) -> None:
    """Makes a class unknown again."""
    _PARTS.get(cls.kind, {}).pop(name_of(cls), None)


def name_of(cls: type[Part]) -> str:
    """What a part is called in YAML."""
    return str(get_args(cls.model_fields["name"].annotation)[0])


def _declares(module: pkgutil.ModuleInfo) -> bool:
    """Whether a file registers something; the others beside it may need torch, and are loaded when they are needed."""
    found = importlib.util.find_spec(module.name)
    return found is not None and found.origin is not None and b"@register" in Path(found.origin).read_bytes()


def kinds() -> tuple[str, ...]:
    """All kinds of parts, in alphabetical order."""
    _load()
    return tuple(sorted(_PARTS))


def parts(kind: str) -> dict[str, type[Part]]:
    """All registered parts of one kind, by name, in alphabetical order."""
    _load()
    return dict(sorted(_PARTS.get(kind, {}).items()))


class Registered:
    """Annotation for a field that holds any registered part of a kind: `defense: Annotated[Defense, Registered("defense")]`.

    Input is a mapping with a `name`, or the bare name. A kind may declare the name that is meant when none is given.

    Args:
        but: names that this field does not take: a part that holds others of its own kind holds none like itself.
    """

    def __init__(self, kind: str, *, but: Collection[str] = ()) -> None:
        self.kind = kind
        self.but = but

    def _known(self) -> dict[str, type[Part]]:
        return {name: cls for name, cls in parts(self.kind).items() if name not in self.but}

    def _named(self, value: object) -> object:
        known = self._known()
        if isinstance(value, str):
            value = {"name": value}
        if isinstance(value, dict):
            if "name" not in value:
                fallback = next((c.default for c in known.values() if c.default), None)
                if fallback is None:
                    raise PydanticCustomError(
                        "no_name", "needs a name: one of {known}", {"known": ", ".join(known), "key": "name"}
                    )
                value = {"name": fallback, **value}
            if not isinstance(value["name"], str) or value["name"] not in known:
                name = str(value["name"])
                raise PydanticCustomError(
                    "unknown_name",
                    "there is no {kind} '{name}'; {hint}",
                    {"kind": self.kind, "name": name, "hint": nearest(name, known), "key": "name"},
                )
        elif not isinstance(value, Part) or value.name not in known:
            raise PydanticCustomError(
                "no_mapping", "must be a name or a mapping with a name: one of {known}", {"known": ", ".join(known)}
            )
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Looks parts up when a value is validated: one that was registered late, by a plug-in say, is known as well."""
        return core_schema.no_info_plain_validator_function(
            lambda value: _one_of(self.kind, *self._known().values()).validate_python(self._named(value)),
            serialization=core_schema.plain_serializer_function_ser_schema(_dumped, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(_one_of(self.kind, *self._known().values()).core_schema) | {KIND: self.kind}


def _dumped(value: Part, info: core_schema.SerializationInfo) -> dict[str, Any]:
    return value.model_dump(mode=info.mode)


@lru_cache(maxsize=64)
def _one_of(kind: str, *known: type[Part]) -> TypeAdapter[Part]:
    """What validates one of the parts of a kind, told apart by `name`, as they are now."""
    return TypeAdapter(Annotated[Part, _Tagged(known)])


class _Tagged:
    def __init__(self, known: Sequence[type[Part]]) -> None:
        self.known = known

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        choices = {
            str(get_args(cls.model_fields["name"].annotation)[0]): handler.generate_schema(cls) for cls in self.known
        }
        return core_schema.tagged_union_schema(choices, discriminator="name")
