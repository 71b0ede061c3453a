"""What a node has to show before it gets work: this code, the images, and whether it sees the results. Runs on the node."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from robustray import __version__, plugins
from robustray.errors import UserError
from robustray.models.given import ZOO
from robustray.options.mistakes import mistakes
from sweeps.space import Sweep

Evidence = Mapping[str, Any]
"""As plain data, so that a node with another version of this file can read it."""
PACKAGES = ("robustray", "sweeps")
FILES = "files"
"""In evidence: plugins that are files, for nodes that do not see the copies in the results; bytes as Latin-1."""


class Seen(NamedTuple):
    """What a node says of itself: what it lacks, with the remedy, and why it does not see the results; None for nothing."""

    lacks: str | None
    hidden: str | None = None


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
        shown.setdefault(repr((config.batch.mix, config.model.source)), config.to_yaml())
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
        FILES: {each.fingerprint: source.decode("latin-1") for each, source in plugins.files(sweep.plugins.values())},
    }


def look(asked: Evidence) -> Seen:
    """Whether this node has all that is asked; else the first thing that it lacks, with the remedy."""
    if __version__ != asked["version"] or code() != asked["code"]:
        here = Path(__file__).parents[1]
        other = f"version {__version__}" if __version__ != asked["version"] else "other source files"
        return Seen(f"has {other} in {here.parent}, not those of {asked['host']}; install the same there")
    try:
        import robustray.training.trainer  # noqa: F401  what a worker imports before its first job
    except Exception as error:  # a library that is not there, or broken
        return Seen(f"cannot start a worker: {type(error).__name__}: {error}; install what it needs there")
    return Seen(lacking(asked), unseen(asked))


def lacking(asked: Evidence) -> str | None:
    """What this node lacks for a sweep beside the results, with the remedy: the right to write those, images, weights."""
    return unwritable(asked) or _no_images(asked)


def unseen(asked: Evidence) -> str | None:
    """Why this node does not see the sweep's results, with the remedy; None where it does."""
    marker = Path(asked["marker"])
    remedy = f"--results has to name a folder that it shares with {asked['host']}"
    try:
        found = _digest(marker)
    except OSError as error:
        return f"does not see the results in {marker.parent} ({error.strerror}); {remedy}"
    if found != asked["digest"]:
        return f"sees other results in {marker.parent}; {remedy}"
    return None


def unwritable(asked: Evidence) -> str | None:
    """That this node sees the results and may not write there, with the remedy; None where it may, or does not see them."""
    folder = Path(asked["marker"]).parent
    if unseen(asked) is None and not os.access(folder, os.W_OK | os.X_OK):
        return f"cannot write into {folder}; give this user the right to on that node"
    return None


def settle(asked: Evidence) -> None:
    """Works where the driver does, if that folder is here: `data/NAME` is looked for below it."""
    with contextlib.suppress(OSError):
        os.chdir(asked["cwd"])


def _no_images(asked: Evidence) -> str | None:
    from robustray.trial import TrialConfig

    settle(asked)
    plugins.arrived(asked["plugins"])
    try:
        for text in asked["trials"]:
            with _copies(asked) as folder:
                config = TrialConfig.recorded(text, folder)
            config.judge.data.check()
            if config.batch.mix is not None:
                config.batch.mix.check()
            source = config.model.source
            if source is not None and not source.startswith(ZOO) and not Path(source).exists():
                return (
                    f"lacks the weights {source} (model.from); put them there too, or on storage that all nodes share"
                )
        if asked["trials"] and config.judge.data.identity("train") != asked["images"]:
            return f"has other images for {config.judge.data.name} than {asked['host']}; copy them there"
    except (UserError, OSError) as error:
        return f"lacks data: {error}; put it there too, or on storage that all nodes share"
    except ValidationError as error:  # a part that an installed package brings
        what = next(iter(mistakes(error, TrialConfig).values()))
        return f"cannot read the sweep's trials ({what}); install the packages there that {asked['host']} has"
    return None


@contextlib.contextmanager
def _copies(asked: Evidence) -> Iterator[Path]:
    """A folder with copies of the plugins: that of the results, or one made of what came with the question."""
    if unseen(asked) is None or not asked.get(FILES):
        yield Path(asked["marker"]).parent
        return
    with tempfile.TemporaryDirectory(prefix="robustray-") as scratch:
        for name, fingerprint, _ in asked["plugins"]:
            if (text := asked[FILES].get(fingerprint)) is not None:
                place = plugins.place_of(name, fingerprint, Path(scratch))
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(text.encode("latin-1"))
        yield Path(scratch)


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
