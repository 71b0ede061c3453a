"""`budget` in a search space: what ends the search besides the number of trials."""

from __future__ import annotations

from pydantic import Field

from robustray.registry import Count, Options, Real
from sweeps.space.durations import Duration


class Money(Options):
    """What may be paid for device time."""

    per_device_hour: Real = Field(gt=0, description="price of a device-hour")
    at_most: Real = Field(gt=0, description="what the sweep may cost")
    currency: str = Field("", max_length=10, description="what prices are in, to be shown beside them: EUR")

    @property
    def device_hours(self) -> float:
        """Those that can be paid for."""
        return self.at_most / self.per_device_hour


class Stall(Options):
    """When a search gains too little to go on."""

    gain: Real = Field(
        0.001,
        gt=0,
        description="smallest gain that counts, of the share of the box of objectives that the frontier dominates by the cheap "
        "attack: of two accuracies, the area under the frontier",
    )
    trials: Count = Field(12, ge=1, description="over so many trials that ended last")


class Budget(Options):
    """What ends the search besides `search.trials`. Whichever is reached first ends it: trials at work are finished, then all
    is judged and tested as usual. Raised afterwards, the same command goes on.
    """

    wall: Duration | None = Field(
        None,
        gt=0,
        description="wall time of the sweep, of all its runs together, judging included: 6h, 90m, 1h30m, or seconds",
    )
    device_hours: Real | None = Field(
        None,
        gt=0,
        description="device time of all jobs of all runs, judging included: what judging is expected to take is kept for it",
    )
    money: Money | None = Field(None, description="the same by its price")
    stall: Stall | None = Field(None, description="the frontier gains too little; nothing of that where it is left out")

    @property
    def limited(self) -> bool:
        """Whether anything of it is set."""
        return self != Budget()
