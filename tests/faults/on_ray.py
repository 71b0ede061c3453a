"""Faults of a sweep on a local Ray cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil

from robustray.commands.exits import INTERRUPTED
from tests.faults.lives import PATIENCE, Life
from tests.faults.rounds import ATTEMPTS, MOST_LIVES, Refused, Round
from tests.sweeps.actors import actors, kill_actors


def driver(it: Round) -> None:
    """SIGKILL of the driver."""
    _once(it, lambda life: life.send(signal.SIGKILL), -signal.SIGKILL, 0)
    it.finish()


def workers(it: Round) -> None:
    """SIGKILL of all actors, which the driver replaces."""
    _once(it, lambda life: it.did.append(f"{kill_actors(life.pid)} actors"), 0)


def raylet(it: Round) -> None:
    """SIGKILL of the node's own process."""
    _of_ray(it, "raylet")


def gcs(it: Round) -> None:
    """SIGKILL of what keeps Ray's books."""
    _of_ray(it, "gcs_server")


def _of_ray(it: Round, name: str) -> None:
    def kill(life: Life) -> None:
        found = [child for child in psutil.Process(life.pid).children(recursive=True) if child.name().startswith(name)]
        for process in found:
            process.kill()
        it.did.append(f"{len(found)} killed")

    _once(it, kill, 0, 2)
    it.finish()


def stopped(it: Round) -> None:
    """SIGTERM, as a scheduler sends it."""
    _once(it, lambda life: life.send(signal.SIGTERM), INTERRUPTED, 0)
    it.finish()


def hung(it: Round) -> None:
    """SIGSTOP of an actor: it neither works nor dies."""
    it.sets = ("resources.patience=5s", ATTEMPTS)

    def stop(life: Life) -> None:
        found = actors(life.pid)
        if found:
            os.kill(it.chance.choice(found), signal.SIGSTOP)
        it.did.append(f"one of {len(found)} actors")

    _once(it, stop, 0)


def _once(it: Round, do: Callable[[Life], None], *allowed: int) -> None:
    """Does something in one life, at a moment drawn since there is an actor. A life in which Ray itself did not come up, on a
    machine that is too busy, has said so in a line, and is none: another one is begun.
    """
    for _ in range(MOST_LIVES):
        with it.life() as life:
            if _has_actors(life) and it.moment(life):
                do(life)
            if not it.too_busy(it.ended(life, *allowed)):
                return
        it.did.append("Ray did not start")
    raise Refused("Ray did not start")


def _has_actors(life: Life) -> bool:
    ends = time.monotonic() + PATIENCE
    while not life.over and time.monotonic() < ends:
        if actors(life.pid):
            return True
        time.sleep(0.1)
    return False
