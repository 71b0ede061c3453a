"""Single sources and augmentations: what is in them, and every mistake a user can make."""

from __future__ import annotations

import subprocess
import sys
import unittest.mock
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from robustray.data import Crop, Digits, Flip, Npz, digits
from robustray.errors import UserError
from tests.robustray.made import generator


def npz(folder: Path, **options: Any) -> Npz:
    return Npz(train=str(folder / "train.npz"), test=str(folder / "test.npz"), **options)


def write(path: Path, **arrays: Any) -> None:
    np.savez(path, **arrays)


IMAGES = np.arange(12 * 4 * 3 * 2, dtype=np.uint8).reshape(12, 4, 3, 2)
LABELS = np.arange(12) % 3


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int16])
def test_npz_with_channels(tmp_path: Path, dtype: type[np.generic]) -> None:
    write(tmp_path / "train.npz", images=IMAGES, labels=LABELS.astype(dtype))
    read = npz(tmp_path, validation=3).read("train")
    np.testing.assert_array_equal(read.images, IMAGES)
    np.testing.assert_array_equal(read.labels, LABELS)
    assert read.labels.dtype == np.int64


def test_npz_without_channels(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "train.npz", images=IMAGES[..., 0], labels=LABELS)
    np.testing.assert_array_equal(npz(tmp_path).read("train").images, IMAGES[..., :1])


def test_npz_first_images_only_of_train(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write(tmp_path / f"{name}.npz", images=IMAGES, labels=LABELS)
    source = npz(tmp_path, images=5, validation=2)
    assert len(source.read("train")) == 5
    assert len(source.load("train")) == 3
    assert len(source.load("test")) == 12


def test_npz_identity_follows_the_content(tmp_path: Path) -> None:
    write(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    before = npz(tmp_path).identity("train")
    write(tmp_path / "train.npz", images=IMAGES, labels=LABELS[::-1])
    assert npz(tmp_path).identity("train") != before


def test_npz_classes_count_a_class_that_only_validation_has(tmp_path: Path) -> None:
    """A rare class may be held out whole: the model must still have an output for it."""
    labels = np.array([0] * 11 + [1])
    write(tmp_path / "train.npz", images=IMAGES, labels=labels)
    source = npz(tmp_path, validation=11)
    held_out = source.load("validation").labels
    assert held_out.max() == 1
    assert source.load("train").labels.max() == 0
    assert source.classes == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMAGES, "labels": LABELS}, "no array 'images'; did you mean 'image'"),
        ({"images": IMAGES}, "no array 'labels'"),
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, "must be uint8"),
        ({"images": IMAGES.reshape(12, -1), "labels": LABELS}, "must be uint8"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS.astype(np.float64)}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS > 0}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "0 or more"),
        ({"images": np.zeros((12, 3, 8, 8), np.uint8), "labels": LABELS}, "3x8x8, but channels come last: .*transpose"),
        ({"images": np.zeros((12, 1, 8, 8), np.uint8), "labels": LABELS}, "1x8x8, but channels come last: .*transpose"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one"),
        ({"images": np.array([{}], dtype=object), "labels": LABELS}, "not a readable .npz"),
        ({"images": IMAGES, "labels": np.array([{}] * 12, dtype=object)}, "not a readable .npz"),
    ],
)
def test_npz_with_wrong_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    write(tmp_path / "train.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        npz(tmp_path).read("train")
    assert "train.npz" in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_test_images_are_checked_against_a_train_set_that_is_not_read(tmp_path: Path, save: Any) -> None:
    """Of train its labels and its images' shape are needed: one is read, the other stands in the header."""
    save(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    write(tmp_path / "test.npz", images=IMAGES[:4], labels=LABELS[:4])
    whole = npz(tmp_path).read("train")
    with unittest.mock.patch.object(Npz, "read", autospec=True, side_effect=Npz.read) as read:
        source = npz(tmp_path)
        assert source.classes == 1 + whole.labels.max()
        assert source.read("test").images.shape[1:] == whole.images.shape[1:]
        assert [call.args[1] for call in read.call_args_list] == ["test"]


@pytest.mark.parametrize("split", ["train", "test"])
def test_npz_missing(tmp_path: Path, split: Any) -> None:
    for call in (npz(tmp_path).read, npz(tmp_path).identity):
        with pytest.raises(UserError, match=f"{split}.npz: no such file"):
            call(split)


def test_npz_that_is_something_else(tmp_path: Path) -> None:
    """A folder, nothing, a text, a pickle, a single array: each is the user's to mend, none is a traceback."""
    path = tmp_path / "train.npz"
    path.mkdir()
    with pytest.raises(UserError, match=r"train\.npz"):
        npz(tmp_path).read("train")
    with pytest.raises(UserError, match=r"train\.npz"):
        npz(tmp_path).identity("train")
    path.rmdir()
    single = tmp_path / "single.npy"
    np.save(single, IMAGES)
    for content in (b"", b"images", b"PK\x03\x04", b"\x80\x04N.", single.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable"):
            npz(tmp_path).read("train")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_damaged(tmp_path: Path, save: Any) -> None:
    """Cut anywhere or with any byte changed: an error of the user's, or the images as they were."""
    path = tmp_path / "train.npz"
    save(path, images=IMAGES[:3, :2, :2, :1], labels=LABELS[:3])
    whole, source = path.read_bytes(), npz(tmp_path)
    refused = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x5A
        for damaged in (bytes(flipped), whole[:position])[: 1 + (position % 9 == 0)]:
            path.write_bytes(damaged)
            try:
                read = source.read("train")
            except UserError:
                refused += 1
            else:
                np.testing.assert_array_equal(read.images, IMAGES[:3, :2, :2, :1])
                np.testing.assert_array_equal(read.labels, LABELS[:3])
    assert refused > len(whole) / 2


def test_digits() -> None:
    source = Digits(validation=400)
    splits = [source.load(split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [900, 400, 497]
    assert all(split.images.shape[1:] == (8, 8, 1) for split in splits)
    assert {0, 255} <= set(np.unique(splits[0].images).tolist())
    assert source.classes == 10
    assert all((np.bincount(split.labels, minlength=10) > 0).all() for split in splits)


def test_digits_are_those_of_scikit_learn() -> None:
    """Every image once, in one of the splits, as scikit-learn's own loader has it."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    source = Digits(validation=400)
    own = [source.load(split) for split in ("train", "validation", "test")]
    rows = np.concatenate([np.c_[split.images.reshape(-1, 64) / (255 / 16), split.labels] for split in own])
    theirs = np.c_[images, labels]
    order, expected = np.lexsort(rows.round().T), np.lexsort(theirs.T)
    np.testing.assert_array_equal(rows.round()[order], theirs[expected])


def test_digits_are_read_without_importing_scikit_learn() -> None:
    code = "import sys; from robustray.data import Digits; Digits().load('train'); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_digits_need_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        Digits().check()


def test_validation_does_not_change_test() -> None:
    a, b = Digits(validation=100).load("test"), Digits(validation=500).load("test")
    np.testing.assert_array_equal(a.images, b.images)


@given(st.integers(0, 2**31), st.integers(1, 4))
def test_crop_is_a_window_of_the_padded_image(seed: int, padding: int) -> None:
    stream = generator(seed)
    x = torch.rand(3, 2, 5, 4, generator=stream) + 0.01
    padded = F.pad(x, (padding,) * 4)
    for image, out in zip(padded, Crop(padding=padding)(x, stream), strict=True):
        places = [image[:, r : r + 5, c : c + 4] for r in range(2 * padding + 1) for c in range(2 * padding + 1)]
        assert any(torch.equal(out, place) for place in places)


def test_crop_reaches_every_place_alike() -> None:
    x = torch.rand(1, 1, 5, 4, generator=generator()).add(0.01).expand(4500, -1, -1, -1)
    counts = Counter(image.numpy().tobytes() for image in Crop(padding=1)(x, generator(1)))
    assert len(counts) == 9
    assert all(350 < count < 650 for count in counts.values())  # 500 each, seven standard deviations


def test_flip_mirrors_half() -> None:
    x = torch.rand(1, 2, 5, 4, generator=generator()).expand(2000, -1, -1, -1)
    flipped = Flip()(x, generator(1))
    mirrored = (flipped == x.flip(-1)).flatten(1).all(1)
    assert ((flipped == x).flatten(1).all(1) ^ mirrored).all()
    assert 850 < mirrored.sum() < 1150
