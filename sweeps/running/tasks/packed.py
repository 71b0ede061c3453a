"""How many trials a worker's device has room for, from a few steps of one."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustray.errors import UserError
from sweeps.running import packing
from sweeps.running.tasks import compiler
from sweeps.running.tasks.base import Report, complete, failed

if TYPE_CHECKING:
    from robustray.trial import TrialConfig


class MeasureTask:
    """Finds out how many trials should run at a time on this worker's device."""

    def __init__(self, work: Mapping[str, Any]) -> None:
        self.work = work

    def step(self) -> Report:
        from robustray.devices import pick_device
        from robustray.trial import TrialConfig

        try:
            config = TrialConfig.recorded(self.work["trial"], Path(self.work.get("folder", "")))
            if config.script is not None:
                raise UserError("a training script's steps are its own")
            if config.compile != "off" and "folder" in self.work:
                compiler.settle(Path(self.work["folder"]), self.work["cores"])
            measured = _measured_on_gpu if pick_device().type == "cuda" else _measured_on_cores
            return complete(trials=measured(config, self.work["cores"]))
        except Exception as error:  # the trial itself will say it better
            return failed(str(error))

    def interrupt(self) -> bool:
        return False


def _measured_on_cores(config: TrialConfig, cores: int) -> int:
    import psutil

    from robustray.measures.threads import halved

    rates = dict[int, float]()
    for trials in halved(cores):
        rates[trials] = config.batch.size / _seconds(config, cores // trials)
        if trials * rates[trials] < packing.NEIGHBOURS * max(n * rate for n, rate in rates.items()):
            break  # still more threads are no better
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return packing.on_cores(cores, rates, process, psutil.virtual_memory().available)


def _measured_on_gpu(config: TrialConfig, cores: int) -> int:
    import torch

    size = config.batch.size
    free, _ = torch.cuda.mem_get_info()
    torch.cuda.reset_peak_memory_stats()
    whole = _seconds(config, 1)
    peak = torch.cuda.max_memory_reserved()
    halved = config.model_copy(update={"batch": config.batch.model_copy(update={"size": size // 2})})
    half = _seconds(halved, 1) if size >= 4 else whole  # batches of one have no statistics
    return packing.on_gpu(cores, peak, free, whole, half)


def _seconds(config: TrialConfig, threads: int) -> float:
    """Of an optimiser step."""
    from robustray.measures.threads import quickest
    from robustray.training import cost

    return quickest(lambda: cost.trial(config, threads=threads).step, 0.5)
