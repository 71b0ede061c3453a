"""Tiny folders in the formats that data sets are really published in, a maker for every data source."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]
TRAIN, TEST = 203, 57


@dataclass(frozen=True)
class Folder:
    """What a maker made: options that read it, and the files that hold test images and nothing else."""

    options: dict[str, Any] = field(default_factory=dict)
    test: tuple[Path, ...] = ()


Maker = Callable[[Path, int], Folder]
MAKERS: dict[str, Maker] = {}
"""By source: writes TRAIN and TEST images, no two alike, classes uneven, drawn by a seed. A new source needs one here."""


def makes(name: str) -> Callable[[Maker], Maker]:
    def keep(maker: Maker) -> Maker:
        MAKERS[name] = maker
        return maker

    return keep


def drawn(count: int, shape: tuple[int, ...], classes: int, seed: int) -> tuple[Pixels, Labels]:
    """Random images [count, *shape] and labels, one class twice as frequent as the others."""
    stream = np.random.default_rng(seed)
    images = stream.integers(0, 256, (count, *shape), dtype=np.uint8)
    return images, np.minimum(stream.integers(0, classes + 1, count), classes - 1)


def both(shape: tuple[int, ...], classes: int, seed: int) -> dict[str, tuple[Pixels, Labels]]:
    return {"train": drawn(TRAIN, shape, classes, 2 * seed), "test": drawn(TEST, shape, classes, 2 * seed + 1)}


@makes("digits")
def _digits(folder: Path, seed: int) -> Folder:
    return Folder()  # comes with scikit-learn


@makes("npz")
def _npz(folder: Path, seed: int) -> Folder:
    for name, (images, labels) in both((6, 5, 3), 4, seed).items():
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    files = {name: str(folder / f"{name}.npz") for name in ("train", "test")}
    return Folder({**files, "validation": 50}, (folder / "test.npz",))


def idx(array: Pixels) -> bytes:
    """An IDX file: two zeros, 8 for unsigned bytes, the number of sides, the sides, the bytes."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@makes("mnist")
def _mnist(folder: Path, seed: int) -> Folder:
    """As it is published: gzipped."""
    for split, (images, labels) in both((28, 28), 10, seed).items():
        stem = "train" if split == "train" else "t10k"
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), 1))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels.astype(np.uint8)), 1))
    return Folder({"path": str(folder), "validation": 50}, tuple(folder.glob("t10k*")))


@makes("fashion_mnist")
def _fashion_mnist(folder: Path, seed: int) -> Folder:
    """As torchvision leaves it: unpacked, two folders down."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, (images, labels) in both((28, 28), 10, seed).items():
        stem = "train" if split == "train" else "t10k"
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels.astype(np.uint8)))
    return Folder({"path": str(folder), "validation": 50}, tuple(raw.glob("t10k*")))


def python2_pickle(value: Any) -> bytes:
    """The bytes by which Python 2 with its numpy wrote CIFAR's batches, its memo left out."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(value[key]) for key in value) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, bytes):
        return b"U" + bytes((len(value),)) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"K" + bytes((value,)) if value < 256 else b"M" + struct.pack("<H", value)
    assert value.dtype == np.uint8
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + b"U\x01b" + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + b"U\x02u1" + b"K\x00K\x01\x87R"
    dtype += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"".join(_python2(side) for side in value.shape) + b"\x86"
    return array + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"


def planes(images: Pixels) -> Pixels:
    """Images [N, 32, 32, 3] as CIFAR has them: [N, 3072], the red plane, the green, the blue."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def cifar10_batch(images: Pixels, labels: Labels) -> dict[bytes, Any]:
    names = [b"image_%d.png" % number for number in range(len(labels))]
    return {b"batch_label": b"a batch", b"labels": labels.tolist(), b"data": planes(images), b"filenames": names}


@makes("cifar10")
def _cifar10(folder: Path, seed: int) -> Folder:
    """As it is unpacked: five batches and one."""
    home = folder / "cifar-10-batches-py"
    home.mkdir()
    sets = both((32, 32, 3), 10, seed)
    for number, rows in enumerate(np.array_split(np.arange(TRAIN), 5), 1):
        batch = cifar10_batch(sets["train"][0][rows], sets["train"][1][rows])
        (home / f"data_batch_{number}").write_bytes(python2_pickle(batch))
    (home / "test_batch").write_bytes(python2_pickle(cifar10_batch(*sets["test"])))
    return Folder({"path": str(folder), "validation": 50}, (home / "test_batch",))


@makes("cifar100")
def _cifar100(folder: Path, seed: int) -> Folder:
    """As it is published: one archive, in which the test batch lies between others."""
    with tarfile.open(folder / "cifar-100-python.tar.gz", "w:gz", compresslevel=1) as tar:
        for split, (images, labels) in both((32, 32, 3), 100, seed).items():
            batch = {b"fine_labels": labels.tolist(), b"coarse_labels": (labels // 5).tolist(), b"data": planes(images)}
            member = tarfile.TarInfo(f"cifar-100-python/{split}")
            whole = python2_pickle(batch)
            member.size = len(whole)
            tar.addfile(member, io.BytesIO(whole))
    return Folder({"path": str(folder), "validation": 50})


@makes("svhn")
def _svhn(folder: Path, seed: int) -> Folder:
    from scipy.io import savemat

    for split, (images, labels) in both((32, 32, 3), 10, seed).items():
        digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
        savemat(folder / f"{split}_32x32.mat", {"X": images.transpose(1, 2, 3, 0), "y": digits}, do_compression=True)
    return Folder({"path": str(folder), "validation": 50}, (folder / "test_32x32.mat",))


def write_images(folder: Path, images: Pixels, labels: Labels, place: Callable[[int, int], str]) -> None:
    """Files of images, in the format that the name's end says; `place` gives the name for (row, class)."""
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / place(row, int(label))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path, quality=95)


@makes("image_folder")
def _image_folder(folder: Path, seed: int) -> Folder:
    for split, (images, labels) in both((12, 10, 3), 4, seed).items():
        write_images(folder / split, images, labels, lambda row, label: f"class {label}/{row}.png")
    return Folder({"path": str(folder), "validation": 50}, (folder / "test",))


@makes("tiny_imagenet")
def _tiny_imagenet(folder: Path, seed: int) -> Folder:
    sets = both((64, 64, 3), 200, seed)
    images, _ = sets["train"]
    write_images(
        folder / "train", images, np.minimum(np.arange(TRAIN), 199), lambda row, label: f"n{label:08}/images/{row}.JPEG"
    )
    images, labels = sets["test"]
    write_images(folder / "val" / "images", images, labels, lambda row, label: f"val_{row}.JPEG")
    lines = [f"val_{row}.JPEG\tn{label:08}\t0\t0\t63\t63\n" for row, label in enumerate(labels)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return Folder({"path": str(folder), "validation": 50}, (folder / "val",))


USED = [*range(151, 269), *range(281, 286), *range(30, 38), *range(80, 101), *range(365, 383), *range(389, 398)]
USED += [*range(118, 122), *range(300, 320)]
"""ImageNet's classes in Restricted ImageNet, as in the paper's own code."""


@makes("restricted_imagenet")
def _restricted_imagenet(folder: Path, seed: int) -> Folder:
    """The thousand folders; those that belong to no group hold what is no image."""
    for split, number in (("train", 2 * seed), ("val", 2 * seed + 1)):
        for label in range(1000):
            (folder / split / f"n{label:08}").mkdir(parents=True)
        images, _ = drawn(len(USED), (70, 66, 3), 1, number)
        write_images(folder / split, images, np.array(USED), lambda row, label: f"n{label:08}/{row}.JPEG")
        for label in {*range(1000)} - {*USED}:
            (folder / split / f"n{label:08}" / "other.JPEG").write_bytes(b"no image")
    return Folder({"path": str(folder), "validation": 50}, (folder / "val",))
