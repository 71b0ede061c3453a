"""What a node has to show before it gets work: this code, the sweep's results, the images. Runs on the node itself."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robustray import __version__, plugins
from robustray.errors import UserError
from robustray.options.mistakes import mistakes
from sweeps.space import Sweep

Evidence = Mapping[str, Any]
"""As plain data, so that a node with another version of this file can read it."""
PACKAGES = ("robustray", "sweeps")


class NodeFault(Exception):
    """A node cannot do what is asked of it, whoever asks."""

    def __init__(self, key: str, why: str) -> None:
        """Args: key: the node's id. why: in words, with the remedy."""
        super().__init__(key, why)
        self.key = key
        self.why = why

    def __str__(self) -> str:
        return self.why


def of(sweep: Sweep, folder: Path) -> Evidence:
    """What nodes of a cluster have to show for a sweep whose folder is prepared."""
    marker = (folder / "sweep.yaml").absolute()
    shown: dict[str, str] = {}
    for config in sweep.examples():
        shown.setdefault(repr(config.batch.mix), config.to_yaml())
    return {
        "version": __version__,
        "code": code(),
        "host": socket.gethostname(),
        "cwd": os.getcwd(),  # noqa: PTH109  the path as the user sees it
        "marker": str(marker),
        "digest": _digest(marker),
        "trials": list(shown.values()),
        "images": sweep.judge.data.identity("train"),
        "plugins": plugins.travelling(),
    }


def look(asked: Evidence) -> str | None:
    """Whether this node has all that is asked; else the first thing that it lacks, with the remedy."""
    if __version__ != asked["version"] or code() != asked["code"]:
        here = Path(__file__).parents[1]
        other = f"version {__version__}" if __version__ != asked["version"] else "other source files"
        return f"has {other} in {here.parent}, not those of {asked['host']}; install the same there"
    try:
        import robustray.training.trainer  # noqa: F401  what a worker imports before its first job
    except Exception as error:  # a library that is not there, or broken
        return f"cannot start a worker: {type(error).__name__}: {error}; install what it needs there"
    return lacking(asked)


def lacking(asked: Evidence) -> str | None:
    """Whether this node has the results and the images of a sweep; else what it lacks, with the remedy."""
    return unseen(asked) or _no_images(asked)


def unseen(asked: Evidence) -> str | None:
    """Whether this node sees the sweep's results; else why not, with the remedy."""
    marker = Path(asked["marker"])
    remedy = f"--results has to name a folder that it shares with {asked['host']}"
    try:
        found = _digest(marker)
    except OSError as error:
        return f"does not see the results in {marker.parent} ({error.strerror}); {remedy}"
    if found != asked["digest"]:
        return f"sees other results in {marker.parent}; {remedy}"
    if not os.access(marker.parent, os.W_OK | os.X_OK):
        return f"cannot write into {marker.parent}; give this user the right to on that node"
    return None


def settle(asked: Evidence) -> None:
    """Works where the driver does, if that folder is here: `data/NAME` is looked for below it."""
    with suppress(OSError):
        os.chdir(asked["cwd"])


def _no_images(asked: Evidence) -> str | None:
    from robustray.trial import TrialConfig

    settle(asked)
    plugins.arrived(asked["plugins"])
    try:
        for text in asked["trials"]:
            config = TrialConfig.recorded(text, Path(asked["marker"]).parent)
            config.judge.data.check()
            if config.batch.mix is not None:
                config.batch.mix.check()
        if asked["trials"] and config.judge.data.identity("train") != asked["images"]:
            return f"has other images for {config.judge.data.name} than {asked['host']}; copy them there"
    except (UserError, OSError) as error:
        return f"lacks data: {error}; put it there too, or on storage that all nodes share"
    except ValidationError as error:  # a part that an installed package brings
        what = next(iter(mistakes(error, TrialConfig).values()))
        return f"cannot read the sweep's trials ({what}); install the packages there that {asked['host']} has"
    return None


@functools.cache
def code() -> str:
    """A hash of the source files of this installation."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        root = Path(__file__).parents[2] / package
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root.parent)}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
