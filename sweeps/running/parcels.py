"""What of a results folder a job reads and writes, for nodes that do not see the folder."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from robustray.options.recorded import recorded
from sweeps.storage.sets import look

PATHS = ("folder", "judgements", "kept")
"""What of a job's work names a place in the results folder."""
DERIVED = "derived/"
_TRIAL = re.compile(r"(trials/\d{4,})(?:/(epoch-\d+\.pt))?")
_SNAPSHOT = re.compile(r"epoch-\d+\.pt")
_ASIDE = ("look/", "examples/")
"""What no job reads again: the state of a look in the folder of its trial, images for the report."""


class Parcel(NamedTuple):
    """What a job reads.

    Attributes:
        sets: folders in the results folder, with a slash at the end. names: files in them. besides: paths outside of it,
            which a node has to have itself.
    """

    sets: tuple[str, ...]
    names: frozenset[str]
    besides: tuple[str, ...]


def writes(work: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Folders in the results folder that a job may write to, with a slash at the end.

    Args:
        folder: of the results.
    """
    own = _within(work["folder"], folder)
    if work["kind"] == "judge":
        return own, _within(work["judgements"], folder), DERIVED
    return (own, DERIVED) if work["kind"] == "derive" else (own,)


def reads(work: Mapping[str, Any], folder: Path) -> Parcel:
    """What a job reads: its trial, what was found of that before, and the trials that a derived point is made of.

    Args:
        folder: of the results.
    """
    own = _within(work["folder"], folder)
    snapshots, besides = set[str](), list[str]()
    trials = dict.fromkeys([own])
    for home in trials.copy():
        _parents(folder, home, trials, snapshots, besides)
    sets = list(trials)
    if work["kind"] == "judge":
        sets.append(_within(work["judgements"], folder))
    if len(trials) > 1 or besides or work["kind"] == "derive":
        sets.append(DERIVED)
    names = {name for within in sets for name in look(folder, within)[0] if _needed(name[len(within) :])}
    return Parcel(tuple(sets), frozenset(names | snapshots), tuple(dict.fromkeys(besides)))


def _within(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix() + "/"


def _needed(name: str) -> bool:
    return not any(f"/{each}" in f"/{name}" for each in _ASIDE) and not _SNAPSHOT.fullmatch(name)


def _parents(folder: Path, home: str, trials: dict[str, None], snapshots: set[str], besides: list[str]) -> None:
    """Adds the parents of a point, theirs, and so on. What is damaged is said by who reads it on the node."""
    for spec in _specs(folder / home / "point.yaml"):
        found = _TRIAL.fullmatch(posixpath.normpath(posixpath.join(home, spec)))
        if found is None:
            besides += _path(spec)
            continue
        if found[2]:
            snapshots.add(found[0])
        if (parent := f"{found[1]}/") not in trials:
            trials[parent] = None
            _parents(folder, parent, trials, snapshots, besides)


def _specs(path: Path) -> Iterator[str]:
    try:
        about = recorded(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return
    parents = about.get("parents") if isinstance(about, dict) else None
    yield from (each for each in parents if isinstance(each, str)) if isinstance(parents, list) else ()


def _path(spec: str) -> list[str]:
    """The file or folder that a parent from elsewhere is; none for a model of the zoo, or a function of a module."""
    where, colon, _ = spec.rpartition(":")
    if colon and not where.endswith(".py"):
        return []
    return [where if colon else spec]
