"""How many trials run at a time on a device, and what each of them gets: asked for, or found from measurements.

With GPUs, some trials share one; without, some share the cores of a machine. The measurements are a worker's business
(`tasks/packed.py`); what follows from them is decided here, by pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.space.resources import Resources

ROOM = 0.9
"""Of the free memory, that trials may fill."""
MARGIN = 1.2
"""Trials may need so many times the peak of the one that was measured: fragments, validation, a wider network."""
CONTEXT = 2**29
"""Bytes that CUDA itself takes of a GPU for each process."""
MOST = 8
"""Trials on a GPU; beyond, they only wait for each other."""
NEIGHBOURS = 0.75
"""Trials beside each other are taken to reach this part of what each reaches alone: they compete for caches and memory.
Two processes with convolutions on 32x32 images reached 0.7 on two cores that were not quite idle."""

NOTHING: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Machine:
    """One node, the largest where they differ."""

    cores: int
    gpus: int

    @property
    def cores_per_gpu(self) -> int:
        """Cores beside each GPU; all of them where there is none."""
        return max(1, self.cores // max(1, self.gpus))


@dataclass(frozen=True)
class Share:
    """What one job gets of a machine."""

    cpus: float
    gpus: float
    besides: tuple[tuple[str, float], ...] = ()  # what else of a node, by the names that the cluster has for it
    processes: int = 1  # that share all of this between them

    @property
    def threads(self) -> int:
        """CPU threads of each process."""
        return max(1, int(self.cpus / self.processes))

    @property
    def sharers(self) -> int:
        """How many jobs share a GPU."""
        return round(1 / self.gpus) if 0 < self.gpus < 1 else 1

    @property
    def memory(self) -> float:
        """Fraction of the GPU's memory that a process may take; all of it where it has the GPU to itself."""
        return ROOM * self.gpus if self.sharers > 1 else 1.0

    def jobs_on(self, cpus: float, gpus: float, besides: Mapping[str, float] = NOTHING) -> int:
        """How many jobs fit on a node at a time; ten of 0.1 on one device, whatever the rounding."""
        there = [(cpus, self.cpus), (gpus, self.gpus), *((besides.get(name, 0.0), part) for name, part in self.besides)]
        return min(int(whole / part + 1e-9) for whole, part in there if part > 0)

    def single(self) -> Share:
        """What one of its processes gets, for a job that is no training."""
        gpus = self.gpus / self.processes if self.processes > 1 else self.gpus
        return replace(self, cpus=self.cpus / self.processes, gpus=gpus, processes=1)

    def alone(self) -> Share:
        """The same with a whole GPU."""
        return replace(self, gpus=1.0) if self.sharers > 1 else self


def asked(resources: Resources, machine: Machine) -> Share | None:
    """What the search space itself says that a trial gets; None where that is to be measured."""
    cpus, gpus, wanted, many = resources.cpus, resources.gpus, resources.trials_per_device, resources.processes
    if many > 1:
        on_gpus = bool(machine.gpus) if gpus == "auto" else gpus > 0
        return Share(float(many) if cpus == "auto" else cpus, float(many if on_gpus else 0), processes=many)
    if cpus != "auto" or gpus != "auto":
        return Share(1.0 if cpus == "auto" else cpus, float(min(1, machine.gpus)) if gpus == "auto" else gpus)
    if wanted != "auto":
        return of_gpu(wanted, machine) if machine.gpus else of_cores(wanted, machine)
    if machine.gpus == 0 and machine.cores == 1:
        return Share(1.0, 0.0)
    return None


def setting(machine: Machine) -> str:
    """The name under which the record keeps what was found: what has to be the same when a trial is resumed."""
    return "trials_per_gpu" if machine.gpus else "threads_per_trial"


def found(trials: int | None, machine: Machine) -> int:
    """That number, from what `tasks/packed.py` found; where it failed (None), what is safe."""
    if machine.gpus:
        return trials or 1
    return machine.cores // (trials or machine.cores)


def kept(number: int, machine: Machine) -> Share:
    """The share that follows from it. On a smaller machine than before, a trial has all of its cores."""
    return of_gpu(number, machine) if machine.gpus else Share(float(min(number, machine.cores)), 0.0)


def described(number: int, machine: Machine) -> str:
    """The same in words."""
    if machine.gpus:
        return f"{number} trials share a GPU" if number > 1 else "a GPU for each trial"
    return f"{number} threads for each trial" if number > 1 else "one thread for each trial"


def of_gpu(trials: int, machine: Machine) -> Share:
    """The share of a trial, so many of which share each GPU of a machine."""
    return Share(min(1.0, _part(machine.cores, machine.gpus * trials)), _part(1, trials))


def of_cores(trials: int, machine: Machine) -> Share:
    """The share of a trial, so many of which run at a time on the cores of a machine."""
    return Share(_part(machine.cores, trials), 0.0)


def _part(whole: int, parts: int) -> float:
    """whole / parts, never rounded up: Ray keeps four decimals, and six times 0.1667 is no longer one device."""
    return math.floor(1e4 * whole / parts) / 1e4


def on_cores(cores: int, rates: Mapping[int, float], process: int, free: int) -> int:
    """How many trials run at a time on a machine's cores.

    The largest total throughput, taking n trials with their share of the threads as n times one of them. Neighbours are not
    as good as that, so of two splits within `NEIGHBOURS` the one with fewer trials is taken: each of them ends sooner, and all
    of them need less memory. Small networks gain next to nothing from threads and come out as one trial per core.

    Args:
        rates: images/s of one trial by the number of trials that there would be, alone on its `cores // trials` threads.
        process: bytes of a training process. free: bytes of memory.

    Returns:
        One of `rates`. Where none of them fits into the memory, the fewest.
    """
    total = {trials: trials * rate for trials, rate in rates.items() if trials * process <= ROOM * free}
    best = max(total.values(), default=0.0)
    return min((trials for trials in total if total[trials] >= NEIGHBOURS * best), default=min(rates))


def on_gpu(cores: int, peak: int, free: int, whole: float, half: float) -> int:
    """How many trials share a GPU: as many as fit into its memory, and can make use of the time that one leaves over.

    A step on half of the batch tells that time: with t(B) = a + b B, the GPU is at work for b B and waits for the host for a.
    Trials beside each other fill only such gaps. Two processes are not timed beside each other for this: without CUDA MPS
    they take turns and with it they overlap, and a second process with its own context costs more than the rest of the probe.

    Args:
        cores: of the machine, for each GPU. peak: bytes that the allocator reserved at most in a few steps. free: bytes of GPU
            memory before. whole, half: seconds of a step on the whole batch and on half of it.

    Returns:
        From 1 to `MOST`, and no more than `cores`.
    """
    fits = int(ROOM * free // (MARGIN * peak + CONTEXT))
    busy = 2 * (1 - half / whole)
    gains = MOST if busy * MOST <= 1 else round(1 / busy)
    return max(1, min(fits, gains, MOST, cores))
