"""What this machine knows of a copy, beside the folder: `.NAME.copy.json`. It saves work and decides nothing alone."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustray.files import from_json, write_whole
from sweeps.storage.sets import Stamp


@dataclass
class Kept:
    """Which copy a folder is of, and what both had in common when that was last written down.

    Attributes:
        url: of the copy. owner: of the lease under which this machine wrote it last; empty for never.
        stamps: of files here that the copy has as they are. tags: of files there that are here as they are.
    """

    url: str
    owner: str = ""
    stamps: dict[str, Stamp] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, url: str) -> Kept:
        """Of a folder; with nothing in common where it is of another copy, or cannot be read."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
            told: Any = from_json(_path(folder).read_text(encoding="utf-8"))
            if told["url"] == url:
                stamps = {str(name): Stamp(*map(int, stamp)) for name, stamp in told["stamps"].items()}
                return cls(url, str(told["owner"]), stamps, {str(k): str(v) for k, v in told["tags"].items()})
        return cls(url)

    def write(self, folder: Path) -> None:
        """Beside a folder. A full disk is no reason to stop: what is not known is done again."""
        told = {"url": self.url, "owner": self.owner, "stamps": self.stamps, "tags": self.tags}
        with suppress(OSError):
            write_whole(_path(folder), json.dumps(told))


def _path(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.copy.json")
