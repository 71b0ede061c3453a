"""How many images a shard has: decided once from free memory, then part of the judgement's identity."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.files import json_mapping
from robustray.judging.plan import Plan
from robustray.measures.threads import pass_with_gradient

SIZES = (2000, 1000, 500, 250, 120, 60, 30, 16, 8, 4, 2, 1)
ON_CPU = 500  # more gains nothing there
COPIES = 24  # of the images, that attacks keep beside the network's own memory (iterates, projections)
PAYS = 0.7  # a worker's share of a batch must take at most this part of the whole batch's time
SHARE = 0.4  # of the free memory: the rest is for fragments and neighbours


def size(model: nn.Module, x: Tensor, device: torch.device, workers: int = 1) -> int:
    """The largest of `SIZES` whose attacks should fit into the free memory of the device.

    Args:
        model: on the device. x: a few images [n, C, H, W], n >= 1. workers: how many share the device.
    """
    largest = SIZES[0] if device.type == "cuda" else ON_CPU
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    fits = SHARE * free / workers / bytes_per_image(model, x.to(device))
    return next((n for n in SIZES if n <= largest and n <= fits), 1)


def shared_out(model: nn.Module, x: Tensor, largest: int, plan: Plan, workers: int) -> int:
    """A smaller shard size where `largest` would leave CPU workers idle and sharing pays.

    One shard keeps two workers busy where an attack can be begun ahead. On a tiny network a step takes as long on half the
    images, and two workers would need as long as one.

    Args:
        x: a batch to time [n, C, H, W], as large as a shard may be. plan: of the judgement, whatever its shard size.
    """
    images = len(plan.rows)
    workers = -(-workers // plan.workers_per_shard)
    share = -(-images // workers)
    if share >= largest or workers == 1 or len(x) < workers:
        return largest
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, part = _step(model, x), _step(model, x[: len(x) // workers])
    finally:
        torch.set_num_threads(threads)
    return share if part <= PAYS * whole else largest


def _step(model: nn.Module, x: Tensor) -> float:
    """Seconds of a forward and a backward pass to the input, the best of a few."""
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        pass_with_gradient(model, x)
        times.append(time.perf_counter() - begun)
    return min(times)


def bytes_per_image(model: nn.Module, x: Tensor) -> float:
    """Memory that one image takes up in an attack step: what autograd saves for the gradient, and copies of the image."""
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with attack_mode(model, "eval"), torch.enable_grad(), saving:
        model(x.clone().requires_grad_().clone())  # a copy, which it may write into
    activations = sum(count for place, count in saved.items() if place not in own)
    return activations / len(x) + COPIES * x[0].numel() * x.element_size()


def recorded(root: Path, plan: Plan) -> int | None:
    """The shard size of a judgement under `root` that is the same but for it: decided before, and kept."""
    wanted = _without(plan.parts)
    for parts in _judgements(root):
        if _without(parts) == wanted:
            return int(parts["shard"])
    return None


def _judgements(root: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(root.glob("*/judgement.json")):
        try:
            parts = json_mapping(path)
        except (OSError, ValueError):
            continue
        if "shard" in parts:
            yield parts


def _without(parts: Any) -> Any:
    return json.loads(json.dumps({key: value for key, value in parts.items() if key != "shard"}))
