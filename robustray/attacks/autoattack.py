"""The adapter to AutoAttack by its authors (Croce and Hein, ICML 2020, arXiv:2003.01690)."""

from __future__ import annotations

import logging
import re
from typing import Any

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.attacks.versions import Strength, too_few, unfit
from robustray.errors import UserError

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_TARGETED = {"apgd-t", "fab-t"}


def run(
    attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int, strength: Strength = "standard"
) -> tuple[Tensor, int]:
    """Runs one attack of the authors' version on a batch, in float32.

    Args:
        attack: `apgd-ce`, `apgd-dlr`, `apgd-t`, `fab`, `fab-t` or `square`.
        model: in eval mode, parameters frozen. x [B, C, H, W] in [0, 1]; y [B], all classified correctly.
        seed: what the attack seeds torch with; the caller's random state is untouched.
        strength: whose number of restarts, targets and averaged gradients: `standard`, `plus` or `rand`.

    Returns:
        x' [B, C, H, W], where an image the attack did not break comes back in some state inside the threat; and at how
        many images the gradient was exactly zero where APGD on a difference of logits started (the most of any start).

    Raises:
        UserError: the model has too few classes for the attack, or its images are of a size that the attack cannot take.
    """
    if (why := unfit(attack, threat.norm, *x.shape[2:])) is not None:
        raise UserError(f"{why}: list other attacks in judge.version or --version")
    asked = _Asked(model)
    devices = [x.device] if x.device.type == "cuda" else []
    said = _ZeroGradients()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)  # theirs comes after their first forward pass, in which a randomised model draws
        chosen = attack_of(attack, asked, x, threat, seed, strength)
        if hasattr(chosen, "logger"):
            chosen.logger = said.logger
        # contiguous: the authors' L1 projection takes views. clamp: their Square leaves [0, 1] by a rounding error in L1.
        asked.first = y
        x_adv: Tensor = chosen.perturb(x.clone(memory_format=torch.contiguous_format), y.clone())
        zeros = y == 0
        if asked.nan and bool(
            zeros.any()
        ):  # for these, an answer of NaN looked right: it must be class 1 to look wrong
            asked.first, asked.instead = y[zeros], 1
            x_adv = x_adv.clone()
            x_adv[zeros] = chosen.perturb(x[zeros].clone(memory_format=torch.contiguous_format), y[zeros].clone())
    return x_adv.detach().clamp(0, 1), said.most


def attack_of(attack: str, model: nn.Module, x: Tensor, threat: Threat, seed: int, strength: Strength) -> Any:
    """The authors' attack object with the settings it has when its turn comes; `perturb(x, y)` runs it.

    Raises:
        UserError: the model has too few classes for the attack.
    """
    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    if (why := too_few(attack, classes, "the model")) is not None:
        raise UserError(f"{why}: list other attacks in judge.version or --version")
    suite = AutoAttack(model, norm=_NORMS[threat.norm], eps=threat.eps, seed=seed, version=strength, device=x.device)
    suite.apgd.loss = "dlr" if attack == "apgd-dlr" else "ce"
    suite.fab.targeted = attack == "fab-t"
    if attack == "fab-t":
        suite.fab.n_restarts = 1  # as the authors set it when its turn comes
    if attack in _TARGETED:  # with fewer than ten classes there are fewer targets
        suite.apgd_targeted.n_target_classes = min(suite.apgd_targeted.n_target_classes, classes - 1)
        suite.fab.n_target_classes = min(suite.fab.n_target_classes, classes - 1)
    return {
        "apgd-ce": suite.apgd,
        "apgd-dlr": suite.apgd,
        "apgd-t": suite.apgd_targeted,
        "fab": suite.fab,
        "fab-t": suite.fab,
        "square": suite.square,
    }[attack]


class _Asked(nn.Module):
    """The model as an attack of the authors asks it.

    Their first question is which images are right, and they leave the others alone. The judge asks about standing images
    only, so all are: one pass of a randomised model may say otherwise, and would save the image from ever being attacked.
    An answer with a NaN is a wrong one; theirs is the class that `argmax` finds, the first that is NaN.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.first: Tensor | None = None  # labels [B], that the next question is answered with
        self.nan = False  # whether an answer was NaN
        self.instead = 0  # the class that such an answer stands for

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        if self.first is not None:
            y, self.first = self.first, None
            return nn.functional.one_hot(y, logits.shape[1]).to(logits)
        broken = logits.isnan().any(1, keepdim=True)
        if bool(broken.any()):
            self.nan = True
            stands = nn.functional.one_hot(torch.tensor([self.instead], device=x.device), logits.shape[1]).to(logits)
            logits = torch.where(broken, stands, logits)
        return logits


class _ZeroGradients(logging.Handler):
    """Reads the one number that AutoAttack only says in a log line."""

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self.logger = logging.Logger("autoattack")  # its own, outside the tree: nothing is printed
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        count = re.search(r"there are (\d+) points with zero gradient", record.getMessage())
        self.most = max(self.most, int(count[1]) if count else 0)


logging.getLogger("auto-attack").addHandler(logging.NullHandler())
