"""Every data source keeps its contracts, and those that look for a folder find it and say what is wrong there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from robustray.data import DataSource, Images, base, places, stored
from robustray.data.stored import Stored
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.judging import plan
from robustray.judging.plan import Plan
from robustray.registry import parts
from robustray.testing import Contract, contracts
from robustray.testing.data import SPLITS
from tests.robustray.made import every, made_folder
from tests.robustray.made_folders import MAKERS, Folder

Make = Callable[..., DataSource]
Factory = Callable[[type[DataSource]], Make]
SOURCES = cast(dict[str, type[DataSource]], parts("data"))
PUBLISHED = {name: cls for name, cls in SOURCES.items() if issubclass(cls, Stored)}
"""Sources that look for a folder. What follows runs for all of them, none of them named."""
every_published = pytest.mark.parametrize("cls", [pytest.param(cls, id=name) for name, cls in PUBLISHED.items()])


def clear() -> None:
    """What was read before must not hide a read."""
    for memory in (base._load, base._counts, stored._described, plan._rows):
        memory.cache_clear()


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data of this machine, and a cache of its own."""
    clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(places.ROOT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    clear()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[DataSource]], Folder]:
    """Folders that are only read: made once."""
    there: dict[type[DataSource], Folder] = {}

    def folder(cls: type[DataSource]) -> Folder:
        if cls not in there:
            there[cls] = made_folder(cls, tmp_path_factory.mktemp(cls.__name__))
        return there[cls]

    return folder


@pytest.fixture
def make(folders: Callable[[type[DataSource]], Folder]) -> Factory:
    def factory(cls: type[DataSource]) -> Make:
        return lambda **more: cls(**(folders(cls).options | more))

    return factory


@every("data")
@pytest.mark.parametrize("contract", [pytest.param(contract, id=contract.name) for contract in contracts("data")])
def test_contract(contract: Contract, cls: type[DataSource], make: Factory) -> None:
    contract(make(cls)())


def test_every_source_has_a_maker() -> None:
    assert set(MAKERS) == set(SOURCES), "every data source needs a maker in tests/robustray/made_folders.py"


@every("data")
def test_test_may_be_missing_until_it_is_asked_for(cls: type[DataSource], tmp_path: Path) -> None:
    """Everything but reading test works without its files; `check`, which reads nothing, misses them."""
    folder = made_folder(cls, tmp_path / "there")
    source = cls(**folder.options)
    source.check()
    for path in folder.test:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    source.load("train")
    source.load("validation")
    source.statistics()
    source.identity("validation")
    assert source.classes > 1
    if folder.test:
        for call in (source.check, lambda: source.load("test"), lambda: source.identity("test")):
            with pytest.raises(UserError, match=re.escape(str(folder.test[0].parent))) as caught:
                call()
            assert "\n" not in str(caught.value)


@every_published
def test_identity_is_that_of_the_images_wherever_they_lie(cls: type[Stored], tmp_path: Path) -> None:
    """A copy is the same, as .npz files too; other images are not, nor is a part of them."""
    folder = made_folder(cls, tmp_path / "there")
    shutil.copytree(tmp_path / "there", tmp_path / "copy")
    source = cls(**folder.options)
    names = [source.identity(split) for split in ("train", "validation", "test")]

    def identities(place: str) -> list[str]:
        other = cls.model_validate(folder.options | {"path": str(tmp_path / place)})
        return [other.identity(split) for split in ("train", "validation", "test")]

    assert identities("copy") == names
    made_folder(cls, tmp_path / "other", seed=1)
    assert not set(identities("other")) & set(names)
    if cls.takes_npz:
        for place, count in (("npz", None), ("part", 150)):
            (tmp_path / place).mkdir()
            for split in ("train", "test"):
                whole = source.read(split)
                np.savez(tmp_path / place / f"{split}.npz", images=whole.images[:count], labels=whole.labels[:count])
        assert identities("npz") == names
        assert identities("part")[0] not in names
        assert "train 150 images" in identities("part")[0]


@every("data")
def test_files_that_change_in_a_living_process_are_read_anew(cls: type[DataSource], tmp_path: Path) -> None:
    """Nothing that was read before outlives its files: images, classes, statistics, lists of a judge, the fingerprint."""

    def read(source: DataSource) -> list[Any]:
        judge = Judge.model_validate({"data": source, "threat": {"eps": 0.1}, "images": {"test": 30}})
        splits = [(source.load(split).images.tobytes(), source.load(split).labels.tolist()) for split in SPLITS]
        plans = [Plan.of(judge, "weights", split).rows.tolist() for split in ("validation", "test")]
        return [splits, source.classes, source.statistics(), [source.identity(split) for split in SPLITS], plans]

    there = tmp_path / "there"
    folder = made_folder(cls, there)
    if not folder.options:
        pytest.skip("comes with its library")
    source = cls(**folder.options)
    before = read(source)
    assert read(source) == before
    assert source.stamps("test") == source.stamps("test")
    shutil.rmtree(there)
    made_folder(cls, there, seed=1)
    after = read(source)
    clear()
    assert after == read(source), "as a process reads it that knew nothing before"
    for old, new in zip(before[0] + before[3], after[0] + after[3], strict=True):
        assert old != new


@every_published
def test_places(cls: type[Stored], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$ROBUSTRAY_DATA, ./data, ~/.cache/robustray: all named where none is there, the first that is there is read."""
    source = cls.model_validate({})
    expected = [tmp_path / "mine" / source.name, Path("data") / source.name, places.cache() / source.name]
    monkeypatch.setenv(places.ROOT, str(tmp_path / "mine"))
    for call in (source.check, lambda: source.read("train"), lambda: source.identity("train")):
        with pytest.raises(UserError) as caught:
            call()
        said = str(caught.value)
        assert [str(place) in said for place in expected] == [True] * 3
        assert source.obtain in said
    for place in reversed(expected):
        made_folder(cls, place)
        assert source.home() == place.absolute()
        source.check()
    monkeypatch.delenv(places.ROOT)
    assert source.home() == expected[1].absolute()
    assert cls.model_validate({"path": str(expected[2])}).home() == expected[2]


@every_published
def test_a_file_that_was_cut_short_is_named(cls: type[Stored], tmp_path: Path) -> None:
    folder = made_folder(cls, tmp_path / "there")
    source = cls(**folder.options)
    first = source.located("train")[0]
    if first.is_dir():
        first = sorted(path for path in first.rglob("*") if path.stat().st_size > 100 and path.is_file())[0]
    whole = first.read_bytes()
    for count in (0, 1, 30, len(whole) // 2, len(whole) * 9 // 10):
        first.write_bytes(whole[:count])
        with pytest.raises(UserError, match=re.escape(str(first))) as caught:
            source.read("train")
        assert "\n" not in str(caught.value)
    first.write_bytes(whole)
    assert len(source.read("train")) > 200


@every_published
def test_npz_files_must_hold_such_images(cls: type[Stored], tmp_path: Path) -> None:
    """What a source knows of its images is asked of .npz files too."""
    source = cls.model_validate({"path": str(tmp_path)})
    images, labels = np.zeros((9, *(source.shape or (4, 4, 3))), np.uint8), np.arange(9) % 2
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"images": images[:, 1:], "labels": labels}, "images must be"),
        ({"images": images.astype(np.int16) - 5, "labels": labels}, "int16 .* from -5 to -5"),
        ({"images": images, "labels": labels[1:]}, "9 whole numbers"),
        ({"images": images, "labels": labels + 1000}, "labels must be 0 to .*there is 1001"),
        ({"images": images}, "no array 'labels'"),
    ]
    for arrays, said in wrong:
        np.savez(tmp_path / "train.npz", **arrays)
        with pytest.raises(UserError, match=said if cls.takes_npz else "no such file") as caught:
            source.read("train")
        assert str(tmp_path / "train") in str(caught.value)


def test_images_are_checked() -> None:
    good, labels = np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int64)
    Images(good, labels)
    wrong_pairs: list[Any] = [(good.astype(np.float32), labels), (good[..., 0], labels), (good, labels[:1])]
    for images, wrong in wrong_pairs:
        with pytest.raises(ValueError, match="need uint8"):
            Images(images, wrong)


@every_published
def test_the_images_of_test_are_counted_in_every_form(
    cls: type[Stored], folders: Callable[[type[DataSource]], Folder], tmp_path: Path
) -> None:
    """Published files, or .npz files beside their like, stored and compressed; a damaged one is one line."""
    source = cls.model_validate(folders(cls).options)
    count = len(source.load("test"))
    assert source.test_images() == (cls.published or count)
    if not cls.takes_npz:
        return
    for save in (np.savez, np.savez_compressed):
        for split in ("train", "test"):
            images = source.read(split)
            save(tmp_path / f"{split}.npz", images=images.images, labels=images.labels)
        there = source.model_copy(update={"path": str(tmp_path)})
        assert there.test_images() == count
    (tmp_path / "test.npz").write_bytes((tmp_path / "test.npz").read_bytes()[:50])
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "test.npz"))):
        there.test_images()
