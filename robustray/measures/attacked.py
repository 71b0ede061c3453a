"""Images under any attack, each drawn for its row alone, and what a model answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from robustray._later import Tensor, nn, torch
from robustray.attacks.base import Attack, Objective
from robustray.attacks.threats import Threat
from robustray.data.splits import Indices
from robustray.seeding import derive


def attacked(
    attack: Attack,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    rows: Indices,
    threat: Threat,
    objective: Objective | None = None,
) -> Tensor:
    """x' [B, C, H, W] of an attack on a model, whose buffers stay as they are also where the attack lets them move.

    Random starts are drawn on the CPU, a function of an image's row: neither the batch nor the device changes them, and more
    restarts are the same ones first. An attack that draws anything else draws it for the first row's batch. One without a
    loss of its own climbs the objective, where there is one.
    """
    starts = []
    for number, row in enumerate(rows.tolist()):
        generator = torch.Generator().manual_seed(derive("measure", "attack", row))
        start = attack.starts(x[number, None].cpu(), threat, generator)
        if start is None:
            break
        starts.append(start)
    start = torch.cat(starts, dim=1).to(x) if starts else None
    drawn = torch.Generator(x.device).manual_seed(derive("measure", "attack", "batch", int(rows[0])))
    with unmoved(model):
        return attack(model, x, y, threat, start=start, generator=drawn, objective=objective)


def in_words(attack: Attack) -> str:
    """An attack as a file would ask for it: its name, and what is other than by default."""
    said = {"name": attack.name, **attack.model_dump(mode="json", exclude_defaults=True)}
    return yaml.safe_dump(said, default_flow_style=True, sort_keys=False, width=10_000).strip()


@contextmanager
def unmoved(model: nn.Module) -> Iterator[None]:
    """Buffers come back as they were."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
