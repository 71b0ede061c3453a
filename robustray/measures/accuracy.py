"""Clean and robust accuracy with one attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustray.attacks.base import BoundAttack
from robustray.data.device import DeviceImages
from robustray.seeding import derive

BATCH = 1024


def accuracies(model: nn.Module, images: DeviceImages, attack: BoundAttack) -> tuple[float, float]:
    """(clean, robust) accuracy, fractions of all images; robust: correct as they are and under the attack.

    Random numbers, of the attack and inside the model, are the same at every call, so that the answer is a function of the
    weights alone; torch's own generators come back as they were.
    A NaN is never right. The model's modes come back as they were, and so do its buffers, also where the attack lets batch
    statistics move (mode `train`): measuring changes no model.
    """
    modes = [(module, module.training) for module in model.modules()]
    moves = attack.attack.mode == "train"
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()] if moves else []
    model.eval()
    device = images.labels.device
    generator = torch.Generator(device).manual_seed(derive("validation"))
    correct = torch.zeros(2, dtype=torch.int64, device=device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive("validation", "model"))  # of what a randomised model draws
        for begin in range(0, len(images), BATCH):
            x, y = images.batch(slice(begin, begin + BATCH))
            with torch.no_grad():
                clean = _right(model(x), y)
            x_adv = attack(model, x, y, generator=generator)
            for buffer, before in buffers:  # the attack's passes moved them; the answer is that of the model as it was
                buffer.copy_(before)
            with torch.no_grad():
                robust = clean & _right(model(x_adv), y)
            correct += torch.stack([clean.sum(), robust.sum()])
    for module, training in modes:
        module.training = training
    clean_count, robust_count = correct.tolist()
    return clean_count / len(images), robust_count / len(images)


def _right(logits: Tensor, y: Tensor) -> Tensor:
    """Which of the answers [B, K] say the label [B]; `argmax` would take a NaN for the largest."""
    return (logits.argmax(1) == y) & ~logits.isnan().any(1)
