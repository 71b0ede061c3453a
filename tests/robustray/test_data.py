"""Single sources and augmentations: what is in them, and every mistake a user can make."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
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

from robustray.data import Crop, Digits, Flip, Npz, base, digits, mapped
from robustray.data.device import DeviceImages
from robustray.data.reading import content
from robustray.errors import UserError
from robustray.testing.data import SPLITS
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
        ({"images": IMAGES.astype(np.float32), "labels": LABELS}, r"must be uint8 .*; save round\(images\) as uint8$"),
        ({"images": IMAGES.astype(np.int64), "labels": LABELS}, "must be uint8 .*; save images as uint8$"),
        ({"images": IMAGES.astype(np.uint16) * 257, "labels": LABELS}, r"; save round\(images / 257\) as uint8$"),
        ({"images": IMAGES / 255, "labels": LABELS}, r"; save round\(255 \* images\) as uint8$"),
        ({"images": IMAGES / 127.5 - 1, "labels": LABELS}, r"; save round\(127\.5 \* \(images \+ 1\)\) as uint8$"),
        ({"images": IMAGES > 127, "labels": LABELS}, r"; save round\(255 \* images\) as uint8$"),
        ({"images": IMAGES - 300.0, "labels": LABELS}, r"must be uint8 [^;]*$"),
        ({"images": IMAGES.reshape(12, -1), "labels": LABELS}, "must be uint8"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS[:, None]}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS.astype(np.float64)}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS > 0}, "12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS - 1}, "0 or more"),
        ({"images": np.zeros((12, 3, 8, 8), np.uint8), "labels": LABELS}, "3x8x8, but channels come last: .*transpose"),
        ({"images": np.zeros((12, 1, 8, 8), np.uint8), "labels": LABELS}, "1x8x8, but channels come last: .*transpose"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "at least one"),
        (
            {"images": np.array([{}], dtype=object), "labels": LABELS},
            "not a readable .npz file .*holds objects, not numbers",
        ),
        ({"images": IMAGES, "labels": np.array([{}] * 12, dtype=object)}, "not a readable .npz file .*holds objects"),
    ],
)
def test_npz_with_wrong_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    write(tmp_path / "train.npz", **arrays)
    with pytest.raises(UserError, match=message) as caught:
        npz(tmp_path).read("train")
    assert "train.npz" in str(caught.value)
    assert "pickle" not in str(caught.value), "no advice to run what a file of others names"


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


def test_a_file_rewritten_at_once_in_place_is_read_anew(tmp_path: Path) -> None:
    """As long as before, in the same inode, and within the same tick of the file system's clock."""
    source = npz(tmp_path, validation=3)
    write(tmp_path / "test.npz", images=IMAGES, labels=LABELS)
    for number in range(20):
        write(tmp_path / "train.npz", images=np.full_like(IMAGES, number), labels=LABELS)
        assert {*source.load("train").images.ravel().tolist()} == {number}
        write(tmp_path / "test.npz", images=np.full_like(IMAGES, 100 + number), labels=LABELS)
        assert source.load("test").images[0, 0, 0, 0] == 100 + number


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_large_file_is_mapped_and_a_split_is_rows_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any
) -> None:
    """The same images as from memory, in the same batches, and no file is changed by what is written to them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (60, 9, 7, 3), dtype=np.uint8), np.arange(60) % 4
    for name in ("train", "test"):
        save(tmp_path / f"{name}.npz", images=images, labels=labels)
    small = npz(tmp_path, validation=20, images=50)
    kept = {split: small.load(split) for split in SPLITS}
    moments = small.statistics()
    base._load.cache_clear()
    base._counts.cache_clear()
    monkeypatch.setattr(mapped.npz, "__kwdefaults__", {"small": 100, "sound": True})
    for split in SPLITS:
        there = small.load(split)
        assert there.mapped
        assert not kept[split].mapped
        np.testing.assert_array_equal(there.images, kept[split].images)
        np.testing.assert_array_equal(there.labels, kept[split].labels)
        assert there.shape == kept[split].shape == (9, 7, 3)
        assert content(there) == content(kept[split])
        rows = draw.permutation(len(there))[:7]
        ours, theirs = (DeviceImages(each, torch.device("cpu")) for each in (there, kept[split]))
        for asked in (rows, torch.from_numpy(rows), slice(2, 5), slice(None)):
            (x, y), (x2, y2) = ours.batch(asked), theirs.batch(asked)
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)
            assert x.is_contiguous()
            assert x.stride() == x2.stride()
        some = there.take(rows).take(np.array([3, 1]))
        np.testing.assert_array_equal(some.images, kept[split].images[rows[[3, 1]]])
    assert small.statistics() == moments
    small.load("train").stored[...] = 0
    base._load.cache_clear()
    np.testing.assert_array_equal(small.load("train").images, kept["train"].images)


def test_a_large_file_that_was_damaged_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map has no checksum: the file is seen whole once before."""
    monkeypatch.setattr(mapped.npz, "__kwdefaults__", {"small": 100, "sound": True})
    path = tmp_path / "train.npz"
    write(path, images=IMAGES, labels=LABELS)
    whole = bytearray(path.read_bytes())
    place = whole.index(IMAGES.tobytes()[:40]) + 50
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(UserError, match=r"train\.npz: not a readable \.npz file"):
        npz(tmp_path).read("train")


@pytest.mark.parametrize("save", ["savez", "savez_compressed"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, save: str) -> None:
    """120 MiB of images: a judge asks for the shape and the classes of train, a training for a batch of them."""
    script = f"""
        import resource, sys
        import numpy as np
        from robustray.data import Npz
        labels = np.arange(40_000) % 10
        images = np.zeros((40_000, 32, 32, 3), np.uint8)
        images[..., 0] = labels[:, None, None]
        np.{save}("train.npz", images=images, labels=labels)
        np.savez("test.npz", images=images[:100], labels=labels[:100])
    """
    run(script, tmp_path)
    script = """
        import resource
        import numpy as np
        import torch
        from robustray.data import Npz
        from robustray.data.device import DeviceImages
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        source = Npz(train="train.npz", test="test.npz")
        begun = peak()
        assert len(source.load("test")) == 100 and source.classes == 10
        judged = peak()
        train = DeviceImages(source.load("train"), torch.device("cpu"))
        x, y = train.batch(np.arange(0, len(train), 1000))
        assert (x[:, 0, 0, 0] * 255 == y).all() and len(train) == 39_000
        print(judged - begun, peak() - judged)
    """
    judged, trained = map(float, run(script, tmp_path).split())
    assert judged < 20, "of train a header and labels are read"
    assert trained < 60, "and a few images of the map, where all of them are 117"


def run(script: str, folder: Path) -> str:
    place = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": str(Path(base.__file__).parents[2])}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(command, cwd=folder, env=place, capture_output=True, text=True, check=True).stdout


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
    for wrong in (b"", b"images", b"PK\x03\x04", b"\x80\x04N.", single.read_bytes()):
        path.write_bytes(wrong)
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
