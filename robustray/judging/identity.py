"""What tells a foreign model from others: equal weights need not be equal functions."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.attacks.mode import attack_mode
from robustray.files import json_mapping
from robustray.judging.answers import Copies, seeded
from robustray.numerics import numerics

IMAGES = 8
SUMS = 4
"""Weighted sums of an image's logits that are kept: they see every logit and its place, however many classes there are."""
TOLERANCE = 1e-3
"""Of the largest sum. Float32 in another layout, batch or number of threads moves an answer by 1e-6 to 1e-4 of it."""


def answers(model: nn.Module, x: Tensor) -> list[list[float]] | None:
    """What a model says of the first images of x [B, C, H, W] in strict float32: sum over k of logits[k] cos((j + 1)(k + 1)),
    j = 0 to 3, for each of at most eight images. None where it says something else when asked again with the same seed:
    it draws from a generator that no seed reaches, and nothing that it says tells it from others.
    """
    device = next((p.device for p in (*model.parameters(), *model.buffers())), x.device)
    images = x[:IMAGES].to(device).float()
    found = []
    with numerics(), attack_mode(model, "eval"), torch.no_grad():
        for _ in range(2):
            with seeded(0, device):
                found.append(_sums(Copies(model)(images)))
    return found[0] if alike(found[0], found[1]) else None


def drawn(model: nn.Module, name: str = "") -> dict[str, str]:
    """What tells a model from others of equal weights where `answers` says None: how it is called, and the files of its code.

    Two that add noise of their own to one network would otherwise share a folder, and the second get the numbers of the first.
    """
    digests = set[str]()
    for kind in {type(part) for part in model.modules()}:
        digests.add(hashlib.sha256(_code(kind)).hexdigest())
    return {"name": name, "code": hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()}


def _code(kind: type) -> bytes:
    """The file in which a class is written; its name where there is none, or where torch brings it."""
    named = f"{kind.__module__}.{kind.__qualname__}".encode()
    if kind.__module__.partition(".")[0] == "torch":
        return named
    try:
        return named + Path(inspect.getfile(kind)).read_bytes()
    except (OSError, TypeError):  # made by `type`, or in a session of Python
        return named


def _sums(logits: Tensor) -> list[list[float]]:
    logits = logits.double().cpu()
    place = torch.arange(1, logits.shape[1] + 1, dtype=torch.float64)
    weights = torch.cos(place[:, None] * torch.arange(1, SUMS + 1, dtype=torch.float64))
    return [[float(f"{value:.9g}") for value in row] for row in (logits @ weights).tolist()]


def alike(a: Any, b: Any) -> bool:
    """Whether two kept answers are those of one function, up to float32's rounding in another layout.

    A tolerance, not a hash of rounded numbers: two numbers that are close may round apart, whatever the step.
    """
    try:
        first, second = (torch.tensor(each, dtype=torch.float64) for each in (a, b))
    except (TypeError, ValueError):  # what an older version kept
        return False
    if first.shape != second.shape:
        return False
    if torch.equal(first.isfinite(), second.isfinite()) and not bool(first.isfinite().all()):
        first, second = first.nan_to_num(), second.nan_to_num()
    apart = (first - second).abs().amax() if first.numel() else torch.zeros(())
    return (
        bool(apart <= TOLERANCE * max(float(first.abs().max()), float(second.abs().max()))) if first.numel() else True
    )


def known(
    folders: Iterable[Path], answers: list[list[float]], weights: str, *keys: str, file: str = "judgement.json"
) -> list[list[float]]:
    """The answers as an earlier judgement of the same function wrote them, that one goes on; else these.

    Args:
        folders: of judgements. answers: from `answers`. weights: hash of the model's weights.
        keys: where a judgement's parts hold the answers, from the outermost. file: of a folder, with those parts.
    """
    for folder in sorted(folders):
        try:
            parts: Any = json_mapping(folder / file)
        except (OSError, ValueError):
            continue
        if parts.get("weights") != weights:
            continue
        kept: Any = parts
        for key in keys:
            kept = kept.get(key) if isinstance(kept, Mapping) else None
        if alike(kept, answers):
            found: list[list[float]] = kept
            return found
    return answers
