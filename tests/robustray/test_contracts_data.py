"""What every data source and every augmentation promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from robustray.data import Augmentation, DataSource, Images, base
from robustray.data._device import DeviceImages
from robustray.errors import UserError
from robustray.trial import Judge
from tests.robustray.made import every, generator, variants


def npz_files(folder: Path) -> dict[str, Any]:
    """Small colour images, no two alike, in which classes are uneven."""
    stream = np.random.default_rng(0)
    for name, count in (("train", 203), ("test", 57)):
        images = stream.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
        labels = np.minimum(stream.integers(0, 6, count), 3)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    return {"train": str(folder / "train.npz"), "test": str(folder / "test.npz"), "validation": 50}


FILES: dict[str, Callable[[Path], dict[str, Any]]] = {"npz": npz_files}
"""Sources that need files, and how to make them; any other source is made from its defaults."""
Make = Callable[..., DataSource]


@pytest.fixture(autouse=True)
def _no_cache() -> Iterator[None]:
    """What was read before must not hide a read."""
    base._load.cache_clear()
    yield
    base._load.cache_clear()


@pytest.fixture
def make(tmp_path: Path) -> Callable[[type[DataSource]], Make]:
    def factory(cls: type[DataSource]) -> Make:
        name = cls.model_fields["name"].default
        options = FILES[name](tmp_path) if name in FILES else {}
        return lambda **more: cls(**(options | more))

    return factory


def rows(split: Images) -> set[bytes]:
    return {image.tobytes() for image in split.images}


@every("data")
def test_splits(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    """uint8 [N, H, W, C] and int64 [N]; validation is cut from train, exactly, and test is neither."""
    source = make(cls)()
    splits = {name: source.load(name) for name in ("train", "validation", "test")}
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
    cut = [(image.tobytes(), int(label)) for name in ("train", "validation")
           for image, label in zip(splits[name].images, splits[name].labels, strict=True)]  # fmt: skip
    assert sorted(cut) == pool  # every image once, with its own label
    assert not rows(splits["validation"]) & rows(splits["train"])
    assert not rows(splits["test"]) & (rows(splits["train"]) | rows(splits["validation"]))


@every("data")
def test_validation_is_stratified(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    source = make(cls)()
    whole, held_out = source.read("train").labels, source.load("validation").labels
    ideal = np.bincount(whole, minlength=source.classes) * (len(held_out) / len(whole))
    assert np.abs(np.bincount(held_out, minlength=source.classes) - ideal).max() < 1


@every("data")
def test_splits_never_change(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    """Read again, after anything was drawn, they are the same; and a seed is nothing they could depend on."""
    source = make(cls)()
    first = {name: source.load(name).images.tobytes() for name in ("train", "validation", "test")}
    base._load.cache_clear()
    np.random.seed(7)  # noqa: NPY002  # the world's generator must not matter
    torch.manual_seed(7)
    again = {name: source.load(name).images.tobytes() for name in ("train", "validation", "test")}
    assert first == again
    assert "seed" not in cls.model_fields


@every("data")
def test_only_test_opens_test(
    cls: type[DataSource], make: Callable[[type[DataSource]], Make], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    read = cls.read

    def spy(self: DataSource, split: Literal["train", "test"]) -> Images:
        opened.append(split)
        return read(self, split)

    monkeypatch.setattr(cls, "read", spy)
    source = make(cls)()
    source.load("train")
    source.load("validation")
    source.statistics()
    _ = source.classes
    Judge.model_validate({"data": source, "threat": {"eps": 0.1}}).lists()
    assert set(opened) == {"train"}
    source.load("test")
    assert opened.count("test") == 1


@every("data")
def test_identity_tells_splits_apart(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    source, other = make(cls)(), make(cls)(validation=41)
    names = [source.identity(split) for split in ("train", "validation", "test")]
    assert len(set(names)) == 3
    assert names == [source.identity(split) for split in ("train", "validation", "test")]
    assert other.identity("validation") != source.identity("validation")


@every("data")
def test_more_validation_than_there_is(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    count = len(make(cls)().read("train")) + 1
    with pytest.raises((UserError, ValueError), match="validation"):
        make(cls)(validation=count).load("validation")


@every("data")
def test_on_the_device(cls: type[DataSource], make: Callable[[type[DataSource]], Make]) -> None:
    """Bytes k become k / 255, channels first, whichever way rows are asked for."""
    split = make(cls)().load("validation")
    there = DeviceImages(split, torch.device("cpu"))
    assert len(there) == len(split)
    wanted = np.array([3, 0, 3], dtype=np.int64)
    x, y = there.batch(wanted)
    assert x.dtype == torch.float32
    expected = split.images[wanted].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(x.numpy(), expected)
    np.testing.assert_array_equal(y.numpy(), split.labels[wanted])
    assert torch.equal(there.batch(torch.from_numpy(wanted))[0], x)
    assert torch.equal(there.batch(slice(3, 4))[0], x[:1])


def test_images_are_checked() -> None:
    good, labels = np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int64)
    Images(good, labels)
    wrong_pairs: list[Any] = [(good.astype(np.float32), labels), (good[..., 0], labels), (good, labels[:1])]
    for images, wrong in wrong_pairs:
        with pytest.raises(ValueError, match="need uint8"):
            Images(images, wrong)


def coloured(n: int) -> torch.Tensor:
    """Images of which every pixel is different and none is black."""
    return (torch.arange(n * 2 * 6 * 5).reshape(n, 2, 6, 5) % 997 + 1).float() / 1000


@variants("augmentation", "augmentation")
def test_augmented_images(augmentation: Augmentation) -> None:
    """Shape and range stay, the batch that came in stays, draws come from the given generator alone."""
    x = coloured(8)
    before, world = x.clone(), torch.get_rng_state()
    y = augmentation(x, generator(3))
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert y.min() >= 0
    assert y.max() <= 1
    assert not torch.equal(y, x)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(augmentation(x, generator(3)), y)


@variants("augmentation", "augmentation")
def test_drawn_per_image(augmentation: Augmentation) -> None:
    """A batch of one image comes out as more than one, and every draw happens."""
    x = coloured(1).expand(400, -1, -1, -1)
    stream = generator()
    kinds = {image.numpy().tobytes() for image in augmentation(x, stream)}
    assert len(kinds) > 1
    again = {image.numpy().tobytes() for image in augmentation(x, stream)}
    assert len(kinds & again) > len(kinds) / 2  # a small set of results, met again
