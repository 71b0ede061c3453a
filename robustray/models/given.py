"""Options of a network that begins with given weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from robustray.files import digest
from robustray.registry import Part

ZOO = "zoo:"
"""What stands before the name of a model of RobustBench."""

if TYPE_CHECKING:
    _From = Part
else:  # `from` is a word of Python's, which no class body takes as a name
    _From = create_model(
        "_From",
        __base__=Part,
        __module__=__name__,
        **{
            "from": (
                str | None,
                Field(
                    None,
                    description="weights that training begins with: a checkpoint or a file of weights, relative paths start at "
                    "the working directory, or zoo:NAME of RobustBench; null: drawn ones",
                ),
            ),
        },
    )


class Given(_From):
    """A network that begins with the weights in `from`: all of them, normalisation included.

    A file is known by its place, made absolute for whichever worker trains, and by its hash: another content makes another
    trial. Both are read when the trial is described, and the file itself once, when its training begins.
    """

    fingerprint: str | None = Field(
        None,
        description="SHA-256 of the file in from: what tells trials apart whose weights lie in one place; null: as it is now",
    )

    @property
    def source(self) -> str | None:
        """Where the weights come from; None where they are drawn."""
        value: str | None = getattr(self, "from")
        return value

    @model_validator(mode="before")
    @classmethod
    def _known_by_its_content(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        source, fingerprint = value.get("from"), value.get("fingerprint")
        if not isinstance(source, str) or source.startswith(ZOO):
            if fingerprint is not None:
                raise PydanticCustomError(
                    "fingerprint", "is of a file in from, and there is none; leave it out", {"key": "fingerprint"}
                )
            return value
        path = Path(source).expanduser().absolute()
        if fingerprint is not None:
            return {**value, "from": str(path)}
        try:
            return {**value, "from": str(path), "fingerprint": digest(path)}
        except OSError as error:
            held = sorted(each.name for each in path.glob("*.pt")) if isinstance(error, IsADirectoryError) else []
            why = f"is a folder; name a file in it: {', '.join(held)}" if held else error.strerror
            raise PydanticCustomError("from", "{path}: {why}", {"path": str(path), "why": why, "key": "from"}) from None
