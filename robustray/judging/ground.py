"""Where measures of a trial's model, or of a derived point, are taken: its model on the device, the images of its judge."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from robustray.data.device import DeviceImages
from robustray.data.splits import Indices, stratified
from robustray.devices import pick_device
from robustray.judge import Judge
from robustray.judging.answers import Copies
from robustray.measures.base import Ground, SplitName
from robustray.subjects.spec import in_folder

PURPOSE: dict[SplitName, str] = {"train": "measure train", "validation": "judge", "test": "judge test"}
"""Which list of images a split's are: validation and test images are those that the judge takes."""
Images = SplitName | Literal["tune"]


def of_trial(folder: Path, images: Images, most: int | None = None, *, device: str = "auto") -> tuple[Ground, str]:
    """The ground of the model that counts in a trial's folder, or of the point of one, and the hash of its weights.

    Args:
        images: a split's, of validation those that are judged; `tune`: the other ones of validation.
        most: how many at most, stratified by class; None: all.

    Raises:
        UserError: there is no whole checkpoint, or the data is missing.
    """
    found, place = in_folder(folder), pick_device(device)
    assert found.judge is not None
    judge, split = found.judge, "validation" if images == "tune" else images
    model = Copies(found.model).to(place).eval().requires_grad_(False)
    with torch.no_grad():
        there = judge.data.load(split).take(np.arange(1))
        classes = model(DeviceImages(there, place).batch(slice(None))[0]).shape[1]
    rows = rows_of(judge, images, most)
    return Ground(model, judge.data, split, rows, judge.threat, classes, place, spec=str(folder)), found.weights


def rows_of(judge: Judge, images: Images, most: int | None = None) -> Indices:
    """The rows in their split that `of_trial` takes, int64 [n]."""
    if images == "tune":
        rows = judge.lists()[1]
        if most is None or most >= len(rows):
            return rows
        labels = judge.data.load("validation").labels[rows]
        return rows[stratified(labels, most, "measure tune")[0]]
    labels = judge.data.load(images).labels
    own = getattr(judge.images, images, "all")
    wanted = min(len(labels) if own == "all" else int(own), len(labels) if most is None else most)
    return stratified(labels, wanted, PURPOSE[images])[0]
