"""Judging, shard by shard, and how large a shard may be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustray.verdicts import PARTS
from sweeps.running.tasks import base
from sweeps.running.tasks.base import OneStep, Report


class JudgeTask(OneStep):
    """Runs one attack on one shard of one trial's images. It lives as long as it asks the model."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        super().__init__(work)
        self.lives = work["attack"] != PARTS  # which asks the parts of a mixture, for as long as it takes

    def found(self) -> Report:
        from robustray.judging.case import Case

        base.settle(self.work)
        judgements = Path(self.work["judgements"])
        version = self.work["version"] or "own"
        name = "-".join([version, *(str(self.work[key]) for key in ("split", "attack", "shard"))])
        self.count(judgements / f"attempts-{name}.json")
        case = Case.of_trial(
            self.folder,
            judgements,
            self.work["split"],
            shard_size=self.work["shard_size"],
            weights=self.work["weights"],
            version=self.work["version"],
            square_early=self.work["square_early"],
            shared=judgements.parents[1] / "derived",
        )
        heeding = case.model.register_forward_pre_hook(self.heed)  # an attack is the authors' code, the model is ours
        try:
            verdicts = case.shard(self.work["attack"], self.work["shard"])
        finally:
            heeding.remove()
        return {
            "broken": case.broken_first(verdicts),
            "fgsm": verdicts.info.get("fgsm"),
            "seconds": float(verdicts.info["seconds"]),
            "flags": list(verdicts.info.get("flags", ())),
        }


class ProbeTask(OneStep):
    """Finds out how many images a shard of the judge may have on this worker's device. It does not stop half-way."""

    def found(self) -> Report:
        import numpy as np

        from robustray.data.device import DeviceImages
        from robustray.devices import pick_device
        from robustray.judging.shard_size import size
        from robustray.processors import cores
        from robustray.subjects.spec import in_folder

        share = base.settle(self.work)
        found, device = in_folder(self.folder), pick_device()
        assert found.judge is not None
        model, data = found.model.to(device), found.judge.data
        few = data.load("validation").take(np.arange(min(8, data.validation)))
        sharers = share.sharers if device.type == "cuda" else max(1, cores() // share.threads)
        return {"shard_size": size(model, DeviceImages(few, device).batch(slice(None))[0], device, sharers)}

    def interrupt(self) -> bool:
        return False
