"""The first look at a model: whatever a judgement later asks of it is asked once, before anything is spent."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.attacks.versions import misfit
from robustray.errors import UserError
from robustray.judging.answers import Copies, seeded
from robustray.numerics import numerics
from robustray.plain import line

NO_GRADIENTS = {"square"}
"""Attacks that ask for answers alone."""
_ALONE = "list square alone in --version, which needs none"


def look(name: str, model: nn.Module, x: Tensor, classes: int, stages: Sequence[str], norm: str) -> list[str]:
    """Asks a model about a few images at once, about one alone, and for a gradient where an attack will.

    Args:
        name: of the model, for messages. model: maps pixels [B, C, H, W] in [0, 1] to logits [B, K].
        x: a few images, of which none is changed. classes: that the data has. stages: attacks to come. norm: of the threat.

    Returns:
        Warnings, a line each: what is odd about the model, but can be judged.

    Raises:
        UserError: it fails on the images or changes them, gives no finite logits, has too few classes, an attack cannot
            begin on images of this size, or no gradient reaches the images.
    """
    with numerics(), attack_mode(model, "eval"), seeded(0, x.device), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they are about is told here where it matters, and by the judgement else
        with torch.no_grad():
            outputs = _answers(name, model, x)
            if len(x) > 1:
                _answers(name, model, x[:1])
        found = _fits(name, outputs, x, classes, stages, norm)
        if set(stages) - NO_GRADIENTS:
            with torch.enable_grad():
                for images in (x, x[:1]) if len(x) > 1 else (x,):
                    found += _gradient(name, model, images)
    return list(dict.fromkeys(found))


def _answers(name: str, model: nn.Module, x: Tensor) -> int:
    """How many logits a model gives."""
    given = x.clone()
    logits = _asked(name, lambda: model(given), x)
    if not torch.equal(given, x):
        raise UserError(
            f"{name}: changes the images it is given, as x.sub_() or x[...] = do: what it says then depends on who asked "
            "before; let its forward begin with x = x.clone()"
        )
    return _checked(name, logits, x).shape[1]


def _asked(name: str, ask: Callable[[], object], x: Tensor) -> object:
    try:
        return ask()
    except (Exception, SystemExit) as error:
        types = any(word in str(error).lower() for word in ("dtype", "scalar type"))
        remedy = "; models are judged in float32, weights and images alike: cast neither" if types else ""
        raise UserError(f"{name}: fails on images of shape {tuple(x.shape)} ({line(error)}){remedy}") from None


def _checked(name: str, logits: object, x: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(x):
        what, remedy = _described(logits)
        raise UserError(f"{name}: must give logits [B, classes], gave {what} for {tuple(x.shape)}{remedy}")
    if not logits.is_floating_point():
        raise UserError(f"{name}: must give logits, gave {logits.dtype}: whole numbers have no margin to attack")
    if not bool(logits.isfinite().all()):
        raise UserError(f"{name}: its logits are not finite; a broken model cannot be judged")
    return logits


def _described(given: object) -> tuple[str, str]:
    """What a model gave in place of logits, and what helps, where something does."""
    if isinstance(given, Tensor):
        return str(tuple(given.shape)), ""
    what, alone = type(given).__name__, "; wrap it in a module whose forward returns the logits alone"
    if isinstance(given, Mapping):
        return f"{what} of {', '.join(map(str, given))}", alone
    return (f"{what} of {len(given)}", alone) if isinstance(given, list | tuple) else (what, "")


def _fits(name: str, outputs: int, x: Tensor, classes: int, stages: Sequence[str], norm: str) -> list[str]:
    if outputs < 2:
        raise UserError(f"{name}: gives {outputs} output; a classifier needs two outputs, one for each class")
    height, width = x.shape[2:]
    if (found := misfit(stages, norm, height, width, outputs, "the model")) is not None:
        raise UserError(f"{name}: {found.why}: list other attacks, --version {'+'.join(found.instead)}")
    if outputs < classes:
        raise UserError(f"{name}: has {outputs} outputs, but the data has {classes} classes")
    more = f"{name} has {outputs} outputs, the data {classes} classes: an answer beyond them counts as wrong"
    return [more] if outputs > classes else []


def _gradient(name: str, model: nn.Module, x: Tensor) -> list[str]:
    pixels = x.clone().requires_grad_()
    try:
        logits = Copies(model)(pixels)
        reached = logits.requires_grad
        slope = torch.autograd.grad(logits.sum(), pixels, allow_unused=True)[0] if reached else None
    except (Exception, SystemExit) as error:
        raise UserError(f"{name}: fails when asked for a gradient ({line(error)}): {_ALONE}") from None
    if slope is None:
        raise UserError(f"{name}: no gradient reaches the images: {_ALONE}")
    blind = int((~slope.isfinite()).flatten(1).any(1).sum())
    if blind == len(x) > 1:
        raise UserError(f"{name}: its gradients are NaN or infinite, so gradient attacks see nothing: {_ALONE}")
    return [f"{name} has gradients that are NaN or infinite at some images: gradient attacks may be blind there"] * (
        blind > 0
    )
