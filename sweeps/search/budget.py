"""When a search ends: by time, by device time, by money, or because it gains too little. A function of record and ledger."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from sweeps.record import Record, budgets
from sweeps.record.ledger import Spent
from sweeps.record.lives import Lives
from sweeps.search.reserve import Ahead, ahead, test_images
from sweeps.search.stall import Growth
from sweeps.space import Sweep, durations

HOUR = 3600.0


@dataclass(frozen=True)
class Limit:
    """One budget: how much of it is spent, how much is spoken for, in its unit."""

    name: str
    said: str  # `3.1 of 12 device-hours`
    spent: float
    ahead: float
    most: float
    promised: str  # what is spoken for, in words
    room: float  # device-seconds that one more training may take

    @property
    def over(self) -> bool:
        """Whether there is none left for one more trial."""
        return self.spent >= self.most or self.spent + self.ahead > self.most


class Budget:
    """The budgets of a sweep, as they stand. Once one is spent it stays so, in later lives too: a larger one is another one."""

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        spent: Spent,
        lives: Lives,
        *,
        heard: Callable[[], Mapping[tuple[str, int], float]] = dict,
        training: Callable[[], Collection[int]] = tuple,
        waiting: Callable[[], Collection[int]] = tuple,
        slots: Callable[[], int] = lambda: 1,
    ) -> None:
        """Reads nothing before it is asked.

        Args:
            spent: by the ledger; it grows.
            lives: how long the sweep has been at work.
            heard: by kind and trial, device-seconds of jobs at work, which the ledger does not have yet.
            training: trials that are at work, or to be gone on with.
            waiting: trials that wait at a rung.
            slots: jobs that run at a time.
        """
        self.options = sweep.budget
        self._keys = budgets.keys(sweep.budget.model_dump())
        self._sweep = sweep
        self._record = record
        self._spent, self._lives = spent, lives
        self._heard, self._training, self._waiting, self._slots = heard, training, waiting, slots
        stall = self.options.stall
        self._growth = None if stall is None else Growth(record.objectives, record.constraints, stall.trials)
        self._seen = 0  # of the trials that have ended
        self._line: str | None = None
        self._to_come: Ahead | None = None

    def spent(self) -> str | None:
        """Which budget has ended the search, and what was spent; None while there is some left of all."""
        if self._line is None and self.options.limited:
            self._line = self._found()
        return self._line

    def seconds(self) -> float:
        """Device-seconds that one more training may take, where all that is at work is trained to its end; infinite where no
        budget is of time. Reckoned when `spent` was asked last.
        """
        return min((limit.room for limit in self._limits(self._to_come)), default=math.inf)

    def left(self) -> str:
        """What is spent of each, in a line; "" where there are none."""
        parts = [limit.said for limit in self._limits(None)]
        if self._growth is not None and (gain := self._gain()) is not None and self.options.stall is not None:
            parts.append(f"hypervolume {gain:+.4f} in {self.options.stall.trials} trials")
        return ", ".join(parts)

    def _found(self) -> str | None:
        self._to_come = self._ahead()
        for limit in self._limits(self._to_come):
            line = self._record.setting(self._keys[limit.name])
            if line is None and limit.over:
                kept = "" if limit.spent >= limit.most else f"; the rest is kept: {limit.promised}"
                line = self._record.setting(self._keys[limit.name], f"{limit.said} spent{kept}")
            if line is not None:
                return str(line)
        stall = self.options.stall
        if stall is None:
            return None
        line, gain = self._record.setting(self._keys["stall"]), self._gain()
        if line is None and gain is not None and gain < stall.gain:
            few = f"{stall.trials} trials" if stall.trials > 1 else "trial"
            told = f"the last {few} added {gain:.2g} to the hypervolume, less than {stall.gain:g}"
            line = self._record.setting(self._keys["stall"], told)
        return None if line is None else str(line)

    def _gain(self) -> float | None:
        assert self._growth is not None
        ended = self._record.ended()
        self._growth.take(self._record.trial(number) for number in ended[self._seen :])
        self._seen = len(ended)
        return self._growth.gain

    def _ahead(self) -> Ahead | None:
        options = self.options
        if (options.wall, options.device_hours, options.money) == (None, None, None):
            return None
        heard, training = self._heard(), self._training()
        return ahead(self._sweep, self._record, self._spent, heard, training, test=self._test, waiting=self._waiting())

    @cached_property
    def _test(self) -> float:
        """Test images for each image of the selection set."""
        judge = self._sweep.judge
        return 0.0 if judge.trials == "none" else test_images(judge)[0] / len(judge.lists()[0])

    def _limits(self, to_come: Ahead | None) -> Iterator[Limit]:
        """Those that are measured. Args: to_come: None where nothing is known of it."""
        options, later = self.options, 0.0 if to_come is None else to_come.total
        spoken = 0.0 if to_come is None else to_come.spoken
        if options.wall is not None:
            seconds = self._lives.seconds
            longest = 0.0 if to_come is None else to_come.wall(self._slots())
            said = f"{durations.said(seconds)} of {durations.said(options.wall)}"
            promised = f"about {durations.said(longest)} for trials and judging"
            rest = options.wall - seconds
            room = min(rest, rest * self._slots() - spoken)
            yield Limit("wall", said, seconds, longest, options.wall, promised, room)
        hours = (self._spent.total + sum(self._heard().values())) / HOUR
        promised = f"{figures(later / HOUR)} for trials and judging"
        if (most := options.device_hours) is not None:
            said = f"{figures(hours)} of {figures(most)} device-hours"
            yield Limit("device_hours", said, hours, later / HOUR, most, promised, (most - hours) * HOUR - spoken)
        if (money := options.money) is not None:
            said = paid(hours * money.per_device_hour, money.at_most, money.currency)
            room = (money.device_hours - hours) * HOUR - spoken
            yield Limit("money", said, hours, later / HOUR, money.device_hours, f"{promised}, in device-hours", room)


def figures(number: float) -> str:
    """A number in three figures, without an exponent."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if number >= 0.001 or not number else f"{number:.6f}".rstrip("0")


def paid(cost: float, at_most: float, currency: str) -> str:
    """`22.50 of 40.00 EUR`."""
    said = f"{cost:,.2f} of {at_most:,.2f}"
    return f"{said} {currency}" if currency else f"money {said}"
