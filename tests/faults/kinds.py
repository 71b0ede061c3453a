"""What happens in a round, and what has to come of it: written down before it is done. `--list` prints this table."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from robustray.commands.exits import INTERRUPTED
from sweeps import record
from sweeps.driver import BackendName
from sweeps.record import JOURNAL
from tests.faults import disks, lives, on_ray
from tests.faults.lives import IDENTITY
from tests.faults.rounds import ATTEMPTS, Refused, Round

SAME = "identical to the undisturbed sweep"
ALL = tuple(lives.FLAVOURS)
KILLED = -signal.SIGKILL
ROOM = 64_000
"""KiB, enough for a sweep of these."""


@dataclass(frozen=True)
class Kind:
    """A fault.

    Attributes:
        happens: what is done. expected: what has to come of it. flavours: of the sweeps that it is done to.
    """

    name: str
    happens: str
    expected: str
    do: Callable[[Round], None]
    flavours: tuple[str, ...] = ALL
    backend: BackendName = "local"


def _kill(it: Round, since: float = 0.0) -> bool:
    """Kills a driver at a moment drawn; whether it came to that."""
    with it.life() as life:
        if it.moment(life, since):
            life.send(signal.SIGKILL)
        it.ended(life, KILLED, 0)
    return it.codes[-1] == KILLED


def _killed(it: Round) -> None:
    for _ in range(it.chance.randint(1, 4)):
        if not _kill(it):
            return
    it.finish()


def _stopped(it: Round) -> None:
    number = it.chance.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
    it.did.append(number.name)
    with it.life() as life:
        if it.moment(life):
            life.send(number)
        it.ended(life, INTERRUPTED, 0)
    it.finish()


def _full(it: Round) -> None:
    kib = 4 * it.chance.randint(1, 90)
    it.did.append(f"{kib} KiB")
    with disks.small(it.results.parent, kib):
        with it.life() as life:
            life.wait(lambda: "no space left" in it.said())
            if not life.over:  # it waits
                time.sleep(it.chance.uniform(0, 1))
            disks.enlarge(it.results.parent, ROOM)
            it.ended(life, 0, 2)
        it.finish()
        _keep(it)


def _keep(it: Round) -> None:
    """What lies on a file system of the round's own is judged where it lies, before that goes."""
    if wrong := it.verdict():
        raise Refused("; ".join(wrong))
    it.judged = True


def _undone(it: Round, name: str) -> list[Path]:
    """Files of that name of trials that have not ended: what a finished one left is its result, and judging guards it."""
    undone = [trial.number for trial in record.read(it.results).trials if trial.outcome is None]
    return [path for n in undone if (path := it.results / "trials" / f"{n:04d}" / name).exists()]


def _checkpoint(spoil: Callable[[Path, random.Random], str]) -> Callable[[Round], None]:
    def do(it: Round) -> None:
        for _ in range(6):  # until there is one of a trial that is not done
            if not _kill(it):
                return
            if found := _undone(it, "last.pt"):
                it.did.append(spoil(found[0], it.chance))
                break
        it.finish()

    return do


def _shard(spoil: Callable[[Path, random.Random], str]) -> Callable[[Round], None]:
    def do(it: Round) -> None:
        for _ in range(6):
            if not _kill(it, 0.3):
                return
            if found := sorted(it.results.glob("judgements/*/*/*.parquet")):
                it.did.append(spoil(it.chance.choice(found), it.chance))
                break
        it.finish()

    return do


def _cut(path: Path, chance: random.Random) -> str:
    data = path.read_bytes()
    length = chance.randrange(len(data))
    path.write_bytes(data[:length])
    return f"{path.name} cut to {length} of {len(data)} bytes"


def _flip(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 0xFF
    path.write_bytes(data)
    return f"byte {place} of {path.name} inverted"


def _tail(it: Round) -> None:
    if not _kill(it):
        return
    path = it.results / JOURNAL
    data = path.read_bytes()
    last = data.rstrip(b"\n").rfind(b"\n") + 1
    length = it.chance.randrange(last, len(data))
    path.write_bytes(data[:length])
    it.did.append(f"the last line cut to {length - last} bytes")
    it.finish()


def _middle(it: Round) -> None:
    if not _kill(it):
        return
    path = it.results / JOURNAL
    data = bytearray(path.read_bytes())
    last = bytes(data).rstrip(b"\n").rfind(b"\n")
    place = it.chance.randrange(data.find(b"\n") + 1, last)
    it.did.append(f"byte {place} of {len(data)} of the journal inverted")
    data[place] ^= 0xFF
    path.write_bytes(data)
    with it.life() as life:
        it.ended(life, 2)
    if "python -m sweeps repair" not in it.said():
        raise Refused("the remedy is not named")
    _command(it, "repair", str(it.results), "--yes")
    it.finish()


def _command(it: Round, *words: str) -> None:
    """What a user types after `python -m sweeps`."""
    with it.log.open("a") as log:
        done = subprocess.run([sys.executable, "-m", "sweeps", *words], stdout=log, stderr=log, check=False)
    if done.returncode:
        raise Refused(f"python -m sweeps {words[0]} ended with {done.returncode}")


def _nan_once(it: Round) -> None:
    plan = it.plan("nan", it.trial())
    it.finish(plan)
    it.did.append(f"trial {plan.trial}, step {plan.step}" if plan.token.exists() else "no such step")


def _ends(kind: str, outcome: str) -> Callable[[Round], None]:
    def do(it: Round) -> None:
        plan = it.plan(kind, it.trial())  # type: ignore[arg-type]
        it.finish(plan)
        it.did.append(f"trial {plan.trial}, step {plan.step}")
        it.but = (plan.trial, outcome)

    return do


def _hangs(it: Round) -> None:
    it.sets = ("resources.patience=1s", ATTEMPTS)
    plan = it.plan("hang", it.trial())
    it.finish(plan)
    it.did.append(f"trial {plan.trial}, step {plan.step}")
    if "no sign of life" not in it.said():
        raise Refused("nothing was said of it")


def _throughout(kind: str) -> Callable[[Round], None]:
    """All the time, and a driver killed as well."""

    def do(it: Round) -> None:
        plan = it.plan(kind)  # type: ignore[arg-type]
        with it.life(plan) as life:
            if it.moment(life):
                life.send(signal.SIGKILL)
            it.ended(life, KILLED, 0)
        it.finish(plan)

    return do


def _second(it: Round) -> None:
    with it.life() as life:
        if it.moment(life):
            with it.life() as other:
                if other.end() != 2 and not life.over:
                    raise Refused("a second driver was let in")
                if "another driver" not in it.said() and not life.over:
                    raise Refused("the second driver did not say why it ended")
        it.ended(life, 0)


def _gone(how: Callable[[Path], contextlib.AbstractContextManager[None]]) -> Callable[[Round], None]:
    def do(it: Round) -> None:
        with it.life() as life:
            if it.moment(life):
                seconds = it.chance.uniform(0.2, 2)
                with how(it.results):
                    life.process.join(seconds)
                it.did.append(f"for {seconds:.1f} s")
            it.ended(life, 0, 2)
        it.finish()

    return do


KINDS = (
    Kind("driver killed", "SIGKILL, one to four times", SAME, _killed),
    Kind("stopped", "SIGTERM, SIGINT or SIGUSR1", f"exit {INTERRUPTED} by itself, then {SAME}", _stopped),
    Kind(
        "disk full",
        "a disk of 4 to 360 KiB, room later",
        f"it is said, it waits for room, then {SAME}",
        _full,
        IDENTITY,
    ),
    Kind("checkpoint cut", "killed, last.pt cut anywhere", f"gone on with from previous.pt: {SAME}", _checkpoint(_cut)),
    Kind("checkpoint flipped", "killed, a byte of last.pt inverted", f"the same: {SAME}", _checkpoint(_flip)),
    Kind("journal tail", "killed, the last line cut anywhere", f"the line is done again: {SAME}", _tail),
    Kind(
        "journal middle",
        "killed, a byte before the last line inverted",
        f"exit 2 naming repair; after it {SAME}",
        _middle,
    ),
    Kind(
        "verdicts cut", "killed, a shard of verdicts cut anywhere", f"the shard is judged again: {SAME}", _shard(_cut)
    ),
    Kind("verdicts flipped", "killed, a byte of one inverted", f"the shard is judged again: {SAME}", _shard(_flip)),
    Kind(
        "not a number, once", "a weight is NaN after a step", f"the epoch is trained again: {SAME}", _nan_once, IDENTITY
    ),
    Kind(
        "not a number, always",
        "the same, whenever it comes there",
        "the trial is `diverged`, all others identical",
        _ends("nan for ever", "diverged"),
        IDENTITY,
    ),
    Kind(
        "out of memory",
        "a step finds no memory",
        "the trial is `out_of_memory`, all others identical",
        _ends("out of memory", "out_of_memory"),
        IDENTITY,
    ),
    Kind("hung", "a step never ends", f"it is said, gone on with from the checkpoint: {SAME}", _hangs, IDENTITY),
    Kind("clock", "the wall clock jumps by up to a day, a kill too", SAME, _throughout("clock"), IDENTITY),
    Kind("slow storage", "syncs of up to a second, a kill too", SAME, _throughout("slow"), IDENTITY),
    Kind("second driver", "the same command beside it", f"exit 2 at once; the first: {SAME}", _second),
    Kind(
        "storage absent",
        "an empty folder for up to 2 s",
        f"exit 2 in one line or none; then {SAME}",
        _gone(disks.absent),
    ),
    Kind("storage read-only", "for up to 2 s", f"exit 2 in one line or none; then {SAME}", _gone(disks.read_only)),
    Kind("Ray: driver killed", "SIGKILL", SAME, on_ray.driver, IDENTITY, "ray"),
    Kind(
        "Ray: workers killed", "SIGKILL to all actors", f"without another life: {SAME}", on_ray.workers, IDENTITY, "ray"
    ),
    Kind("Ray: raylet killed", "SIGKILL", f"exit 2 in one line or none; then {SAME}", on_ray.raylet, IDENTITY, "ray"),
    Kind("Ray: GCS killed", "SIGKILL", f"exit 2 in one line or none; then {SAME}", on_ray.gcs, IDENTITY, "ray"),
    Kind("Ray: stopped", "SIGTERM", f"exit {INTERRUPTED}, then {SAME}", on_ray.stopped, IDENTITY, "ray"),
    Kind("Ray: hung", "SIGSTOP to an actor", f"it is said, another one goes on: {SAME}", on_ray.hung, IDENTITY, "ray"),
)
