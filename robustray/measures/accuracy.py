"""Clean and robust accuracy with one attack, and how often it changes an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from robustray._later import Tensor, nn, torch
from robustray.attacks.base import BoundAttack
from robustray.data.device import DeviceImages
from robustray.measures.attacked import unmoved
from robustray.seeding import derive

BATCH = 1024


class Measured(NamedTuple):
    """Shares of all images."""

    clean: float
    """Classified correctly."""
    robust: float
    """Correct as they are and under the attack."""
    fooled: float
    """Of which the attack changes the class that is predicted, whatever the label: it answers to no truth."""

    def named(self) -> dict[str, float]:
        """By the names of their metrics."""
        return {
            "clean_accuracy": self.clean,
            "robust_accuracy": self.robust,
            "adversarial_fooling_rate": self.fooled,
        }


def accuracies(model: nn.Module, images: DeviceImages, attack: BoundAttack) -> tuple[float, float]:
    """(clean, robust) accuracy, as `measured`."""
    found = measured(model, images, attack)
    return found.clean, found.robust


def measured(model: nn.Module, images: DeviceImages, attack: BoundAttack) -> Measured:
    """Clean and robust accuracy, and the attack's fooling rate, fractions of all images.

    Random numbers, of the attack and inside the model, are the same at every call, so that the answer is a function of the
    weights alone; torch's own generators come back as they were.
    A NaN is never right, and always changed. The model's modes come back as they were, and so do its buffers, also where the
    attack lets batch statistics move (mode `train`): measuring changes no model.
    """
    moves = attack.attack.mode == "train"
    device = images.labels.device
    generator = torch.Generator(device).manual_seed(derive("validation"))
    counts = torch.zeros(3, dtype=torch.int64, device=device)
    with at_rest(model, device):
        for begin in range(0, len(images), BATCH):
            x, y = images.batch(slice(begin, begin + BATCH))
            with torch.no_grad():
                plain = answers(model(x))
            with unmoved(model) if moves else nullcontext():  # the answer is that of the model as it was
                x_adv = attack(model, x, y, generator=generator)
            with torch.no_grad():
                under = answers(model(x_adv))
            clean = plain == y
            fooled = changed(plain, under)
            counts += torch.stack([clean.sum(), (clean & (under == y)).sum(), fooled.sum()])
    return Measured(*(count / len(images) for count in counts.tolist()))


@contextmanager
def at_rest(model: nn.Module, device: torch.device) -> Iterator[None]:
    """The model in evaluation mode, and what a randomised one draws the same every time; both come back as they were."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive("validation", "model"))
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def answers(logits: Tensor) -> Tensor:
    """The classes [B] that logits [B, K] say, -1 where there is a NaN: `argmax` would take it for the largest."""
    return logits.argmax(1).where(~logits.isnan().any(1), -1)


def changed(a: Tensor, b: Tensor) -> Tensor:
    """Where two answers [B] of a model differ. A NaN is no answer: nothing is the same as it."""
    return (a != b) | (a < 0)
