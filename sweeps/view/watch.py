"""Makes frames of the view, from what the record says and what is going on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeps.record import Snapshot, ledger, lives
from sweeps.record import status as statuses
from sweeps.space import Sweep
from sweeps.view.activity import Activity
from sweeps.view.live import Frame, Mood
from sweeps.view.outlook import Countdown, Outlook
from sweeps.view.overview import Overview
from sweeps.view.tally import Tally

EVENTS = "events.log"
OUTPUT = "output.log"


class Watch:
    """A sweep looked at. `frame` may be called from any thread, and from several.

    Attributes:
        snapshot: the record that the last frame was made from.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        read: Callable[[], Snapshot],
        activity: Activity,
        until: Callable[[], float] | None = None,
    ) -> None:
        """Looks at a sweep.

        Args:
            folder: of its results. read: gives the record as it stands.
            until: seconds until a deadline, where there is one.
        """
        self.sweep = sweep
        self.folder = folder
        self.read = read
        self.activity = activity
        self.until = until
        self.where = ""
        self.slots = 1
        self.lost = 0  # nodes
        self.dashboard: str | None = None
        self.budget = ""  # what is spent of it
        self._begun: float | None = None  # when places were there for jobs
        said, booked = statuses.read(folder), ledger.read(folder)  # of lives before this one
        self._worked = max(lives.read(folder), 0.0 if said is None else said.worked)
        self._spent = max(0.0 if booked is None else booked.total, 0.0 if said is None else said.device_seconds)
        self._most = 0.0  # device-seconds that were shown
        self._tally = Tally(sweep)
        self.snapshot = read()
        self._news = False
        self._drawing = threading.Lock()
        self._countdown = Countdown(activity.clock)

    def placed(self) -> None:
        """Work begins: it counts from here, as in `lives.csv`, and not what came before it."""
        self._begun = self.activity.clock()

    def news(self) -> None:
        """The record has changed: it is read again for the next frame."""
        self._news = True

    def frame(self, mood: Mood) -> Frame:
        """What is to be seen now."""
        with self._drawing:
            return self._frame(mood)

    def _frame(self, mood: Mood) -> Frame:
        if self._news:
            self._news = False
            self.snapshot = self.read()
        tally, activity = self._tally, self.activity
        with activity.lock:
            tally.update(self.snapshot, activity)
            overview = Overview.of(tally, activity)
            # The record knows results alone: not what starting took, nor jobs that failed. What was spent never falls.
            self._most = max(self._most, overview.device_seconds, self._spent + activity.device_seconds)
            overview = replace(overview, device_seconds=self._most)
            outlook = Outlook.of(tally, activity, overview, self.slots)
            runs = list(activity.runs.values())
            at_work = {run.job.number for run in runs}
            return Frame(
                name=self.sweep.name,
                objectives=tuple(self.sweep.objectives),
                where=self.where if not self.lost else f"{self.where}; {self.lost} lost, now {self.slots} at a time",
                slots=self.slots,
                dashboard=self.dashboard,
                logs=self._logs(),
                elapsed=activity.clock() - activity.since,
                worked=self._worked + (0.0 if self._begun is None else activity.clock() - self._begun),
                until=None if self.until is None else self.until(),
                overview=overview,
                outlook=outlook,
                left=self._countdown.left(outlook),
                budget=self.budget,
                runs=runs,
                standing=dict(activity.standing),
                params={number: tally.trials[number].params for number in at_work if number in tally.trials},
                now=activity.clock(),
                shard_size=self.snapshot.settings.get("shard_size"),
                events=tuple(activity.events),
                mood=mood,
            )

    def _logs(self) -> tuple[str, ...]:
        folder, here = self.folder, Path.cwd()
        shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
        return EVENTS, OUTPUT, "trials/*/log.txt", f"in {shown}"
