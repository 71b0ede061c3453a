"""Where the time of a training step goes: convolutions, batch norm, activations, sums, optimiser, the rest, and idling.

    python benchmarks/breakdown.py [--quick] [--precision bf16] [--model wide_resnet] [--batch 128] [--device cpu]

TRADES-10 on 32x32 pixels through the trainer. One step is recorded by torch's profiler, and the time of each operation,
without those it calls, is counted to its kind: on a CPU the operation's own, on a GPU that of the kernels it starts, of which
the longest are listed by name. What is left of a step that nobody watches is idling: on a GPU the device waits for the host,
on a CPU it is Python. The largest kind after convolutions is the next thing to make faster.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from _bench import Bench
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from train import BATCH, template, trial, write_images

from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.training import Trainer
from robustray.training.cost import WARM
from robustray.trial import TrialConfig

KINDS = {
    "convolutions, forward": r"(mkldnn|cudnn|slow)_conv\w*|_convolution_pointwise",
    "convolutions, backward": r"convolution_backward",
    "batch norm, forward": r"(native|cudnn)_batch_norm|batch_norm_\w*(stats|elemt|gather)\w*",
    "batch norm, backward": r"(native|cudnn)_batch_norm_backward|batch_norm_backward\w*",
    "activations": r"threshold_backward|clamp_min_?|silu\w*|gelu\w*|leaky_relu\w*|relu_?",
    "sums and products": r"add_?|sub_?|mul_?|div_?|addcmul_?|sign_?|clamp_?|sum|mean",
    "copies": r"copy_|clone|cat|_to_copy|fill_|zero_|contiguous|index\w*",
    "optimiser and average": r"_foreach_\w+|_fused_\w+|Optimizer\.step.*",
    "products of matrices": r"(add|b)?mm",
    "autograd itself": r"autograd::engine.*|\w+Backward\d*",
    "compiled kernels": r"triton_.*|graph_\d.*|CompiledFunction\w*|Torch-Compiled.*",
}
"""What belongs together, by the names of operations; the first that fits."""
OTHER, IDLE = "other operations", "idle"
KERNELS = 12
"""How many of a GPU's kernels are named, those with the most time."""


def kind(operation: str) -> str:
    """The kind of an operation, `aten::add` say."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name)), OTHER)


def by_kind(events: Iterable[Any], *, cuda: bool) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each kind of operation, and on a GPU of its kernels by name.

    The profiler lists operations with the time of the kernels that they start, and those kernels by themselves. Kernels that
    no operation starts, as those of a CUDA graph, are other operations here.
    """
    spent = dict.fromkeys([*KINDS, OTHER], 0.0)
    kernels: dict[str, float] = {}
    for event in events:
        if event.device_type == DeviceType.CPU:
            spent[kind(event.key)] += (event.self_device_time_total if cuda else event.self_cpu_time_total) / 1e6
        elif not event.is_user_annotation:
            kernels[event.key] = kernels.get(event.key, 0.0) + event.self_device_time_total / 1e6
    spent[OTHER] += max(0.0, sum(kernels.values()) - sum(spent.values()))
    return spent, kernels


def recorded(trainer: Trainer, rows: list[torch.Tensor]) -> tuple[float, dict[str, float], dict[str, float]]:
    """Seconds of a step that nobody watches, the median of all but the first ones and the last; those of the last by kind."""
    cuda = trainer.device.type == "cuda"
    watched = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    times: list[float] = []
    with trainer.at_work():
        for each in rows[:-1]:
            begun = time.perf_counter()
            trainer.train_step(each)
            if cuda:
                torch.cuda.synchronize(trainer.device)
            times.append(time.perf_counter() - begun)
        with profile(activities=watched) as found:
            trainer.train_step(rows[-1])
            if cuda:
                torch.cuda.synchronize(trainer.device)
    return statistics.median(times[WARM[trainer.config.compile] :]), *by_kind(found.key_averages(), cuda=cuda)


def measured(
    options: argparse.Namespace, device: torch.device, precision: str
) -> tuple[TrialConfig, float, dict[str, float], dict[str, float]]:
    """The trial, seconds of a step of it, and those of each kind and each kernel.

    Raises:
        UserError: an option is wrong.
    """
    batch, steps = options.batch or (4 if options.quick else BATCH[device.type]), 5 if options.quick else 9
    with tempfile.TemporaryDirectory() as work:
        images = Path(work) / "images.npz"
        write_images(images, batch * steps)
        base = template(str(images), "trades", options.model, batch, 10)
        config = trial(base, [f"precision={precision}", *options.set])
        trainer = Trainer(config, Path(work) / "trial", device=str(device))
        seconds, spent, kernels = recorded(trainer, list(torch.split(trainer.batches.order(0), batch)))
    return config, seconds, spent | {IDLE: max(0.0, seconds - sum(spent.values()))}, kernels


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 for a mistake of the user."""
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="about half a minute: small batches and few steps")
    line.add_argument("--precision", default="fp32,bf16", help="which of fp32, tf32, bf16")
    line.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a value of the trial")
    line.add_argument("--model", default="preact_resnet18", help="preact_resnet18, wide_resnet ...")
    line.add_argument("--batch", type=int, help="images per step; default: 16 on a CPU, 128 on a GPU")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda:0 ...")
    options = line.parse_args(arguments)
    bench = Bench("breakdown", options.quick)
    try:
        device = pick_device(options.device)
        for precision in options.precision.split(","):
            config, seconds, spent, kernels = measured(options, device, precision)
            batch = config.batch.size
            case = ", ".join([options.model, *options.set, config.precision, f"batch {batch}"])
            bench.row(case, "a step", 1e3 * seconds, unit="ms", images_per_second=round(batch / seconds, 1))
            for name, own in sorted(spent.items(), key=lambda each: -each[1]):
                if own > 0:
                    bench.row(case, name, 1e3 * own, unit="ms", share=round(own / seconds, 3))
            for name, own in sorted(kernels.items(), key=lambda each: -each[1])[:KERNELS]:
                bench.row(case, f"kernel {name[:120]}", 1e3 * own, unit="ms", share=round(own / seconds, 3))
    except UserError as error:
        print(f"breakdown.py: {error}", file=sys.stderr)
        return 2
    bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
