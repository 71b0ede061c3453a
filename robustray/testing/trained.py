"""Small classifiers that are trained in seconds: honest ones, and ones that seem more robust than they are (`tricks`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks import losses
from robustray.attacks.pgd import Pgd, StepSize
from robustray.attacks.threats import Threat
from robustray.testing.tricks import DummyClasses, Noisy, Quantised, Saturated, Sparsified, Stepped

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""What training descends: model, x [B, C, H, W], y [B]; gives a scalar."""
BATCH = 128


@dataclass(frozen=True)
class Small:
    """A classifier, and whether it is what it seems."""

    name: str
    model: nn.Module
    honest: bool
    built_on: str = ""  # the honest one that a trick was played with: the robustness that is there at most


def network(features: int, outputs: int, *, width: int = 64, seed: int = 0) -> nn.Sequential:
    """Two hidden layers, on images of so many numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hidden = nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, outputs))


def trained(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, *, epochs: int = 20, lr: float = 3e-3, seed: int = 0
) -> nn.Module:
    """By Adam, on images x [N, C, H, W] in [0, 1] and labels y [N]; in eval mode afterwards, parameters frozen."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # random starts
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
                optimiser.zero_grad()
                loss(model, x[rows], y[rows]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return model.eval().requires_grad_(False)


def natural(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy."""
    return F.cross_entropy(model(x), y)


def adversarial(threat: Threat) -> Loss:
    """Cross-entropy at what PGD finds (Madry et al., ICLR 2018)."""
    return _at(Pgd(loss="ce", steps=5), threat)


def trades(threat: Threat, beta: float = 4.0) -> Loss:
    """Cross-entropy, and beta times the KL divergence to what PGD finds (Zhang et al., ICML 2019)."""
    attack = Pgd(loss="kl", steps=5, start="gaussian").bind(threat)

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = model(x)
        return F.cross_entropy(logits, y) + beta * losses.kl(logits.softmax(1), model(attack(model, x, y)))

    return loss


def one_step(threat: Threat) -> Loss:
    """Cross-entropy at FGSM's images: at a large eps it ends in catastrophic overfitting (Wong et al., ICLR 2020)."""
    return _at(Pgd(loss="ce", steps=1, step_size=StepSize(of_eps=1.0), start="none"), threat)


def _at(attack: Pgd, threat: Threat) -> Loss:
    bound = attack.bind(threat)
    return lambda model, x, y: F.cross_entropy(model(bound(model, x, y)), y)


def towards_dummies(threat: Threat, classes: int, share: float = 0.9) -> Loss:
    """Images to their classes, adversarial ones to the dummies of them, `share` of the mass each (DUCAT)."""
    attack = Pgd(loss="ce", steps=5).bind(threat)

    def loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        own, dummy = F.one_hot(y, 2 * classes).float(), F.one_hot(y + classes, 2 * classes).float()
        at, away = share * own + (1 - share) * dummy, (1 - share) * own + share * dummy
        return F.cross_entropy(model(x), at) + F.cross_entropy(model(attack(model, x, y)), away)

    return loss


def suite(x: Tensor, y: Tensor, threat: Threat, *, seed: int = 0, width: int = 64) -> dict[str, Small]:
    """Three honest classifiers and seven that are not, by name, trained on x [N, C, H, W] and y [N].

    `overfitted` is trained by one step at 4/3 of eps, and is to be attacked there (`over`).
    """
    features, classes = x[0].numel(), int(y.max()) + 1

    def fresh(outputs: int = classes, width: int = width) -> nn.Sequential:
        return network(features, outputs, width=width, seed=seed)

    robust = fresh()
    made: dict[str, tuple[nn.Module, bool, str]] = {
        "natural": (trained(fresh(), natural, x, y, seed=seed), True, ""),
        "adversarial": (trained(robust, adversarial(threat), x, y, seed=seed), True, ""),
        "trades": (trained(fresh(), trades(threat), x, y, seed=seed), True, ""),
    }
    dummies = trained(fresh(2 * classes), towards_dummies(over(threat), classes), x, y, seed=seed)
    overfitted = trained(fresh(width=4 * width), one_step(over(threat)), x, y, lr=1e-2, seed=seed)
    made |= {
        "dummy classes": (DummyClasses(dummies, classes), False, ""),
        "sparsified": (Sparsified.of(list(robust), x, 0.3), False, "adversarial"),
        "quantised": (Quantised(robust, 8), False, "adversarial"),
        "saturated": (Saturated(robust, 1e4), False, "adversarial"),
        "noisy": (Noisy(robust, 0.1), False, "adversarial"),
        "stepped": (Stepped(robust, 2.0), False, "adversarial"),
        "overfitted": (overfitted, False, ""),
    }
    return {
        name: Small(name, model.eval().requires_grad_(False), honest, on) for name, (model, honest, on) in made.items()
    }


def over(threat: Threat) -> Threat:
    """The larger threat that `overfitted` is trained against."""
    return threat.model_copy(update={"eps": threat.eps * 4 / 3})
