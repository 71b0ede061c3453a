"""The way of files between the driver and nodes that do not see the results: an actor beside the driver, and calls to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from robustray import plugins
from sweeps.running.courier import Courier, Handed, Trouble
from sweeps.running.evidence import Evidence, unseen
from sweeps.running.far import Unable
from sweeps.running.ray_nodes import ANSWER, in_words
from sweeps.running.scratch import Scratch
from sweeps.storage.pack import Pack
from sweeps.storage.sets import Stamp

NAME = "robustray-courier"
"""Of the actor, among those of this driver."""
HANDS, WORDS = 16, "words"
"""Calls that it serves at a time; and the group of those without files, which wait for none that carry any."""
LONG, SHORT = 1800.0, 10.0
"""Seconds that a call may take: one that carries files, and any other."""
LOOK = 0.5
"""Seconds between two questions of a worker whether it is to stop."""


class Office(Courier):
    """The courier, in a process of its own on the driver's machine."""

    def __init__(self, folder: str, trusted: Iterable[str]) -> None:
        """Args: folder: the sweep's. trusted: hashes of what the driver trusts: it may bring files from copies of results."""
        super().__init__(Path(folder))
        plugins.arrived([("", fingerprint, "") for fingerprint in trusted])

    def sees(self, asked: Evidence) -> str | None:
        """Why it does not see the results itself; None where it does."""
        return unseen(asked)


class Post:
    """The driver's side: opens the office once a node needs it."""

    def __init__(self, asked: Evidence | None) -> None:
        """Opens nothing yet. Args: asked: what nodes have to show; None where none is asked."""
        self._asked = asked
        self._office: Any = None
        self._answer: Any = None
        self._since = 0.0
        self._trouble: str | None = None
        self._open = False

    def open(self) -> str | bool | None:
        """Whether files can travel: True, or why they cannot; None while it is not known. Waits for nobody."""
        if self._open or self._trouble is not None:
            return self._trouble or True
        if self._asked is None:
            return "nothing is known of the results"
        if self._office is None:
            here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
            made = ray.remote(concurrency_groups={WORDS: HANDS})(Office).options(
                name=NAME,
                num_cpus=0,
                max_concurrency=HANDS,
                max_restarts=-1,
                max_task_retries=3,
                scheduling_strategy=here,
            )
            trusted = [fingerprint for _, fingerprint, _ in plugins.travelling()]
            self._office = made.remote(str(Path(self._asked["marker"]).parent), trusted)
            self._since = time.monotonic()
            self._answer = self._office.sees.remote(dict(self._asked))
        if not ray.wait([self._answer], timeout=0)[0]:
            if time.monotonic() - self._since < ANSWER:
                return None
            ray.kill(self._office)
            self._trouble = f"no process for that has started beside the driver within {ANSWER:g} s"
            return self._trouble
        try:
            self._trouble = ray.get(self._answer)
        except ray.exceptions.RayError as error:
            self._trouble = f"no process for that could be started beside the driver: {in_words(error)}"
        self._open = self._trouble is None
        return self._trouble or True


class Calls:
    """A worker's side: what `sweeps.running.far.Wire` says."""

    def __init__(self, why: str) -> None:
        """Args: why: it is needed, in words.

        Raises:
            Unable: there is no office.
        """
        try:
            self._office = ray.get_actor(NAME)
        except (ValueError, ray.exceptions.RayError):
            raise Unable(why) from None

    def fetch(self, name: str, token: str, work: Mapping[str, Any], has: Mapping[str, Stamp]) -> Handed | Trouble:
        return cast("Handed | Trouble", _got(self._office.fetch.remote(name, token, dict(work), dict(has)), LONG))

    def store(self, name: str, token: str, work: Mapping[str, Any], pack: Pack) -> dict[str, Stamp] | Trouble:
        told = _got(self._office.store.remote(name, token, dict(work), pack), LONG)
        return cast("dict[str, Stamp] | Trouble", told)

    def word(self, name: str, token: str, node: str, work: Mapping[str, Any], alive: str | None) -> tuple[bool, bool]:
        """As the courier says; nobody is asked to stop while it cannot be reached: whoever ends this process needs no word."""
        with contextlib.suppress(Unable):
            return cast("tuple[bool, bool]", self._soon(self._office.word, name, token, node, dict(work), alive))
        return False, False

    def rest(self, name: str, token: str, work: Mapping[str, Any]) -> None:
        with contextlib.suppress(Unable):
            self._soon(self._office.rest, name, token, dict(work))

    def hung(self, name: str, token: str, work: Mapping[str, Any], told: str) -> None:
        with contextlib.suppress(Unable):
            self._soon(self._office.hung, name, token, dict(work), told)

    def _soon(self, method: Any, *given: object) -> object:
        return _got(method.options(concurrency_group=WORDS).remote(*given), SHORT)


def _got(answer: Any, seconds: float) -> object:
    try:
        return ray.get(answer, timeout=seconds)
    except ray.exceptions.RayError as error:
        raise Unable(f"cannot send files to the driver's machine or get any from there: {in_words(error)}") from None


_scratch: Scratch | None = None


def scratch(name: str) -> Scratch:
    """This process's folder for a sweep of this name; made when it is asked for first.

    Raises:
        Unable: there is no room for it.
    """
    global _scratch
    if _scratch is not None and _scratch.folder.name != name:
        clear()
    if _scratch is None:
        try:
            _scratch = Scratch(name)
        except OSError as error:
            raise Unable(f"has no place for temporary files: {error}") from None
    return _scratch


def clear() -> None:
    """Removes that folder."""
    global _scratch
    if _scratch is not None:
        _scratch.close()
        _scratch = None
