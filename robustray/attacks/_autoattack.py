"""The adapter to AutoAttack by its authors (Croce and Hein, ICML 2020, arXiv:2003.01690)."""

from __future__ import annotations

import logging

import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.errors import UserError
from robustray.trial import CLASSES_NEEDED

_NORMS = {"linf": "Linf"}
_TARGETED = {"apgd-t", "fab-t"}
logging.getLogger("auto-attack").addHandler(logging.NullHandler())


def run(attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> Tensor:
    """Runs one attack of the authors' standard version on a batch, in float32.

    Args:
        attack: `apgd-ce`, `apgd-dlr`, `apgd-t`, `fab`, `fab-t` or `square`.
        model: in eval mode, parameters frozen. x [B, C, H, W] in [0, 1]; y [B], all classified correctly.
        seed: what the attack seeds torch with; the caller's random state is untouched.

    Returns:
        x' [B, C, H, W]; an image the attack did not break comes back in some state inside the threat.

    Raises:
        UserError: the model has too few classes for the attack.
    """
    with torch.no_grad():
        classes = model(x[:1]).shape[1]
    needed = CLASSES_NEEDED.get(attack, 2)
    if classes < needed:
        raise UserError(
            f"{attack} compares {needed} classes, but the model has {classes}: list other attacks in judge.version"
        )
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        suite = AutoAttack(
            model, norm=_NORMS[threat.norm], eps=threat.eps, seed=seed, version="standard", device=x.device
        )
        suite.apgd.loss = "dlr" if attack == "apgd-dlr" else "ce"
        suite.fab.targeted = attack == "fab-t"
        if attack in _TARGETED:  # with fewer than ten classes there are fewer targets
            suite.apgd_targeted.n_target_classes = min(suite.apgd_targeted.n_target_classes, classes - 1)
            suite.fab.n_target_classes = min(suite.fab.n_target_classes, classes - 1)
        chosen = {
            "apgd-ce": suite.apgd,
            "apgd-dlr": suite.apgd,
            "apgd-t": suite.apgd_targeted,
            "fab": suite.fab,
            "fab-t": suite.fab,
            "square": suite.square,
        }[attack]
        x_adv: Tensor = chosen.perturb(x.clone(), y.clone())
    return x_adv.detach()
