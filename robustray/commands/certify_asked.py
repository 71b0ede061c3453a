"""What `python -m robustray certify` is asked for, and what is no such thing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robustray.errors import UserError


@dataclass(frozen=True)
class Asked:
    """The flags of the command. None: as the trial says, else the usual."""

    model: str
    data: str | None = None
    split: Literal["validation", "test"] | None = None
    images: int | None = None
    sigma: float | None = None
    samples: int = 10_000
    first: int = 100
    confidence: float = 0.999
    alphas: tuple[str, ...] = ()
    batch: int = 500
    device: str = "auto"
    architecture: str | None = None
    results: Path | None = None


def level_of(confidence: float) -> float:
    """1 - confidence, with which a claim may be wrong. Raises UserError: there is no such confidence."""
    if not 0 < confidence < 1:
        raise UserError(f"--confidence {confidence:g}: must lie between 0 and 1, for example 0.999")
    return 1 - confidence


def check_sigma(value: float | None) -> None:
    """Raises UserError: it is no deviation."""
    if value is not None and not 0 < value < math.inf:
        raise UserError(f"--sigma {value:g}: must be a positive number of pixels of [0, 1], for example 0.25")


def alphas_of(texts: tuple[str, ...], named: str | None = None) -> list[float]:
    """The shares that a flag lists, or a model has, which is then `named`.

    Raises:
        UserError: one is no share, or nothing can be certified at any of them.
    """
    alphas: list[float] = []
    for text in ",".join(texts).split(",") if texts else ():
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            raise UserError(f"--alpha {text}: must be a number from 0 to 1, or several, 0.67,0.76,1")
        alphas.append(value)
    if alphas and max(alphas) <= 0.5:
        raise UserError(
            f"{named or '--alpha ' + ','.join(texts)}: nothing is certified at 1/2 or below, where the other classifier alone "
            "decides; take a larger alpha"
        )
    return list(dict.fromkeys(alphas))
