"""The few adversarial images that are kept to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from robustray.judging import examples
from robustray.judging.bench import Batch, Found


def test_the_first_broken_images_are_kept_in_256_levels(tmp_path: Path) -> None:
    x = torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.arange(20) % 10
    broken = torch.arange(20) % 2 == 1
    predicted = torch.where(broken, (y + 1) % 10, y)
    x_adv = (x + 0.1).clamp(0, 1)
    examples.save(
        tmp_path, "apgd-ce", Batch("apgd-ce", 0, np.arange(100, 120), x, y), Found(x_adv, predicted, (~broken).float())
    )
    with np.load(tmp_path / "examples" / "apgd-ce.npz", allow_pickle=False) as kept:
        assert kept["image"].tolist() == [101, 103, 105, 107, 109, 111]
        assert np.all(kept["label"] != kept["predicted"])
        for name, pixels in (("x", x), ("x_adv", x_adv)):
            assert kept[name].dtype == np.uint8
            assert np.abs(kept[name] / 255 - pixels[[1, 3, 5, 7, 9, 11]].numpy()).max() <= 0.5 / 255 + 1e-6


def test_nothing_is_written_where_nothing_broke_and_large_images_are_fewer(tmp_path: Path) -> None:
    small, y = torch.rand(4, 1, 2, 2), torch.zeros(4, dtype=torch.long)
    examples.save(tmp_path, "square", Batch("square", 0, np.arange(4), small, y), Found(small, y, torch.ones(4)))
    none = torch.zeros(0, 1, 2, 2)
    examples.save(tmp_path, "square", Batch("square", 0, np.arange(0), none, y[:0]), Found(none, y[:0], torch.ones(0)))
    assert not (tmp_path / "examples").exists()
    large = torch.rand(4, 3, 224, 224)
    examples.save(tmp_path, "square", Batch("square", 0, np.arange(4), large, y), Found(large, y + 1, torch.zeros(4)))
    with np.load(tmp_path / "examples" / "square.npz") as kept:
        assert len(kept["image"]) == 1
