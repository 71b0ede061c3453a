"""A point without training."""

from __future__ import annotations

from pathlib import Path

from sweeps.running.tasks import base
from sweeps.running.tasks.base import OneStep, Report, with_measures
from sweeps.running.tasks.log_file import logging_to


class DeriveTask(OneStep):
    """Makes one derived point and measures it as training measures its last epoch."""

    def found(self) -> Report:
        from robustray.subjects import derived

        with logging_to(self.folder / "log.txt"):
            base.settle(self.work)
            self.count(self.folder / "attempts.json")
            made = derived.made(self.folder, Path(self.work["kept"]), stop=self.stop)
            return with_measures(made, self.folder, self.work, self.heed)
