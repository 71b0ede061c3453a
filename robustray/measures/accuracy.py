"""Clean and robust accuracy with one attack."""

from __future__ import annotations

import torch
from torch import nn

from robustray.attacks.base import BoundAttack
from robustray.data.device import DeviceImages
from robustray.seeding import derive

BATCH = 1024


def accuracies(model: nn.Module, images: DeviceImages, attack: BoundAttack) -> tuple[float, float]:
    """(clean, robust) accuracy, fractions of all images; robust: correct as they are and under the attack.

    The attack's random numbers are the same at every call, so that the answer is a function of the weights alone.
    The model's modes come back as they were.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    device = images.labels.device
    generator = torch.Generator(device).manual_seed(derive("validation"))
    correct = torch.zeros(2, dtype=torch.int64, device=device)
    for begin in range(0, len(images), BATCH):
        x, y = images.batch(slice(begin, begin + BATCH))
        with torch.no_grad():
            clean = model(x).argmax(1) == y
        x_adv = attack(model, x, y, generator=generator)
        with torch.no_grad():
            robust = clean & (model(x_adv).argmax(1) == y)
        correct += torch.stack([clean.sum(), robust.sum()])
    for module, training in modes:
        module.training = training
    clean_count, robust_count = correct.tolist()
    return clean_count / len(images), robust_count / len(images)
