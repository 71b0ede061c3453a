"""How many CPU threads are worth their while, measured: on a machine that others use too, two can be slower than one.

Threads of one operation wait for each other. Where another process has one of the cores, all of them wait for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from robustray._later import Tensor, nn, torch
from robustray.attacks.mode import attack_mode
from robustray.processors import cores, described

SECONDS = 1.0
"""What a measurement may take, as far as it can be foreseen."""
WORTH = 0.9
"""More threads must take at most this part of the time: less is within what neighbours change from one moment to the next."""
ROUNDS = 3
IMAGES = 24
"""Images of a timed pass, where they are quick."""


@dataclass(frozen=True)
class Threads:
    """A number of CPU threads, and why it is that."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.number} CPU {'thread' if self.number == 1 else 'threads'} ({self.why})"


def told(number: int | None, before: int | None = None) -> Threads | None:
    """The number that is not to be measured: what the user says, by a flag or for all of OpenMP, or what was begun with.

    Args:
        number: of the flag --threads. before: with which the work was begun; the same bits need the same number.
    """
    if number is not None:
        return Threads(number, "--threads")
    if os.environ.get("OMP_NUM_THREADS", "").isdecimal():
        return Threads(torch.get_num_threads(), "OMP_NUM_THREADS")
    return None if before is None else Threads(before, "as it was begun")


def measured(model: nn.Module, x: Tensor, most: int | None = None) -> Threads:
    """The number with which a pass of a model with its gradient is quickest on this machine, as busy as it is now.

    Args:
        model: on the CPU, with x: images [n, C, H, W] in [0, 1]. most: threads; None for all cores of this process.
    """
    most = most or cores()
    if most == 1:
        return Threads(1, f"there is {described()}" if cores() == 1 else "as many as there are")
    seconds = timed(lambda images: pass_with_gradient(model, x[:images]), min(IMAGES, len(x)), most)
    number = best(seconds)
    beside = next((n for n in sorted(seconds, key=seconds.__getitem__) if n != number), number)
    return Threads(number, f"measured: {1e3 * seconds[number]:.3g} ms a pass, {1e3 * seconds[beside]:.3g} on {beside}")


def halved(most: int) -> Iterator[int]:
    """Numbers worth a measurement: all, half of them ... one."""
    while most >= 1:
        yield most
        most //= 2


def timed(work: Callable[[int], object], images: int, most: int, *, seconds: float = SECONDS) -> dict[int, float]:
    """Seconds of a piece of work by the number of threads, the best of a few rounds. Afterwards threads are as before.

    The piece is made small enough for the time; where one image is not, fewer numbers and rounds are tried.

    Args:
        work: does it on so many images. images: at most. most: threads.
    """
    before, end = torch.get_num_threads(), time.monotonic() + seconds
    numbers, found = sorted(halved(most)), dict[int, float]()
    try:
        torch.set_num_threads(1)
        work(1)  # which loads what is used first
        alone = quickest(lambda: _seconds(work, 1), seconds / 10)
        images = max(1, min(images, int(seconds / (2 * ROUNDS * len(numbers) * alone))))
        for _ in range(ROUNDS):
            for number in numbers:
                if found and time.monotonic() > end:
                    return found
                torch.set_num_threads(number)
                found[number] = min(_seconds(work, images), found.get(number, float("inf")))
    finally:
        torch.set_num_threads(before)
    return found


def best(seconds: Mapping[int, float]) -> int:
    """The number of threads that takes the least time; more than another only where that is `WORTH` it."""
    chosen = min(seconds)
    for number in sorted(seconds):
        if seconds[number] <= WORTH * seconds[chosen]:
            chosen = number
    return chosen


def quickest(measure: Callable[[], float], seconds: float) -> float:
    """The best of three measurements, or of as many as there is time for: others may be at work."""
    begun, found = time.monotonic(), list[float]()
    while not found or (len(found) < 3 and time.monotonic() - begun < seconds):
        found.append(measure())
    return min(found)


def pass_with_gradient(model: nn.Module, x: Tensor) -> None:
    """A forward pass and a backward one to the images, which attacks consist of. Leaves the model as it was."""
    with attack_mode(model, "eval"), torch.enable_grad():
        pixels = x.clone().requires_grad_()
        answer = model(pixels.clone()).sum()  # a copy, which it may write into
        if answer.requires_grad:  # else only attacks that ask for none are to come
            torch.autograd.grad(answer, pixels)


def _seconds(work: Callable[[int], object], images: int) -> float:
    begun = time.perf_counter()
    work(images)
    return time.perf_counter() - begun
