"""Whether gradients lead anywhere: a few steps along them before the attacks, which believe that they do."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks.pgd import Pgd, StepSize
from robustray.attacks.threats import Threat
from robustray.errors import NotFinite
from robustray.judging.answers import classes_of

PIECE = 128
"""Images at a time: fewer than an attack takes, so that memory suffices where theirs does."""
ASKED, ENOUGH = 32, 8
"""Images that are attacked without a bound, and how many there must be for an answer."""
LEFT = 0.5
"""Share of them beyond which gradients are taken to lead nowhere. Models of any robustness leave none or next to none; those
whose gradients are hidden leave nearly all."""
WITHOUT_BOUND = Pgd(loss="margin", steps=20, step_size=StepSize(of_eps=0.25), start="none")
EVERYTHING = Threat(eps=1.0)


@dataclass(frozen=True)
class FirstStep:
    """What one step along the gradient of cross-entropy does to images that are classified correctly."""

    left: int
    """Images still classified correctly after it: FGSM's robust accuracy, times the images."""
    vanished: int
    """Images where that gradient is exactly zero."""
    unfinished: int
    """Images where it is NaN or infinite at some pixel: attacks do not move that pixel, or lose the image."""


def first_step(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> FirstStep:
    """FGSM from the images themselves (Goodfellow et al., ICLR 2015, arXiv:1412.6572), steepest ascent in the threat's norm.

    Logits that are about 90 apart and more have a softmax of exactly one and zero in float32, and cross-entropy no gradient:
    attacks that climb it stand still (Carlini and Wagner, IEEE S&P 2017, arXiv:1608.04644).

    Args:
        model: maps pixels [B, C, H, W] in [0, 1] to logits [B, K]; in eval mode, parameters frozen.
        x, y: images [B, C, H, W] and labels [B].
    """
    left = vanished = unfinished = 0
    for images, labels in zip(torch.split(x, PIECE), torch.split(y, PIECE), strict=True):
        pixels = images.clone().requires_grad_()
        with torch.enable_grad():
            logits = model(pixels)
            slope = _slope(F.cross_entropy(logits, labels, reduction="sum"), pixels)
        right = classes_of(logits.detach()) == labels
        vanished += int((right & (slope.flatten(1) == 0).all(1)).sum())
        unfinished += int((right & ~slope.isfinite().flatten(1).all(1)).sum())
        stepped = threat.project(threat.ascend(images, slope.nan_to_num(0, 0, 0), threat.eps), images)
        with torch.no_grad():
            left += int((right & (classes_of(model(stepped)) == labels)).sum())
    return FirstStep(left, vanished, unfinished)


def lead_nowhere(model: nn.Module, x: Tensor, y: Tensor) -> bool:
    """Whether an attack that may change every pixel to anything leaves most images, which no bound explains: gradients are
    hidden, not absent (Carlini et al., "On evaluating adversarial robustness", 2019, arXiv:1902.06705, section 5.2).

    20 steps of PGD on the margin, in the box [0, 1] alone, from the image itself, on the first of x [B, C, H, W] that are
    classified as y [B]. A model that says one class of everything has nothing to be moved to, and is not asked; neither are
    fewer than eight images.
    """
    with torch.no_grad():
        said = classes_of(model(x))
    right = torch.nonzero(said == y)[:ASKED, 0]
    if len(right) < ENOUGH or bool((said == said[0]).all()):
        return False
    images, labels = x[right], y[right]
    try:
        moved = WITHOUT_BOUND(model, images, labels, EVERYTHING)
    except NotFinite:  # a flag of its own
        return False
    with torch.no_grad():
        stands = classes_of(model(moved)) == labels
    return float(stands.float().mean()) > LEFT


def _slope(loss: Tensor, pixels: Tensor) -> Tensor:
    """The gradient to the pixels; zero where none reaches them."""
    found = torch.autograd.grad(loss, pixels, allow_unused=True)[0] if loss.requires_grad else None
    return torch.zeros_like(pixels) if found is None else found
