"""Early breaks in low precision: cheap, and never the last word. What survives meets the complete float32 attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustray.attacks.pgd import Pgd, StepSize
from robustray.attacks.threats import Threat
from robustray.errors import NotFinite

ATTACK = Pgd(loss="margin", steps=20, step_size=StepSize(of_eps=0.25), start="none")


def attack(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> Tensor:
    """x' [B, C, H, W], float32, by PGD on the margin with the network in bfloat16.

    Only the search is imprecise: the judge asks the float32 model whether x' is broken, and whether it is in the threat.
    Where bfloat16 leaves the finite numbers, x itself comes back.
    """
    kind = x.device.type

    class Low(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            with torch.autocast(kind, dtype=torch.bfloat16):
                logits: Tensor = model(pixels)
            return logits.float()

    try:
        return ATTACK(Low().eval(), x, y, threat)
    except NotFinite:
        return x
