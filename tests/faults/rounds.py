"""One round: a sweep under one kind of fault, gone on with until it is done, and what is made of it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.driver import BackendName
from tests.faults import checks, lives, sabotage
from tests.faults.lives import IDENTITY, Life

MOST_LIVES = 12
UNSTARTED = "cannot start on a local Ray"
ATTEMPTS = "resources.max_failures=12"
"""For a short patience: each attempt has twice the one before, so that none of them ends a job that a busy machine slows."""


class Refused(Exception):
    """A life ended in a way that it must not."""


class CannotBeDone(Exception):
    """This machine does not allow a fault to be made."""


@dataclass(frozen=True)
class Undisturbed:
    """A flavour as it is where nothing happens."""

    found: checks.Found
    journal: int  # bytes
    trials: int


@dataclass
class Round:
    """A round at work.

    Attributes:
        home: a folder of its own. chance: all that is drawn in it. calm: the undisturbed sweep.
        results: the sweep's folder. log: what its drivers print. codes: how they ended.
        did: what was done to it, in words. but: a trial that had to end otherwise, and how.
    """

    home: Path
    flavour: str
    backend: BackendName
    chance: random.Random
    calm: Undisturbed
    sets: tuple[str, ...] = ()
    did: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    but: tuple[int, str] | None = None
    judged: bool = False  # where what lies in it is gone by now

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.space = lives.space(self.home, self.flavour)
        self.results = self.home / "results" / "sweep"
        self.log = self.home / "drivers.log"

    def life(self, spoilt: sabotage.Plan | None = None) -> AbstractContextManager[Life]:
        """A driver that begins the sweep or goes on with it."""
        return lives.life(self.space, self.results, self.log, *self.sets, backend=self.backend, spoilt=spoilt)

    def ended(self, life: Life, *allowed: int) -> int:
        """Waits for the end of a life.

        Raises:
            Refused: with another exit code than those.
        """
        code = life.end()
        self.codes.append(code)
        if code not in allowed and not self.too_busy(code):
            last = self.said().strip().splitlines()[-1:] or ["nothing said"]
            raise Refused(f"a driver ended with {code}, not {' or '.join(map(str, allowed))}: {last[0]}")
        return code

    def too_busy(self, code: int) -> bool:
        """Whether a life has ended since Ray itself did not come up, which on a busy machine is nobody's fault."""
        last = self.said().strip().splitlines()[-1:]
        return code == 2 and self.backend == "ray" and any(UNSTARTED in line for line in last)

    def moment(self, life: Life, since: float = 0.0) -> bool:
        """Waits for a moment drawn between now and the end; False where the driver ended before.

        Args:
            since: not before this share of the undisturbed journal is written.
        """
        low = max(since * self.calm.journal, lives.journal_size(self.results))
        level = self.chance.uniform(low, max(low, self.calm.journal))
        if not life.wait(lambda: lives.journal_size(self.results) >= level):
            return False
        time.sleep(self.chance.uniform(0, 0.3))
        self.did.append(f"at {level / self.calm.journal:.0%}")
        return not life.over

    def finish(self, spoilt: sabotage.Plan | None = None, allowed: Sequence[int] = (0,)) -> None:
        """Goes on until a driver says that all is done."""
        for _ in range(MOST_LIVES):
            with self.life(spoilt) as one:
                if self.ended(one, 0, *allowed) == 0:
                    return
        raise Refused(f"not done after {MOST_LIVES} lives")

    def said(self) -> str:
        """All that the drivers printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def trial(self) -> int:
        """A trial to be hit."""
        return self.chance.randrange(self.calm.trials)

    def plan(self, kind: sabotage.Kind, trial: int = 0) -> sabotage.Plan:
        """Something that goes wrong inside the driver, at a step drawn."""
        step, seed = self.chance.randrange(3 * sabotage.STEPS), self.chance.randrange(2**31)
        return sabotage.Plan(kind, trial, step, self.home / "happened", seed)

    def verdict(self) -> list[str]:
        """What is wrong with the finished sweep; nothing where all is as it was expected."""
        same = self.flavour in IDENTITY
        wrong = checks.whole(self.results, self.calm.trials if same else None) + checks.traces(self.log)
        if same:
            but = None if self.but is None else self.but[0]
            ours = checks.found(self.results)
            wrong += checks.apart(ours, self.calm.found, but=but)
            if self.but is not None and ours["trials"][self.but[0]][2] != self.but[1]:
                wrong.append(f"trial {self.but[0]} is {ours['trials'][self.but[0]][2]}, not {self.but[1]}")
        elif self.backend == "local":
            wrong += checks.replayed(self.results)
        return wrong
