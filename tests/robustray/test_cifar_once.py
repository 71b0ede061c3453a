"""Pickled batches are unpickled once on a machine: every later process maps the copy."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from robustray.data import cifar_batches, mapped
from robustray.data.cifar10 import Cifar10
from robustray.data.plain_pickle import read_pickle
from robustray.data.stored import TrainTest
from tests.robustray import made_folders


@pytest.mark.parametrize("archived", [False, True], ids=["folder", "archive"])
def test_batches_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archived: bool) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "cifar10"
    home.mkdir()
    made_folders.MAKERS["cifar10"](home, 0)
    if archived:
        with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as tar:
            for file in sorted(path for path in home.rglob("*") if path.is_file()):
                tar.add(file, f"cifar-10-batches-py/{file.name}")
        home = tmp_path / "cifar-10-python.tar.gz"
    splits: tuple[TrainTest, ...] = ("train", "test")
    plain = {split: Cifar10(path=str(home)).read(split) for split in splits}
    reads = [0]

    def counted(whole: bytes) -> object:
        reads[0] += 1
        return read_pickle(whole)

    monkeypatch.setattr(cifar_batches, "read_pickle", counted)
    monkeypatch.setattr(mapped, "SMALL", 0)
    for _ in range(2):
        for split, known in plain.items():
            found = Cifar10(path=str(home)).read(split)
            np.testing.assert_array_equal(found.images, known.images)
            np.testing.assert_array_equal(found.labels, known.labels)
    assert reads[0] == 6, "five batches of train and one of test, once"
    monkeypatch.setattr(cifar_batches, "writable", lambda folder: False)
    Cifar10(path=str(home)).read("test")
    assert reads[0] == 7, "without a cache as before"
