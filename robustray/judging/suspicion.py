"""Which trials may have lost their robustness in training without its validation attack telling. Pure; needs no torch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

GAP = 0.12
"""What one step of an attack leaves, minus what many leave, fractions of images. Beyond it the loss is not as straight around
images as it is where training worked: catastrophic overfitting (Wong et al., ICLR 2020, arXiv:2001.03994)."""
LEAP = 0.08
"""What one epoch of the later half of training adds to clean accuracy: robustness that is lost gives way to it."""
BEFORE = 5
"""Validations whose median an epoch is compared with."""


def of(fgsm: float, pgd: float | None, clean: Sequence[float]) -> str:
    """Why a trial should meet Square before attacks that follow gradients; "" where nothing says so.

    With these bounds, six of the seven runs of a published table of 186 fast trainings (arXiv:2604.22853) whose PGD-50 accuracy
    is more than 8 points above AutoAttack's are told, with 44 of the others. That costs no attack, only the order of them, so
    the bounds are generous; where eps is large beside an image's detail, honest models are beyond GAP too.

    Args:
        fgsm: accuracy after one step of length eps. pgd: by the validation attack, None where it was not measured.
        clean: clean accuracy, validation by validation.
    """
    if pgd is not None and fgsm - pgd > GAP:
        return f"one step leaves {fgsm:.1%}, the validation attack {pgd:.1%}"
    if (leap := late_leap(clean)) > LEAP:
        return f"clean accuracy rose by {leap:.1%} late in training"
    return ""


def late_leap(clean: Sequence[float]) -> float:
    """The most by which a validation of the later half is above the median of the five before it; 0 where none is.

    A median, so that neither one bad epoch nor the slow rise of a learning rate's decay is a leap.
    """
    half = (len(clean) + 1) // 2
    late = range(max(1, half), len(clean))
    return max([0.0, *(clean[at] - statistics.median(clean[max(0, at - BEFORE) : at]) for at in late)])
