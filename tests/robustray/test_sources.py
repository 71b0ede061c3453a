"""Published data sets in their own formats: where files may lie, what is refused, and what the arrays must be."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pickle
import pwd
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Resize  # type: ignore[import-untyped]

from robustray.commands.data import checks
from robustray.data import (
    Cifar10,
    Cifar100,
    DataSource,
    FashionMnist,
    ImageFolder,
    Mnist,
    RestrictedImageNet,
    Svhn,
    TinyImageNet,
)
from robustray.data.idx import read_idx
from robustray.data.pixels import histogram, moments
from robustray.data.places import cache
from robustray.data.plain_pickle import read_pickle
from robustray.data.preparation import Preparation
from robustray.data.reading import content, readable
from robustray.data.restricted_imagenet import GROUPS
from robustray.errors import UserError
from tests.robustray.made import made_folder
from tests.robustray.made_folders import (
    TEST,
    TRAIN,
    USED,
    Pixels,
    both,
    cifar10_batch,
    drawn,
    idx,
    planes,
    python2_pickle,
    write_images,
)

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
pytestmark = pytest.mark.usefixtures("alone")


def refused(source: DataSource, said: str, split: Any = "train") -> None:
    """Reading ends in one line that says so."""
    with pytest.raises(UserError, match=said) as caught:
        source.read(split)
    assert "\n" not in str(caught.value)


def test_a_path_that_no_file_can_have() -> None:
    refused(Mnist(path="x" * 300), "mnist: not found, looked in .*/x{300}; ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_looked_into(tmp_path: Path) -> None:
    made_folder(Mnist, tmp_path / "closed")
    (tmp_path / "closed").chmod(0)
    refused(Mnist(path=str(tmp_path / "closed")), "closed: cannot be read")
    (tmp_path / "closed").chmod(0o755)


# ---- pixels


@given(arrays_of.arrays(np.uint8, st.tuples(*[st.integers(1, 5)] * 3, st.integers(1, 3))))
def test_moments_are_exact(images: Pixels) -> None:
    counts = histogram(images)
    assert counts.sum(axis=1).tolist() == [images[..., 0].size] * images.shape[-1]
    mean, std = moments(counts)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(std, (images / 255).std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-9)


def test_moments_of_more_pixels_than_int64_can_square() -> None:
    """n = 2^40 pixels, half of them 0 and half 255: mean and std are 1/2."""
    counts = np.zeros((1, 256), np.int64)
    counts[0, [0, 255]] = 2**39
    assert moments(counts) == ([0.5], [0.5])


# ---- MNIST


@given(arrays_of.arrays(np.uint8, arrays_of.array_shapes(min_dims=1, max_dims=3, max_side=5)), st.booleans())
def test_idx_round_trip(tmp_path_factory: pytest.TempPathFactory, array: Pixels, packed: bool) -> None:
    path = tmp_path_factory.getbasetemp() / ("array.gz" if packed else "array")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = read_idx(path, array.ndim)
    np.testing.assert_array_equal(read, array)
    with pytest.raises(UserError, match="not an IDX file"):
        read_idx(path, array.ndim + 1)


@pytest.mark.parametrize("inside", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist_where_people_have_it(tmp_path: Path, inside: str, packed: bool) -> None:
    images, labels = drawn(20, (28, 28), 10, 0)
    folder = tmp_path / inside
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels.astype(np.uint8))):
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    read = Mnist(path=str(tmp_path)).read("train")
    np.testing.assert_array_equal(read.images, images[..., None])
    np.testing.assert_array_equal(read.labels, labels)
    refused(Mnist(path=str(tmp_path)), f"{folder.resolve()}/t10k-images-idx3-ubyte: no such file", "test")


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (idx(np.zeros((5, 32, 32), np.uint8)), idx(np.zeros(5, np.uint8)), "images-idx3.*must be 28x28x1, not 32x32x1"),
        (
            idx(np.zeros((5, 28, 28), np.uint8)),
            idx(np.zeros(4, np.uint8)),
            "labels-idx1.*labels must be 5 whole numbers",
        ),
        (idx(np.zeros((5, 28, 28), np.uint8)), idx(np.full(5, 10, np.uint8)), "labels-idx1.*0 to 9, but there is 10"),
        (idx(np.zeros((0, 28, 28), np.uint8)), idx(np.zeros(0, np.uint8)), "at least one"),
        (
            idx(np.zeros((5, 28, 28), np.uint8))[:-1],
            idx(np.zeros(5, np.uint8)),
            "3919 bytes where its header says 3920",
        ),
        (idx(np.zeros((5, 28, 28), np.uint8)) + b"x", idx(np.zeros(5, np.uint8)), "3921 bytes where its header says"),
        (idx(np.zeros(5, np.uint8)), idx(np.zeros(5, np.uint8)), "images-idx3.*not an IDX file of bytes in 3"),
        (b"\0\0\x0d\3" + bytes(12), idx(np.zeros(5, np.uint8)), "not an IDX file"),  # floats
        (b"\0\0\x08\3\xff\xff\xff\xff" + b"\xff" * 8, idx(np.zeros(5, np.uint8)), "its header says 79228162458924"),
        (b"<html>Not found</html>", idx(np.zeros(5, np.uint8)), "begins with b'<htm'"),
        (b"", idx(np.zeros(5, np.uint8)), "not an IDX file"),
    ],
)
def test_mnist_that_is_broken(tmp_path: Path, images: bytes, labels: bytes, said: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    refused(Mnist(path=str(tmp_path)), said)


def test_mnist_packed_and_broken(tmp_path: Path) -> None:
    """A download that stopped, a page of a server's error, a byte changed on the way: gzip's own checksum finds it."""
    made_folder(Mnist, tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for broken in (whole[:-1], b"<html>", bytes(flipped)):
        path.write_bytes(broken)
        refused(Mnist(path=str(tmp_path)), "train-images-idx3-ubyte.gz: not a readable IDX file")


def test_the_two_of_that_form_are_told_apart_by_their_names(tmp_path: Path) -> None:
    made_folder(Mnist, tmp_path)
    mnist, fashion = Mnist(path=str(tmp_path)), FashionMnist(path=str(tmp_path))
    assert mnist.identity("train") != fashion.identity("train")


# ---- CIFAR


@pytest.mark.parametrize("protocol", [None, 2, 3, 4, 5])
def test_cifar_layout(tmp_path: Path, protocol: int | None) -> None:
    """Pixel (r, c) of channel k is byte 1024 k + 32 r + c, whichever Python wrote the pickle."""
    rows, labels = drawn(6, (3072,), 10, 0)
    for number in range(1, 6):
        batch = {b"labels": labels.tolist(), b"data": rows}
        whole = python2_pickle(batch) if protocol is None else pickle.dumps(batch, protocol=protocol)
        (tmp_path / f"data_batch_{number}").write_bytes(whole)
    read = Cifar10(path=str(tmp_path)).read("train")
    assert len(read) == 30
    for n, k, r, c in np.ndindex(6, 3, 32, 32):
        if (n + k + r + c) % 7 == 0:
            assert read.images[n, r, c, k] == rows[n, 1024 * k + 32 * r + c]
    np.testing.assert_array_equal(read.labels, np.tile(labels, 5))


def test_cifar_where_people_have_it(tmp_path: Path) -> None:
    """The folder, the folder inside, the archive in the folder, the archive itself: the same images."""
    made_folder(Cifar10, tmp_path / "a")
    with tarfile.open(tmp_path / "any name.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(tmp_path / "a" / "cifar-10-batches-py", "./cifar-10-batches-py")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cifar-10-python.tar.gz").write_bytes((tmp_path / "any name.tar.gz").read_bytes())
    places = ["a", "a/cifar-10-batches-py", "b", "any name.tar.gz"]
    sources = [Cifar10(path=str(tmp_path / place)) for place in places]
    for source in sources:
        source.check()
    for split in ("train", "test"):
        assert len({source.identity(split) for source in sources}) == 1
    first, last = sources[0].read("train"), sources[-1].read("train")
    np.testing.assert_array_equal(first.images, both((32, 32, 3), 10, 0)["train"][0])
    np.testing.assert_array_equal(first.images, last.images)
    np.testing.assert_array_equal(first.labels, last.labels)


def test_cifar_archive_that_lacks_a_batch_or_is_damaged(tmp_path: Path) -> None:
    made_folder(Cifar100, tmp_path)
    path = tmp_path / "cifar-100-python.tar.gz"
    source = Cifar100(path=str(tmp_path))
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-1], whole[:-8] + bytes(8), b"<html>"):
        path.write_bytes(broken)
        refused(source, "cifar-100-python.tar.gz: not a readable tar archive")
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar-100-python/test"))
        link = tarfile.TarInfo("cifar-100-python/train")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    refused(source, "cifar-100-python.tar.gz")


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({b"labels": [1, 2]}, "no array 'data'"),
        ({b"data": np.zeros((2, 3072), np.uint8)}, "no array 'labels'"),
        ({b"data": np.zeros((2, 1024), np.uint8), b"labels": [1, 2]}, r"3072 bytes each, not uint8 \(2, 1024\)"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "labels must be 2 whole numbers"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 10]}, "0 to 9, but there is 10"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, -1]}, "0 or more"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 0.5]}, "whole numbers, not float64"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2**70]}, "whole numbers, not object"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, [2]]}, "not a readable CIFAR batch"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [1, 2]}, "not a readable CIFAR batch.*'f4'"),
        ({b"data": [[0] * 3072] * 2, b"labels": [1, 2]}, "uint8.*not int64"),
        ([1, 2], "holds list, not a dict"),
    ],
)
def test_cifar_batch_that_is_broken(tmp_path: Path, batch: Any, said: str) -> None:
    good = python2_pickle(cifar10_batch(*drawn(2, (32, 32, 3), 10, 0)))
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}").write_bytes(good if number != 3 else pickle.dumps(batch, protocol=2))
    refused(Cifar10(path=str(tmp_path)), f"data_batch_3: .*{said}")


class Calls:
    """What a pickle of this object calls when it is read."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def harm() -> list[tuple[str, bytes]]:
    """Pickles that would write a file named `harm` here, were they believed."""
    batch = {b"labels": [1], b"data": np.zeros((1, 3072), np.uint8)}
    objects: dict[str, Any] = {
        "system": Calls(os.system, "touch harm"),
        "exec": Calls(exec, "open('harm', 'w')"),
        "open": Calls(open, "harm", "w"),
        "numpy's savetxt": Calls(np.savetxt, "harm", [1]),
        "getattr": Calls(getattr, batch, "clear"),
        "tofile by its dotted name": Calls(np.ndarray.tofile, np.zeros(3), "harm"),
        "a pickle in an array": np.array([Calls(os.system, "touch harm")], dtype=object),
    }
    found = [
        (f"{name}, protocol {protocol}", pickle.dumps(batch | {b"data": value}, protocol=protocol))
        for name, value in objects.items()
        for protocol in (2, 4)
    ]
    return [
        *found,
        ("a global by opcodes", b"\x80\x02cposix\nsystem\nU\x0atouch harm\x85R."),
        ("a module's attribute", b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.mro.x\x93."),
        ("an instance", b"(S'touch harm'\nios\nsystem\n."),
        ("a persistent id", b"\x80\x02U\x04harmQ."),
        ("an extension code", b"\x80\x02\x82\x01."),
    ]


@pytest.mark.parametrize("whole", [pytest.param(whole, id=name) for name, whole in harm()])
def test_a_malicious_pickle_is_refused(tmp_path: Path, whole: bytes) -> None:
    for number in range(1, 6):
        (tmp_path / f"data_batch_{number}").write_bytes(whole)
    refused(Cifar10(path=str(tmp_path)), "data_batch_1: not a readable CIFAR batch")
    assert not (tmp_path / "harm").exists()


def test_the_pickles_of_that_test_are_harmful(tmp_path: Path) -> None:
    """Else their refusal would show nothing. Believed, they write the file."""
    name, whole = harm()[0]
    assert "system" in name
    code = f"import pickle; pickle.loads({whole!r})"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "harm").exists()


@given(arrays_of.arrays(np.uint8, arrays_of.array_shapes(min_dims=0, max_dims=3)), st.booleans(), st.integers(2, 5))
def test_plain_pickle_reads_arrays_of_bytes(array: Pixels, fortran: bool, protocol: int) -> None:
    others = [1, "text", b"bytes", None, 0.5]
    value = {"array": np.asarray(array, order="F" if fortran else "C"), b"others": others}
    read = read_pickle(pickle.dumps(value, protocol=protocol))
    np.testing.assert_array_equal(read["array"], array)
    assert read["array"].flags.writeable
    assert read["others"] == others


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_plain_pickle_reads_what_either_numpy_wrote(module: str) -> None:
    """Arrays of protocol 5, and labels that are numbers of numpy one by one; protocol 0 names modules in plain text."""
    ours = np.int64(0).__reduce__()[0].__module__.removesuffix(".multiarray")
    labels = pickle.dumps({"labels": [np.int64(3), np.uint8(7)]}, protocol=2)
    read = read_pickle(labels.replace(f"c{ours}.multiarray".encode(), f"c{module}.multiarray".encode()))
    assert read["labels"] == [3, 7]
    whole = f"}}(Vdata\nc{module}.numeric\n_frombuffer\n(".encode()
    whole += b"C\x06\x00\x01\x02\x03\x04\x05cnumpy\ndtype\n(Vu1\nI00\nI01\ntRK\x02K\x03\x86VC\ntRu."
    np.testing.assert_array_equal(read_pickle(whole)["data"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize("held", [np.float64(0.5), np.ones(2), np.array(["a"])])
def test_plain_pickle_refuses_what_is_no_whole_number(held: Any) -> None:
    for protocol in (2, 5):
        with pytest.raises(pickle.UnpicklingError, match="not of whole numbers"):
            read_pickle(pickle.dumps({"labels": held}, protocol=protocol))


TWO = python2_pickle({b"labels": [3, 7], b"data": np.arange(2 * 12, dtype=np.uint8).reshape(2, 12)})


@given(st.integers(0, len(TWO) - 1), st.integers(1, 255))
@example(TWO.index(b"("), ord("(") ^ ord("r"))  # a memo index of a thousand million: no memory may be taken for it
def test_plain_pickle_with_a_byte_changed(position: int, change: int) -> None:
    """A dict or an error, and it is named; cut anywhere, it is an error."""
    broken = bytearray(TWO)
    broken[position] ^= change
    with contextlib.suppress(UserError), readable("batch", "pickle"):
        assert isinstance(read_pickle(bytes(broken)), dict)
    with pytest.raises(UserError, match="batch: not a readable pickle"), readable("batch", "pickle"):
        read_pickle(TWO[:position])


# ---- SVHN


def test_svhn_layout(tmp_path: Path) -> None:
    """Image n is X[..., n], and the digit 0 is written as 10."""
    from scipy.io import savemat

    x, _ = drawn(32, (32, 3, 12), 10, 0)
    y = np.array([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1], np.uint8)[:, None]
    savemat(tmp_path / "train_32x32.mat", {"X": x, "y": y})
    read = Svhn(path=str(tmp_path)).read("train")
    np.testing.assert_array_equal(read.images[5], x[..., 5])
    np.testing.assert_array_equal(read.labels, y.ravel() % 10)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "no array 'y'"),
        ({"y": np.ones((2, 1), np.uint8)}, "no array 'X'"),
        ({"X": np.zeros((32, 32, 3), np.uint8), "y": np.ones((2, 1), np.uint8)}, r"X must be \[32, 32, 3, N\]"),
        ({"X": np.zeros((2, 32, 32, 3), np.uint8), "y": np.ones((2, 1), np.uint8)}, "must be 32x32x3, not 2x32x32"),
        ({"X": np.full((32, 32, 3, 2), 300.0), "y": np.ones((2, 1), np.uint8)}, "float64 .* from 300 to 300"),
        ({"X": np.full((32, 32, 3, 2), -1, np.int16), "y": np.ones((2, 1), np.uint8)}, "int16 .* from -1 to -1"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.full((2, 1), 11, np.uint8)}, "0 to 9, but there is 11"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1), np.uint8)}, "labels must be 2 whole numbers"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.full((2, 1), 0.5)}, "labels must be 2 whole numbers"),
    ],
)
def test_svhn_that_is_broken(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "train_32x32.mat", arrays)
    refused(Svhn(path=str(tmp_path)), f"train_32x32.mat: .*{said}")


@pytest.mark.parametrize(
    "whole", [b"", b"<html>", b"MATLAB 5.0 MAT-file" + bytes(200), b"\x89HDF\r\n\x1a\n" + bytes(600)]
)
def test_svhn_that_is_something_else(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(whole)
    refused(Svhn(path=str(tmp_path)), r"train_32x32\.mat: ")


# ---- folders of images


def test_image_folder(tmp_path: Path) -> None:
    """Classes in the order of their names, images in the order of theirs, whatever order they were written in."""
    images, _ = drawn(6, (5, 4, 3), 2, 0)
    names = ["b/2.png", "a/1.PNG", "b/10.png", "a/0.png", "ä/x.png", "b/1.png"]
    for name, image in zip(names, images, strict=True):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "train" / name)
    (tmp_path / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "a" / "notes.txt").write_text("no image")
    source = ImageFolder(path=str(tmp_path), validation=2)
    read = source.read("train")
    assert source.classes == 3
    np.testing.assert_array_equal(read.labels, [0, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(read.images, images[[3, 1, 5, 2, 0, 4]])


def test_files_of_every_kind_and_depth_are_read_and_hidden_ones_are_not(tmp_path: Path) -> None:
    """As torchvision's ImageFolder walks them; a link that leads nowhere is named."""
    images, labels = drawn(10, (6, 5, 3), 2, 0)
    kinds = ("png", "webp", "bmp", "tiff", "ppm")
    write_images(
        tmp_path / "train", images, labels, lambda row, label: f"{label}/{'deep/er/' * (row % 2)}{row}.{kinds[row % 5]}"
    )
    (tmp_path / "train" / "0" / "._0.png").write_bytes(b"of a Mac")
    (tmp_path / "train" / "0" / "around").symlink_to(tmp_path / "train" / "0")
    source = ImageFolder(path=str(tmp_path), validation=2)
    assert len(source.read("train")) == 10
    (tmp_path / "train" / "1" / "99.png").symlink_to("/nowhere/00.png")
    refused(source, "train/1/99.png: a link to /nowhere/00.png, which is not there")


def test_image_folder_takes_val_where_there_is_no_test(tmp_path: Path) -> None:
    images, labels = drawn(8, (5, 4, 3), 2, 0)
    for split in ("train", "val"):
        write_images(tmp_path / split, images, labels, lambda row, label: f"{label}/{row}.png")
    source = ImageFolder(path=str(tmp_path), validation=2)
    source.check()
    assert len(source.read("test")) == 8
    write_images(tmp_path / "test", images[:3], labels[:3], lambda row, label: f"{label}/{row}.png")
    assert len(source.read("test")) == 3


def test_a_class_that_test_lacks_keeps_its_number(tmp_path: Path) -> None:
    images, _ = drawn(3, (5, 4, 3), 3, 0)
    write_images(tmp_path / "train", images, np.arange(3), lambda row, label: f"{label}/{row}.png")
    write_images(tmp_path / "test", images[:1], np.array([2]), lambda row, label: f"{label}/{row}.png")
    assert ImageFolder(path=str(tmp_path)).read("test").labels.tolist() == [2]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(40, 60), (60, 41), (33, 33), (32, 50), (100, 32)])
def test_images_are_prepared_as_torchvision_does(tmp_path: Path, size: tuple[int, int], mode: str) -> None:
    pixels, _ = drawn(1, (size[1], size[0], 3), 2, 0)
    image = Image.fromarray(pixels[0]).convert(mode)
    path = tmp_path / ("image.jpg" if mode == "CMYK" else "image.png")
    image.save(path)
    for resize, crop in ((32, 32), (36, 32), (24, None), (None, 21), (None, None)):
        steps = ([] if resize is None else [Resize(resize)]) + ([] if crop is None else [CenterCrop(crop)])
        for channels, to in ((3, "RGB"), (1, "L")):
            with Image.open(path) as opened:
                expected = np.asarray(Compose(steps)(opened.convert(to)))
            read, _ = Preparation(resize, crop, channels)(str(path))
            assert read.dtype == np.uint8
            assert read.shape == (*expected.shape[:2], channels)
            np.testing.assert_array_equal(read, expected.reshape(read.shape))


def test_options_of_an_image_folder(tmp_path: Path) -> None:
    images, labels = drawn(8, (12, 10, 3), 2, 0)
    write_images(tmp_path / "train", images, labels, lambda row, label: f"{label}/{row}.png")
    common = {"path": str(tmp_path), "validation": 2}
    shapes = {
        (8, 12, 10, 3): ImageFolder(**common),
        (8, 12, 10, 1): ImageFolder(**common, channels=1),
        (8, 9, 9, 3): ImageFolder(**common, crop=9),
        (8, 6, 5, 3): ImageFolder(**common, resize=5),
        (8, 5, 5, 3): ImageFolder(**common, resize=5, crop=5),
    }
    for shape, source in shapes.items():
        assert source.read("train").images.shape == shape
    assert len({source.identity("train") for source in shapes.values()}) == len(shapes)


def sixteen_bits(path: Path) -> None:
    Image.fromarray(np.full((5, 4), 40000, np.uint16)).save(path)


def deep_png(kind: int, channels: int) -> bytes:
    """A PNG of 4x5 pixels with 16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 5, 16, kind, 0, 0, 0))
    pixels = zlib.compress((b"\0" + b"\x12\x34" * 4 * channels) * 5)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def deep_tiff() -> bytes:
    """A TIFF of 4x5 colour pixels with 16 bits a channel."""
    tags = ((256, 4), (257, 5), (258, 122), (259, 1), (262, 2), (273, 128), (277, 3), (278, 5), (279, 120))
    entries = [struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value) for tag, value in tags]
    front = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(entries) + struct.pack("<I", 0)
    assert len(front) == 122
    return front + struct.pack("<3H", 16, 16, 16) + b"\x34\x12" * 60


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("grey.png", deep_png(0, 1)),
        ("colour.png", deep_png(2, 3)),
        ("grey and alpha.png", deep_png(4, 2)),
        ("colour and alpha.png", deep_png(6, 4)),
        ("colour.tiff", deep_tiff()),
        ("grey.pgm", b"P5\n4 5\n65535\n" + bytes(40)),
        ("colour.ppm", b"P6\n4 5\n1023\n" + bytes(120)),
    ],
)
def test_sixteen_bits_are_refused_not_cut(tmp_path: Path, name: str, content: bytes) -> None:
    """Pillow opens most of them as RGB, and drops half of the bits without a word."""
    path = tmp_path / name
    path.write_bytes(content)
    with Image.open(path) as opened:
        assert opened.size == (4, 5)
    with pytest.raises(UserError, match=f"{name}: must have 8 bits a channel, not .*pixels / 257"):
        Preparation(None, None, 3)(str(path))


def test_few_bits_are_read(tmp_path: Path) -> None:
    """1, 4 and 5 bits a channel become 8, black and white stay 0 and 255."""
    grey = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    grey.convert("1").save(tmp_path / "one.png")
    grey.quantize(2).save(tmp_path / "four.png", bits=4)
    header = struct.pack("<2sIII", b"BM", 62, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0)
    (tmp_path / "five.bmp").write_bytes(header + struct.pack("<4H", 0x7FFF, 0, 0, 0x7FFF))  # from the bottom
    for path in tmp_path.iterdir():
        pixels, odd = Preparation(None, None, 1)(str(path))
        assert pixels[..., 0].tolist() == [[0, 255], [255, 0]], path
        assert not odd


def test_what_a_viewer_would_show_otherwise_is_said(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Marks of files are not followed, as torchvision does not: one line for each kind, with counts; so for files left out."""
    source = ImageFolder(path=str(pictures), validation=2)
    assert list(source.notes("train")) == []
    inside = pictures / "train" / "0"
    image = next(path for path in sorted(inside.iterdir()))
    with Image.open(image) as opened:
        plain = opened.convert("RGB")
    turned = Image.Exif()
    turned[0x0112] = 6
    for number in range(2):
        plain.save(inside / f"turned{number}.jpg", exif=turned, quality=95)
    clear = plain.convert("RGBA")
    clear.putpixel((0, 0), (1, 2, 3, 0))
    clear.save(inside / "clear.png")
    plain.convert("RGBA").save(inside / "opaque.png")
    plain.save(inside / "moves.webp", save_all=True, append_images=[plain.rotate(180)])
    (inside / "more").mkdir()
    for name in ("a.gif", "more/notes.txt", "more/b.gif", "z.mp4"):
        (inside / name).write_bytes(b"")
    plain.save(pictures / "train" / "stray.png")
    with caplog.at_level("INFO", "robustray"):
        lines = list(source.notes("train"))
    root = str(pictures / "train")
    assert lines[0].startswith(
        f"{root}: 4 files are left out, by the name no image (0/a.gif, 0/more/b.gif, 0/more/notes.txt ...)"
    )
    assert lines[1] == f"{root}: 1 file is left out, in the folder of no class (stray.png)"
    assert {*lines[:2]} <= {*caplog.messages}, "and in the log of decoding"
    assert sorted(lines[2:]) == [
        f"{root}: 1 image is of several frames, of which the first is taken",
        f"{root}: 1 image is transparent in places, which are read as what lies under them",
        f"{root}: 2 images are turned in a viewer, by an EXIF orientation, and not here",
    ]
    assert list(source.notes("train")) == lines, "once more, from the cache"
    write_images(pictures / "test", *drawn(4, (5, 4, 3), 2, 1), lambda row, label: f"{label}/{row}.png")
    said = list(checks(source))
    assert all(f"warning: {line}" in said for line in lines)


@pytest.mark.parametrize(
    ("break_it", "options", "said"),
    [
        (lambda root: (root / "train/a/0.png").write_bytes(b"no image"), {}, "train/a/0.png: not a readable image"),
        (lambda root: (root / "train/a/0.png").write_bytes(b""), {}, "train/a/0.png: not a readable image"),
        (lambda root: sixteen_bits(root / "train/a/0.png"), {}, "train/a/0.png: must have 8 bits a channel"),
        (lambda root: Image.new("RGB", (5, 5)).save(root / "train/b/9.png"), {},
         "train/b/9.png: is 5x5x3, but .*train/a/0.png is 5x4x3; set resize and crop"),
        (lambda root: None, {"crop": 5}, "train/a/0.png: is 5x4, too small to cut 5x5; set resize"),
        (lambda root: (root / "train/c").mkdir(), {}, "train/c: holds no image"),
        (lambda root: [(root / "train" / name).rename(root / name) for name in "ab"], {}, "train: holds no folders"),
    ],
)  # fmt: skip
def test_image_folder_that_is_broken(tmp_path: Path, break_it: Any, options: dict[str, Any], said: str) -> None:
    images, _ = drawn(4, (5, 4, 3), 2, 0)
    write_images(tmp_path / "train", images, np.array([0, 0, 1, 1]), lambda row, label: f"{'ab'[label]}/{row}.png")
    break_it(tmp_path)
    refused(ImageFolder(path=str(tmp_path), **options), said)
    assert not list((tmp_path / "cache").rglob("images.npy")), "nothing half made is left"


def test_a_class_of_test_must_be_one_of_train(tmp_path: Path) -> None:
    images, labels = drawn(8, (5, 4, 3), 2, 0)
    write_images(tmp_path / "train", images, labels, lambda row, label: f"class {label}/{row}.png")
    write_images(tmp_path / "test", images, labels, lambda row, label: f"klass {label}/{row}.png")
    refused(ImageFolder(path=str(tmp_path)), "klass 0: no such class in train; did you mean 'class 0'", "test")


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit on pixels, lowered so that a small file reaches it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    images, labels = drawn(8, (5, 5, 3), 2, 0)
    write_images(tmp_path / "train", images, labels, lambda row, label: f"{label}/{row}.png")
    refused(ImageFolder(path=str(tmp_path)), "not a readable image .*decompression bomb")


# ---- the cache of decoded images


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    images, labels = drawn(8, (5, 4, 3), 2, 0)
    write_images(tmp_path / "here" / "train", images, labels, lambda row, label: f"{label}/{row}.png")
    return tmp_path / "here"


def sets(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "robustray" / "decoded").iterdir())


def test_images_are_decoded_once(tmp_path: Path, pictures: Path) -> None:
    """Files that look the same are not opened again, in a folder of another name neither; a changed one is."""
    source = ImageFolder(path=str(pictures))
    first, before = source.read("train"), source.identity("train")
    file = next(pictures.rglob("0.png"))
    stat = file.stat()
    file.write_bytes(b"x" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    moved = pictures.rename(tmp_path / "there")
    again = ImageFolder(path=str(moved))
    np.testing.assert_array_equal(again.read("train").images, first.images)
    assert isinstance(again.read("train").images, np.memmap)
    assert again.identity("train") == before
    assert len(sets(tmp_path)) == 1

    Image.fromarray(255 - first.images[0]).save(moved / file.relative_to(pictures))
    assert again.identity("train") != before
    assert len(sets(tmp_path)) == 2


def test_a_decoded_set_that_was_damaged_is_named(tmp_path: Path, pictures: Path) -> None:
    source = ImageFolder(path=str(pictures))
    source.read("train")
    (folder,) = sets(tmp_path)
    whole = (folder / "images.npy").read_bytes()
    for name, broken in (("images.npy", whole[:-1]), ("images.npy", b""), ("labels.npy", b"")):
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(broken)
        refused(source, f"remove {folder} and it is made anew")
        (folder / name).write_bytes(kept)
    (folder / "about.json").write_text("{")
    with pytest.raises(UserError, match=f"remove {folder}"):
        source.identity("train")


def test_the_hash_in_the_cache_is_that_of_its_arrays(tmp_path: Path, pictures: Path) -> None:
    read = ImageFolder(path=str(pictures)).read("train")
    about = json.loads((sets(tmp_path)[0] / "about.json").read_text())
    assert about["content"] == content(read)
    assert about["images"] == 8


def test_several_may_decode_the_same_at_once(tmp_path: Path, pictures: Path) -> None:
    source = ImageFolder(path=str(pictures))
    with ThreadPoolExecutor(8) as pool:
        found = [read.images for read in pool.map(source.read, ["train"] * 8)]
    assert all((images == found[0]).all() for images in found)
    assert len(sets(tmp_path)) == 1, "and nothing half made is left"


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)  # a user of no name, as `docker run --user 12345` has
    with pytest.raises(RuntimeError, match="home"):
        Path.home()
    assert cache().is_relative_to(tempfile.gettempdir())


def test_a_cache_that_cannot_be_written(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    refused(ImageFolder(path=str(pictures)), "decoded images cannot be written .*XDG_CACHE_HOME")


# ---- ImageNet's children


def test_tiny_imagenet(tmp_path: Path) -> None:
    folder = made_folder(TinyImageNet, tmp_path / "tiny-imagenet-200")
    _, labels = both((64, 64, 3), 200, 0)["test"]
    for source in (TinyImageNet(**folder.options), TinyImageNet(path=str(tmp_path))):
        np.testing.assert_array_equal(source.read("test").labels, labels)
        assert np.bincount(source.read("train").labels, minlength=200).tolist() == [1] * 199 + [TRAIN - 199]
        assert source.read("test").images.shape == (TEST, 64, 64, 3)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("val_0.JPEG\tn99999999\t0\t0\t1\t1", "annotations.txt:2: must be a file name and a class"),
        ("val_0.JPEG n00000000", "annotations.txt:2: must be"),
        ("", "annotations.txt:2: must be"),
        ("val_999.JPEG\tn00000000\t0\t0\t1\t1", "annotations.txt:2: there is no .*val_999.JPEG"),
        ("../../train/n00000000/images/0.JPEG\tn00000000", "annotations.txt:2: there is no"),
    ],
)
def test_tiny_imagenet_with_a_wrong_annotation(tmp_path: Path, line: str, said: str) -> None:
    made_folder(TinyImageNet, tmp_path)
    path = tmp_path / "val" / "val_annotations.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]))
    refused(TinyImageNet(path=str(tmp_path)), said, "test")


def test_tiny_imagenet_of_another_size_or_number(tmp_path: Path) -> None:
    made_folder(TinyImageNet, tmp_path)
    (tmp_path / "train" / "n99999999").mkdir()
    refused(TinyImageNet(path=str(tmp_path)), "must hold 200 folders of classes, not 201")
    (tmp_path / "train" / "n99999999").rmdir()
    for path in (tmp_path / "train").rglob("*.JPEG"):
        Image.new("RGB", (32, 64)).save(path)
    refused(TinyImageNet(path=str(tmp_path)), "images must be 64x64x3, not 64x32x3")


@pytest.mark.parametrize("size", [64, 112])
def test_restricted_imagenet(tmp_path: Path, size: Any) -> None:
    """Each group holds what its range of ImageNet's classes holds; what lies outside of them is not opened."""
    made_folder(RestrictedImageNet, tmp_path)
    read = RestrictedImageNet(path=str(tmp_path), size=size).read("test")
    assert read.images.shape == (len(USED), size, size, 3)
    assert np.bincount(read.labels).tolist() == [118, 5, 3, 5, 21, 18, 9, 4, 20]
    assert sorted(number for a, b in GROUPS.values() for number in range(a, b + 1)) == sorted(USED)
    prepare = Preparation(size, size, 3)
    (cat,) = (tmp_path / "val" / "n00000283").iterdir()
    rows = [row for row, image in enumerate(read.images) if (image == prepare(str(cat))[0]).all()]
    assert read.labels[rows].tolist() == [list(GROUPS).index("cat")]


def test_restricted_imagenet_needs_all_thousand(tmp_path: Path) -> None:
    """With one class missing every later one would be taken for its neighbour."""
    made_folder(RestrictedImageNet, tmp_path)
    (tmp_path / "train" / "n00000999").rename(tmp_path / "train" / "person")
    refused(RestrictedImageNet(path=str(tmp_path)), "must hold the 1000 folders .* not 999", "test")


# ---- no torch, and the real thing


def test_sources_load_no_torch(tmp_path: Path) -> None:
    """Nor do they when they look for files, or read an archive of CIFAR."""
    made_folder(Cifar100, tmp_path)
    code = (
        "import sys, robustray.data\n"
        "from robustray.registry import parts\n"
        "parts('data')['cifar100'](path=sys.argv[1], validation=50).load('test')\n"
        "print(sorted(name for name in ('torch', 'torchvision', 'scipy', 'PIL') if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no real images at {path}")
    return path


def test_real_mnist() -> None:
    source = Mnist(path=str(shared("mnist")))
    assert [len(source.load(split)) for split in ("train", "validation", "test")] == [16435, 1000, 10000]
    assert np.bincount(source.load("test").labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    mean, std = source.statistics()
    assert abs(mean[0] - 0.1307) < 0.002  # of the 60,000, as everybody writes it
    assert abs(std[0] - 0.3081) < 0.002


def test_real_cifar10() -> None:
    source = Cifar10(path=str(shared("cifar10_exact")))
    train, test = source.read("train"), source.read("test")
    assert np.bincount(train.labels).tolist() == [517, 524, 490, 493, 537, 475, 503, 516, 529, 501]
    assert np.bincount(test.labels).tolist() == [105, 93, 100, 104, 92, 87, 114, 102, 110, 110]
    assert "train 5085 images" in source.identity("train")
    np.testing.assert_allclose(source.statistics()[0], [0.4914, 0.4822, 0.4465], atol=0.006)


def test_real_pictures(tmp_path: Path) -> None:
    """The first of the JPEG test images, against the same images without loss: 5.8 grey levels apart on average."""
    with tarfile.open(shared("cifar10_jpeg") / "test.tar.xz") as tar:
        wanted = [member for member in tar if member.isdir() or int(Path(member.name).stem) < 20]
        tar.extractall(tmp_path, wanted, filter="data")
    (tmp_path / "test").rename(tmp_path / "train")
    read = ImageFolder(path=str(tmp_path), validation=20).read("train")
    assert np.bincount(read.labels).tolist() == [20] * 10
    exact = Cifar10(path=str(shared("cifar10_exact"))).read("test")
    for label in range(10):
        lossy = read.images[read.labels == label].astype(int)
        true = exact.images[exact.labels == label][:20].astype(int)
        assert np.abs(lossy - true).mean() < 9
        assert np.abs(lossy - true[::-1]).mean() > 30


def test_planes_are_what_cifar_says() -> None:
    """The maker of the tests above, against the published sentence: 1024 red, 1024 green, 1024 blue, row by row."""
    image = np.arange(3072).reshape(32, 32, 3).astype(np.uint8)
    flat = planes(image[None])[0]
    assert flat[:32].tolist() == image[0, :, 0].tolist()
    assert flat[1024 : 1024 + 32].tolist() == image[0, :, 1].tolist()
    assert flat[2048 + 32 : 2048 + 64].tolist() == image[1, :, 2].tolist()
