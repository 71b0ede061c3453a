"""What commands that take a model, images and a device find out before anything is spent."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from robustray.data.base import DataSource
from robustray.data.device import DeviceImages
from robustray.data.splits import Indices, stratified
from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.judging import first_look, identity
from robustray.judging.ground import PURPOSE
from robustray.plain import line
from robustray.subjects import Classifier


def device_of(flag: str) -> torch.device:
    """The device that `--device` asks for; raises UserError."""
    try:
        return pick_device(flag)
    except UserError as error:
        raise UserError(f"--device: {error}") from None


def rows_of(found: Classifier, data: DataSource, split: Any, images: int | None, *, own_data: bool) -> Indices:
    """The rows that a judgement of as many images has.

    Args:
        images: how many are asked for. own_data: they are those of the trial, whose judge says how many.
    """
    labels = data.load(split).labels
    own = getattr(found.judge.images, split, "all") if found.judge and own_data else "all"
    wanted = images or (len(labels) if own == "all" else int(own))
    if wanted > len(labels):
        raise UserError(f"--images {wanted}: {data.name} has {len(labels)} {split} images")
    return stratified(labels, wanted, PURPOSE[split])[0]


def looked_at(
    name: str, model: nn.Module, data: DataSource, split: Any, norm: str, device: torch.device, unfixed: str
) -> tuple[int, list[str], list[list[float]] | None]:
    """How many classes a model tells apart, warnings, and what it says of a few images; raises as `first_look.look`.

    Args:
        unfixed: what the warning says of a model that answers otherwise each time.
    """
    there = data.load(split)
    x = DeviceImages(there.take(np.arange(min(8, len(there)))), device).batch(slice(None))[0]
    try:
        model.to(device)
    except Exception as error:  # memory, or a module that stays where it is
        raise UserError(f"{name}: cannot be moved to {device} ({line(error)})") from None
    warnings = first_look.look(name, model, x, data.classes, (), norm)
    answers = identity.answers(model, x)
    if answers is None:
        warnings.append(f"{name} draws random numbers {unfixed}")
    with torch.no_grad():
        return model(x.clone()).shape[1], warnings, answers
