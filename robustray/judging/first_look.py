"""The first look at a model: whatever a judgement later asks of it is asked once, before anything is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.attacks.versions import CLASSES_NEEDED
from robustray.errors import UserError
from robustray.judging.answers import Copies, seeded
from robustray.numerics import numerics

NO_GRADIENTS = {"square"}
"""Attacks that ask for answers alone."""


def look(name: str, model: nn.Module, x: Tensor, classes: int, stages: Sequence[str]) -> list[str]:
    """Asks a model about a few images at once, about one alone, and for a gradient where an attack will.

    Args:
        name: of the model, for messages. model: maps pixels [B, C, H, W] in [0, 1] to logits [B, K].
        x: a few images, of which none is changed. classes: that the data has. stages: attacks to come.

    Returns:
        Warnings, a line each: what is odd about the model, but can be judged.

    Raises:
        UserError: it fails on the images, gives no finite logits, has too few classes, or no gradient reaches the images.
    """
    given = x.clone()
    with numerics(), attack_mode(model, "eval"), seeded(0, x.device), torch.no_grad():
        logits = _asked(name, lambda: model(given), x)
        warnings = [] if torch.equal(given, x) else [f"{name} changes the images it is given: it is given copies"]
        logits = _checked(name, logits, x)
        if len(x) > 1:
            one = x[:1]
            _checked(name, _asked(name, lambda: model(one.clone()), one), one)
    _fits(name, logits.shape[1], classes, stages)
    if logits.shape[1] > classes:
        warnings.append(
            f"{name} has {logits.shape[1]} outputs, the data {classes} classes: an answer beyond them counts as wrong"
        )
    if set(stages) - NO_GRADIENTS:
        with numerics(), attack_mode(model, "eval"), seeded(0, x.device), torch.enable_grad():
            for images in (x, x[:1]) if len(x) > 1 else (x,):
                _gradient(name, model, images)
    return warnings


def _asked(name: str, ask: Callable[[], object], x: Tensor) -> object:
    try:
        return ask()
    except Exception as error:
        raise UserError(f"{name}: fails on images of shape {tuple(x.shape)} ({_line(error)})") from None


def _checked(name: str, logits: object, x: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{name}: must give logits [B, classes], gave {what} for {tuple(x.shape)}")
    if not bool(logits.isfinite().all()):
        raise UserError(f"{name}: its logits are not finite; a broken model cannot be judged")
    return logits


def _fits(name: str, outputs: int, classes: int, stages: Sequence[str]) -> None:
    for attack in stages:
        if outputs < CLASSES_NEEDED.get(attack, 2):
            raise UserError(_too_few(attack, outputs))
    if outputs < classes:
        raise UserError(f"{name}: has {outputs} outputs, but the data has {classes} classes")


def _too_few(attack: str, outputs: int) -> str:
    """That an attack compares more classes than a model has, and which attacks do not."""
    needed = CLASSES_NEEDED.get(attack, 2)
    remedy = ": list other attacks, --version apgd-ce+fab+square" if outputs > 1 else "; a classifier needs two outputs"
    return f"{attack} compares {needed} classes, but the model has {outputs}{remedy}"


def _gradient(name: str, model: nn.Module, x: Tensor) -> None:
    pixels = x.clone().requires_grad_()
    remedy = "list square alone in --version, which needs none"
    try:
        logits = Copies(model)(pixels)
        reached = logits.requires_grad
        slope = torch.autograd.grad(logits.sum(), pixels, allow_unused=True)[0] if reached else None
    except Exception as error:
        raise UserError(f"{name}: fails when asked for a gradient ({_line(error)}): {remedy}") from None
    if slope is None:
        raise UserError(f"{name}: no gradient reaches the images: {remedy}")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
