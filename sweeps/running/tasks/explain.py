"""A measure of a member of the frontier."""

from __future__ import annotations

from sweeps.running.tasks import base
from sweeps.running.tasks.base import OneStep, Report


class ExplainTask(OneStep):
    """Takes one measure of one member on one split. Interrupted, the piece in flight is given up."""

    def found(self) -> Report:
        from sweeps.running import measured

        base.settle(self.work)
        name, split = self.work["name"], self.work["split"]
        self.count(self.folder / measured.FOLDER / f"attempts-{split}-{name}.json")
        return measured.of_member(
            self.folder, self.work["measure"], split, self.work["images"], self.work["weights"], self.heed
        )
