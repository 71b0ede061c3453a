"""How tests read the golden vectors: the tiny models, the starts of the originals, the tolerance."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustray.attacks import BoundAttack, Pgd, Threat
from robustray.attacks.norms import Norm
from robustray.attacks.pgd import StepSize
from tests.conftest import Golden


def tiny(golden: Golden, prefix: str, *, norm: bool, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The golden files' tiny model, with the weights stored under `prefix`."""
    layers: list[tuple[str, nn.Module]] = [("conv", nn.Conv2d(1, 4, 3, padding=1))]
    layers += [("bn", nn.BatchNorm2d(4))] if norm else []
    layers += [("relu", nn.ReLU()), ("flatten", nn.Flatten()), ("fc", nn.Linear(256, 10))]
    model = nn.Sequential(OrderedDict(layers)).to(dtype)
    model.load_state_dict({name: torch.from_numpy(golden[f"{prefix}/{name}"]) for name in model.state_dict()})
    return model


def close(found: Tensor, expected: NDArray[Any], slack: float = 0) -> bool:
    """The README's tolerance: against the tensor's largest entry, never entry by entry."""
    allowed = (1e-9 + slack) * np.abs(expected).max() + 1e-11
    return bool(np.abs(found.detach().numpy() - expected).max() <= allowed)


RENORM = 1e-6
"""Where an original scales by eps / (norm + 1e-7) and we do not, the README's looser tolerance."""


def from_noise(group: str, numbers: Golden, x: Tensor) -> Tensor:
    """The start that an original made of its recorded draws; each file has its own way."""
    draws = sorted(key for key in numbers if key.startswith(f"{group}/noise/"))  # in call order
    noise, kinds = [torch.from_numpy(numbers[key]) for key in draws], [key.rsplit("_", 1)[1] for key in draws]
    eps: float = numbers[f"{group}/set/epsilon"].item()
    variant = group.split("/")[1]
    if kinds[-1] == "randn":
        start = x.add(noise[-1], alpha=0.001)  # of two draws the first was not used
        return start.clamp(0, 1) if "eval_attack" in variant else start
    if kinds[0] == "normal":  # a direction and a radius
        direction: Tensor = noise[0] / torch.linalg.vector_norm(noise[0], dim=(1, 2, 3), keepdim=True)
        return (x + eps * noise[1] * direction).clamp(0, 1)
    if variant.startswith(("gowal", "awp")):
        return (x + torch.stack(noise)).clamp(0, 1)
    if variant.startswith("lse"):
        return (x + noise[0]).clamp(0, 1)
    if f"{group}/set/sgd_lr" in numbers:  # from the cube into the ball, also in l2
        return Threat(norm=norm_of(group), eps=eps).project(x + noise[0], x, "ball_box")
    if variant.startswith("l2"):  # toward a random image
        return Threat(norm="l2", eps=eps).project(noise[0], x, "box_ball")
    return (x + eps * noise[0]).clamp(0, 1)


def norm_of(group: str) -> Norm:
    """The norm of `model/variant`."""
    return "l2" if "l2" in group.split("/")[1] else "linf"


def bound(group: str, numbers: Golden, **options: Any) -> BoundAttack:
    """The original's attack with the settings it was run with."""
    eps, steps = numbers[f"{group}/set/epsilon"].item(), numbers[f"{group}/set/perturb_steps"].item()
    step_size = StepSize(pixels=numbers[f"{group}/set/step_size"].item())
    return Pgd(**{"steps": steps, "step_size": step_size, **options}).bind(Threat(norm=norm_of(group), eps=eps))


TRADES_L2 = {"step_size": StepSize(of_eps=2 / 5), "projection": "box_ball"}
