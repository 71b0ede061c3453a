"""Training on some of the images: which ones, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from robustray.errors import UserError
from robustray.training.batches import Batches, training_images
from robustray.training.randomness import Randomness
from robustray.trial import TrialConfig
from tests.robustray.made import trial as made_trial

CPU = torch.device("cpu")


def trial(**batch: Any) -> TrialConfig:
    return made_trial(batch={"size": 20, **batch})


@settings(max_examples=6, deadline=None)
@given(st.floats(0.02, 0.999) | st.integers(20, 1000), st.integers(0, 9))
def test_a_share_of_every_class_and_the_same_whatever_the_seed(images: float, seed: int) -> None:
    config = trial(images=images)
    every = config.judge.data.load("train")
    wanted = round(images * len(every)) if images < 1 else int(images)
    some = training_images(config)
    assert len(some) == wanted
    sizes, drawn = Counter(every.labels.tolist()), Counter(some.labels.tolist())
    for label, size in sizes.items():
        assert abs(drawn[label] - size * wanted / len(every)) < 1 + 1e-9
    there = {image.tobytes() for image in every.images}
    assert all(image.tobytes() in there for image in some.images)
    again = training_images(config.model_copy(update={"seed": seed}))
    assert np.array_equal(again.images, some.images)
    batches = Batches(config, Randomness(seed, CPU), CPU)
    assert batches.steps == wanted // 20
    assert sorted(batches.order(0).tolist()) == list(range(wanted))


@given(st.floats(0.1, 0.8), st.floats(1.01, 1.2))
@settings(max_examples=6, deadline=None)
def test_fewer_images_are_nearly_all_among_more(share: float, times: float) -> None:
    few, more = training_images(trial(images=share)), training_images(trial(images=share * times))
    there = {image.tobytes() for image in more.images}
    missing = sum(image.tobytes() not in there for image in few.images)
    assert missing <= 10, "one of a class at most, by rounding"


def test_all_are_what_they_were() -> None:
    config = trial()
    assert training_images(config) is config.judge.data.load("train")
    assert config.batch.among(1234) == 1234
    share = trial(images=0.9999999)
    assert len(training_images(share)) == len(training_images(config))


@pytest.mark.parametrize("images", [0, -1, 19, 20.5, 1.0])
def test_what_is_no_number_of_images(images: float) -> None:
    with pytest.raises(ValidationError):
        trial(images=images)


def test_more_than_there_are_and_less_than_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^batch.images is 9999, but there are only \d+ training images$"):
        training_images(trial(images=9999))
    with pytest.raises(
        UserError, match=r"^batch.size is 20, but there are by batch.images 0.002 only \d training images$"
    ):
        training_images(trial(images=0.002))
