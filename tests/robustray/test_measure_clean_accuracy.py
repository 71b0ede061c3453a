"""Clean accuracy in closed form, image by image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.clean_accuracy import CleanAccuracy
from robustray.measures.taking import take
from robustray.testing.measures import ground


class Says(nn.Module):
    """The same logits for every image, one of them a NaN where it is broken."""

    def __init__(self, logits: list[float], broken: bool = False) -> None:
        super().__init__()
        self.logits, self.broken = torch.tensor(logits), broken

    def forward(self, x: Tensor) -> Tensor:
        found = self.logits.expand(len(x), -1).clone()
        if self.broken:
            found[:, 9] = torch.nan
        return found


def test_uniform_logits_are_right_about_one_class_at_ln_k() -> None:
    here = ground(Says([0.0] * 10))
    labels = here.data.load(here.split).labels[here.rows]
    result = take(CleanAccuracy(), here)
    assert result.value == np.mean(labels == 0)
    assert (result.low, result.high) == intervals.share(int((labels == 0).sum()), len(labels))
    assert result.values["cross_entropy"] == pytest.approx(math.log(10))
    np.testing.assert_allclose(result.columns["probability"], 0.1, rtol=1e-6)
    np.testing.assert_allclose(result.columns["loss"], math.log(10), rtol=1e-6)


def test_each_image_has_its_class_and_its_probability() -> None:
    logits = [0.0] * 9 + [2.0]
    here = ground(Says(logits))
    result = take(CleanAccuracy(), here)
    labels = here.data.load(here.split).labels[here.rows]
    assert (result.columns["predicted"] == 9).all()
    np.testing.assert_array_equal(result.columns["correct"], labels == 9)
    p = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(result.columns["probability"], p[labels], rtol=1e-5)


def test_a_nan_is_never_right() -> None:
    result = take(CleanAccuracy(), ground(Says([0.0] * 10, broken=True)))
    assert result.value == 0
    assert (result.columns["predicted"] == -1).all()


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(UserError, match="tells 4 classes apart"):
        take(CleanAccuracy(), replace(ground(Says([0.0] * 4)), classes=4))
