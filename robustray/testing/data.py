"""What every data source promises."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from robustray.data.base import DataSource, Split
from robustray.data.device import DeviceImages
from robustray.data.images import Images
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.testing.options import remade
from robustray.testing.suite import contract, raises

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def rows(split: Images) -> set[bytes]:
    """The images, as they can be compared."""
    return {image.tobytes() for image in split.images}


def anew(source: DataSource) -> tuple[DataSource, list[str]]:
    """The same source as nobody has read it before, so that nothing of it is kept; and what is read of it from now on."""
    opened: list[str] = []
    cls: Any = type(source)

    class Watched(cls):  # type: ignore[misc]
        def read(self, split: Literal["train", "test"]) -> Images:
            opened.append(split)
            read: Images = super().read(split)
            return read

    made = Watched.model_validate(source.model_dump(mode="json"))
    assert isinstance(made, DataSource)
    return made, opened


@contract("data", default=True)
def splits_are_parts_of_what_is_read(source: DataSource) -> None:
    """uint8 [N, H, W, C] and int64 [N]; validation is cut from train, exactly, and test is neither."""
    splits = {name: source.load(name) for name in SPLITS}
    for split in splits.values():
        assert split.images.dtype == np.uint8
        assert split.images.ndim == 4
        assert split.images.shape[1:] == splits["train"].images.shape[1:]
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split.images),)
        assert split.labels.min() >= 0
        assert split.labels.max() < source.classes
    whole = source.read("train")
    assert len(splits["validation"]) == source.validation
    assert len(splits["train"]) + len(splits["validation"]) == len(whole)
    pool = sorted((image.tobytes(), int(label)) for image, label in zip(whole.images, whole.labels, strict=True))
    cut = [(image.tobytes(), int(label)) for name in SPLITS[:2]
           for image, label in zip(splits[name].images, splits[name].labels, strict=True)]  # fmt: skip
    assert sorted(cut) == pool, "every image once, with its own label"
    assert not rows(splits["validation"]) & rows(splits["train"]), "images are in train and in validation"
    assert not rows(splits["test"]) & (rows(splits["train"]) | rows(splits["validation"])), (
        "test images are elsewhere too"
    )


@contract("data", default=True)
def validation_is_stratified(source: DataSource) -> None:
    """Of each class as many as its share, to less than one image."""
    whole, held_out = source.read("train").labels, source.load("validation").labels
    ideal = np.bincount(whole, minlength=source.classes) * (len(held_out) / len(whole))
    assert np.abs(np.bincount(held_out, minlength=source.classes) - ideal).max() < 1


@contract("data", default=True)
def splits_never_change(source: DataSource) -> None:
    """Read again, after anything was drawn, they are the same; and a seed is nothing they could depend on."""
    first = {name: source.load(name).images.tobytes() for name in SPLITS}
    world: Any = np.random.get_state()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002  # the world's generator must not matter
    torch.manual_seed(7)
    again, opened = anew(source)
    second = {name: again.load(name).images.tobytes() for name in SPLITS}
    np.random.set_state(world)  # noqa: NPY002
    assert opened
    assert first == second
    assert "seed" not in type(source).model_fields


@contract("data", default=True)
def only_test_opens_test(source: DataSource) -> None:
    """Whatever else is asked of a source reads its training images alone."""
    again, opened = anew(source)
    again.load("train")
    again.load("validation")
    again.statistics()
    _ = again.classes
    Judge.model_validate({"data": again, "threat": {"eps": 0.1}}).lists()
    assert set(opened) == {"train"}
    again.load("test")
    assert opened.count("test") == 1


@contract("data", default=True)
def images_of_test_are_counted_without_it_being_opened(source: DataSource) -> None:
    """Where a source tells how many there are, it is right, or says what was published."""
    again, opened = anew(source)
    count = again.test_images()
    assert not opened
    assert count in (None, getattr(source, "published", None), len(again.load("test")))


@contract("data", default=True)
def identity_tells_splits_apart(source: DataSource) -> None:
    """And a validation set from one of another size."""
    other = remade(source, validation=source.validation - 1)
    assert isinstance(other, DataSource)
    names = [source.identity(split) for split in SPLITS]
    assert len(set(names)) == 3
    assert names == [source.identity(split) for split in SPLITS]
    assert other.identity("validation") != source.identity("validation")


@contract("data", default=True)
def more_validation_than_there_is(source: DataSource) -> None:
    """Holding out more images than there are is an error that names `validation`."""
    count = len(source.read("train")) + 1
    with raises(UserError, ValueError, saying="validation"):
        other = remade(source, validation=count)
        assert isinstance(other, DataSource)
        other.load("validation")


@contract("data", default=True)
def bytes_become_pixels_on_the_device(source: DataSource) -> None:
    """Bytes k become k / 255, channels first, whichever way rows are asked for."""
    split = source.load("validation")
    there = DeviceImages(split, torch.device("cpu"))
    assert len(there) == len(split)
    wanted: NDArray[np.int64] = np.array([3, 0, 3], dtype=np.int64)
    x, y = there.batch(wanted)
    assert x.dtype == torch.float32
    expected = split.images[wanted].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(y.numpy(), split.labels[wanted])
    assert torch.equal(there.batch(torch.from_numpy(wanted))[0], x)
    assert torch.equal(there.batch(slice(3, 4))[0], x[:1])


@contract("data", default=True)
def images_can_be_written_to(source: DataSource) -> None:
    """torch warns of arrays that cannot, and what is written must reach no file."""
    for split in ("train", "test"):
        read = source.read(split)
        before = read.images.copy()
        read.images[...] = 255 - read.images
        np.testing.assert_array_equal(source.read(split).images, before)


@contract("data", default=True)
def statistics_are_those_of_the_training_pixels(source: DataSource) -> None:
    """Mean and standard deviation per channel, of pixels in [0, 1], of the images that are not held out."""
    train = source.load("train").images
    pixels = train.astype(np.float64).reshape(-1, train.shape[-1]) / 255
    mean, std = source.statistics()
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-12)
