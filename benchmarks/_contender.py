"""One contender's steps in a process of its own: `python benchmarks/_contender.py ORDER` prints one line of JSON.

Ours is what a sweep runs: `Trainer.epoch`, with a clock around its step, augmentation and checks included. A reference is
given its batch ready made, since it loads images in other processes. Both start from the same weights and images.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from _references import REFERENCES
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from robustray.errors import Paused
from robustray.training import Trainer
from robustray.training.batches import Batches
from robustray.training.curricula import Amounts
from robustray.training.precision import Autocast
from robustray.training.randomness import Randomness
from robustray.trial import TrialConfig

T = TypeVar("T")
OURS, PLAIN, FLOPS, CEILING = "ours", "plain", "flops", "ceiling"


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        who: a reference, `ours`, `plain` (ours in NCHW), `flops` (of one image of a step of ours) or `ceiling` (FLOP/s of
            a large product).
        trial: a TrialConfig in JSON.
        device: as for the trainer.
        folder: for a trainer's files; not there yet.
        warm: steps before the clock counts.
        timed: steps that it counts.
        checkout: a reference's.
        precision: of products and convolutions, for `ceiling` and for references: fp32, tf32 or bf16.
        documented: a reference leaves CUDA's settings as torch, or its own documentation, has them.
    """

    who: str
    trial: dict[str, Any]
    device: str
    folder: str
    warm: int = 1
    timed: int = 1
    checkout: str = ""
    precision: str = "fp32"
    documented: bool = False

    def text(self) -> str:
        """As the process reads it."""
        return json.dumps(asdict(self))

    @property
    def config(self) -> TrialConfig:
        """The trial."""
        return TrialConfig.model_validate(self.trial)


class Clock:
    """Seconds of each call, the device's work included; the first `warm` are not counted."""

    def __init__(self, device: torch.device, warm: int, timed: int) -> None:
        self.device = device
        self.warm, self.calls = warm, warm + timed
        self.times: list[float] = []

    def __call__(self, work: Callable[[], T]) -> T:
        self._wait()
        # trying kernels and compiling took more for a moment
        if len(self.times) == self.warm and self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        begun = time.perf_counter()
        result = work()
        self._wait()
        self.times.append(time.perf_counter() - begun)
        return result

    @property
    def done(self) -> bool:
        """Whether all calls are made."""
        return len(self.times) >= self.calls

    @property
    def seconds(self) -> list[float]:
        """Of the calls that count."""
        return self.times[self.warm :]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Clocked(Trainer):
    """The trainer with a clock around its step. It stops when the clock is done, and keeps nothing."""

    clock: Clock
    loss = float("nan")

    def train_step(self, rows: Tensor) -> None:
        before = float(self.sums.losses.get("loss", 0.0))
        self.clock(partial(super().train_step, rows))
        self.loss = float(self.sums.losses["loss"]) - before
        if self.clock.done:
            self.stop.set()

    def save(self) -> None:
        pass


def ours(order: Order) -> tuple[Clock, float]:
    """The clock of our steps, and the last one's loss."""
    trainer = Clocked(order.config, Path(order.folder), device=order.device)
    if order.who == PLAIN:
        trainer.model.to(memory_format=torch.contiguous_format)
    trainer.clock = Clock(trainer.device, order.warm, order.timed)
    with suppress(Paused):
        trainer.epoch()
    return trainer.clock, trainer.loss


def theirs(order: Order) -> tuple[Clock, float]:
    """The clock of a reference's steps, and the last one's loss. The network is as it is built: float32 in NCHW."""
    reference, config, device = REFERENCES[order.who], order.config, torch.device(order.device)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    if order.documented:
        cudnn.benchmark = reference.benchmark
    else:
        cudnn.benchmark = True
        cudnn.allow_tf32 = matmul.allow_tf32 = order.precision == "tf32"
    randomness = Randomness(config.seed, device)
    batches = Batches(config, randomness, device)
    with randomness.active():  # as the trainer draws them
        model = config.model.build(config.judge.data).to(device)
    step = reference.step(Path(order.checkout), Autocast(model) if order.precision == "bf16" else model, config)
    clock = Clock(device, order.warm, order.timed)
    loss: Tensor | float = float("nan")
    for rows in torch.split(batches.order(0), config.batch.size)[: clock.calls]:
        loss = clock(partial(step, *batches.view(rows, Amounts())))
    return clock, float(loss)


def flops(order: Order) -> float:
    """Floating-point operations per image of one step of ours, products and convolutions alone."""
    trainer = Trainer(order.config, Path(order.folder), device=order.device)
    size = order.config.batch.size
    with FlopCounterMode(display=False) as counter, trainer.at_work():
        counter.mod_tracker.__exit__()  # which module an operation is of; its hooks do not bear a gradient to images
        trainer.train_step(trainer.batches.order(0)[:size])
    return float(counter.get_total_flops() / size)


def ceiling(order: Order) -> float:
    """FLOP/s of the fastest of ten products of large square matrices, or of ten large 3x3 convolutions if they are faster.

    A convolution is such a product, of another library: on an AMD processor MKL's float32 product reaches 40 % of what
    oneDNN's convolution does, and would be no ceiling at all.
    """
    device = torch.device(order.device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = order.precision == "tf32"
    torch.backends.cudnn.benchmark = True
    size, images = (8192, 1024) if device.type == "cuda" else (2048, 64)
    dtype = torch.bfloat16 if order.precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    x, kernels = (
        torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        for shape in ((images, 256, 16, 16), (256, 256, 3, 3))
    )
    ways: dict[Callable[[], Tensor], float] = {
        partial(torch.mm, a, b): 2 * size**3,
        partial(F.conv2d, x, kernels, padding=1): 2 * x.numel() * kernels[0].numel(),
    }
    rates = []
    for way, operations in ways.items():
        clock = Clock(device, 3, 10)
        while not clock.done:
            clock(way)
        rates.append(operations / min(clock.seconds))
    return max(rates)


def _memory(device: torch.device) -> float:
    """The most that was in use, MiB: on a GPU by tensors, on a CPU by the process (Linux counts KiB)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if order.who in (FLOPS, CEILING):
        answer: dict[str, Any] = {"value": (flops if order.who == FLOPS else ceiling)(order)}
    else:
        clock, loss = (theirs if order.who in REFERENCES else ours)(order)
        answer = {"seconds": clock.seconds, "loss": loss, "memory": _memory(clock.device)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
