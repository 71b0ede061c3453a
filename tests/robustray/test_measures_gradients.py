"""Gradients at the images, and their picture, against closed forms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robustray.attacks.threats import Threat
from robustray.measures import pictures
from robustray.measures.input_gradients import InputGradients
from robustray.measures.taking import take, written
from robustray.testing.measures import ground
from tests.robustray.test_measures_answers import linear


@pytest.mark.parametrize(("norm", "eps", "order"), [("linf", 0.04, 1), ("l2", 0.5, 2), ("l1", 2.0, np.inf)])
def test_the_gradient_of_a_linear_model(tmp_path: Path, norm: str, eps: float, order: float) -> None:
    """Of the loss log(1 + exp(-m)), m the margin: length sigmoid(-m) ||w||_q, all along w."""
    here, weight, margin = linear(tmp_path)
    here = replace(here, threat=Threat.model_validate({"norm": norm, "eps": eps}))
    found = take(InputGradients(), here)
    expected = torch.sigmoid(-margin) * torch.linalg.vector_norm(weight, order)
    np.testing.assert_allclose(found.columns["norm"], expected.numpy(), rtol=1e-4)
    assert found.value == pytest.approx(expected.mean().item(), rel=1e-4)
    assert found.values["alignment"] == pytest.approx(1, abs=1e-5)
    assert found.values["zero"] == 0


def test_a_model_that_hears_nothing() -> None:
    """Weights of 0: every gradient is 0, points nowhere, and its picture is blank."""
    layer = nn.Linear(64, 10).requires_grad_(False)
    layer.weight.zero_()
    found = take(InputGradients(pictures=3), ground(nn.Sequential(nn.Flatten(), layer)))
    assert found.value == found.values["alignment"] == 0
    assert found.values["zero"] == 1
    assert found.pictures["gradients"][-20:].min() == 255


def test_lengths_are_right_where_squares_underflow(tmp_path: Path) -> None:
    """Gradients of 1e-30 still have a direction."""
    here, *_ = linear(tmp_path)
    here.model.get_parameter("1.weight").mul_(1e-30)
    found = take(InputGradients(), here)
    assert found.values["alignment"] == pytest.approx(1, abs=1e-5)
    assert found.values["zero"] == 0


def test_the_picture_shows_a_class_after_the_other(tmp_path: Path) -> None:
    """And it is written as it is, beside a table of every image and its row."""
    here, measure = ground(images=24), InputGradients(pictures=12)
    found = take(measure, here)
    labels = here.data.load(here.split).labels[here.rows]
    shown = measure.shown(here)
    assert labels[shown][:10].tolist() == list(range(10))
    assert labels[shown][10:].tolist() == [0, 1]
    times = pictures.CELL // 8
    x = here.data.load(here.split).images[here.rows[shown[1]]]
    corner = found.pictures["gradients"][18 : 18 + 8 * times, 6 + 118 : 6 + 118 + 8 * times]
    np.testing.assert_array_equal(corner[::times, ::times], np.repeat(x, 3, -1))
    said = written(tmp_path, {"measure": measure.name}, found, here)
    assert said == json.loads((tmp_path / "result.json").read_text())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "gradients.png")), found.pictures["gradients"])
    assert (tmp_path / "images.csv").read_text().splitlines()[0] == "image,label,norm,l2,zero,alignment"


def test_colours_of_slopes() -> None:
    """Each image by its own 99th percentile; grey and red-white-blue have 0 in their middle."""
    slopes = np.zeros((2, 3, 2, 2))
    slopes[0, 0, 0, 0], slopes[1, 1, 1, 1] = 5.0, -1e-9
    found = pictures.signed(slopes)
    assert found[0, 0, 0].tolist() == [255, 128, 128]
    assert found[1, 1, 1].tolist() == [128, 0, 128]
    assert found[0, 1, 1].tolist() == [128, 128, 128]
    one = pictures.signed(np.array([1.0, -1.0, 0.5, 0.0]).reshape(1, 1, 2, 2))
    assert one[0].reshape(4, 3).tolist() == [[255, 0, 0], [0, 0, 255], [255, 128, 128], [255, 255, 255]]
    np.testing.assert_array_equal(pictures.signed(7 * slopes), found)
