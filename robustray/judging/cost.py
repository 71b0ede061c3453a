"""What judging an image will cost: each attack of the authors with few of its iterations, timed, and scaled up."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from robustray.attacks import autoattack
from robustray.attacks.mode import attack_mode
from robustray.attacks.threats import Threat
from robustray.attacks.versions import Strength

SHARE = 0.03
"""Of each attack's iterations."""


def seconds_per_image(
    model: nn.Module, x: Tensor, threat: Threat, attacks: Iterable[str], strength: Strength = "standard"
) -> dict[str, float]:
    """Seconds that each attack spends on an image it does not break.

    Args:
        model: untrained will do: its own predictions are the labels, and the radius is too small to break any.
        x: a batch of images [B, C, H, W]; small networks are faster per image on a large one.
    """
    still = threat.model_copy(update={"eps": 1e-7})
    found: dict[str, float] = {}
    with attack_mode(model, "eval"):
        with torch.no_grad():
            y = model(x).argmax(1)
        for attack in attacks:
            suite = autoattack.attack_of(attack, model, x, still, 0, strength)
            attribute = "n_queries" if attack == "square" else "n_iter"
            whole = getattr(suite, attribute)
            few = max(2, round(SHARE * whole))
            setattr(suite, attribute, few)
            with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
                begun = time.perf_counter()
                suite.perturb(x.clone(memory_format=torch.contiguous_format), y.clone())
                if x.is_cuda:
                    torch.cuda.synchronize(x.device)
                found[attack] = (time.perf_counter() - begun) * whole / few / len(x)
    return found
