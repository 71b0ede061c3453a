"""Faults of a sweep on a local Ray cluster."""

from __future__ import annotations

import os
import signal

import psutil

from robustray.commands.exits import INTERRUPTED
from tests.faults.lives import Life
from tests.faults.rounds import ATTEMPTS, Round
from tests.sweeps.actors import kill_actors

_ACTORS = ("ray::ResourceTrainable", "ray::Worker", "ray::trial ", "ray::judge ")


def driver(it: Round) -> None:
    """SIGKILL of the driver."""
    with it.life() as life:
        if it.moment(life):
            life.send(signal.SIGKILL)
        it.ended(life, -signal.SIGKILL, 0)
    it.finish()


def workers(it: Round) -> None:
    """SIGKILL of all actors, which the driver replaces."""
    with it.life() as life:
        if it.moment(life):
            it.did.append(f"{kill_actors(life.pid)} actors")
        it.ended(life, 0)


def raylet(it: Round) -> None:
    """SIGKILL of the node's own process."""
    _of_ray(it, "raylet")


def gcs(it: Round) -> None:
    """SIGKILL of what keeps Ray's books."""
    _of_ray(it, "gcs_server")


def _of_ray(it: Round, name: str) -> None:
    with it.life() as life:
        if it.moment(life):
            found = [process for process in _family(life) if process.name().startswith(name)]
            for process in found:
                process.kill()
            it.did.append(f"{len(found)} killed")
        it.ended(life, 0, 2)
    it.finish()


def stopped(it: Round) -> None:
    """SIGTERM, as a scheduler sends it."""
    with it.life() as life:
        if it.moment(life):
            life.send(signal.SIGTERM)
        it.ended(life, INTERRUPTED, 0)
    it.finish()


def hung(it: Round) -> None:
    """SIGSTOP of an actor: it neither works nor dies."""
    it.sets = ("resources.patience=5s", ATTEMPTS)
    with it.life() as life:
        if it.moment(life):
            found = [process for process in _family(life) if " ".join(process.cmdline()).startswith(_ACTORS)]
            if found:
                os.kill(it.chance.choice(found).pid, signal.SIGSTOP)
            it.did.append(f"one of {len(found)} actors")
        it.ended(life, 0)


def _family(life: Life) -> list[psutil.Process]:
    return psutil.Process(life.pid).children(recursive=True)
