"""Data sets that people know by name, in files on this machine: where they are looked for, and what tells them apart."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from robustray.data.base import DataSource, Split
from robustray.data.images import Images
from robustray.data.mapped import npz
from robustray.data.places import roots
from robustray.data.reading import Shape, checked, content, length
from robustray.errors import UserError
from robustray.files import Stamp
from robustray.options.places import PLACE

TrainTest = Literal["train", "test"]


class Stored(DataSource):
    """A published data set in files, in the form it is published in, or any part of it as train.npz and test.npz.

    The folder is `path`, else the first that is there of $ROBUSTRAY_DATA/NAME, ./data/NAME, ~/.cache/robustray/NAME.
    The .npz files hold `images` and `labels` as the source `npz` reads them; where train.npz lies, both are read.
    """

    path: Annotated[str | None, PLACE] = Field(
        None, description="its folder; null: $ROBUSTRAY_DATA/NAME, else data/NAME, else ~/.cache/robustray/NAME"
    )
    dataset: ClassVar[str | None] = None  # its class in torchvision.datasets, where that can download it
    obtain: ClassVar[str]  # how a user comes by it
    takes_npz: ClassVar[bool] = True
    published: ClassVar[int | None] = None  # test images, where the files themselves do not tell

    @property
    @abstractmethod
    def shape(self) -> Shape | None:
        """Height, width and channels of every image; None where the files decide."""

    @abstractmethod
    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        """Where a split's files lie inside the folder, or would: the published form."""

    @abstractmethod
    def decode(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        """Reads the published form.

        Raises:
            UserError: a file is damaged, or holds something else.
        """

    def home(self) -> Path:
        """The folder that is read.

        Raises:
            UserError: there is none; the message says where it was looked for, and how to come by the data.
        """
        places = [root / self.name for root in roots()] if self.path is None else [Path(self.path)]
        found = next((place for place in places if os.access(place, os.F_OK)), None)
        if found is None:
            raise UserError(f"{self.name}: not found, looked in {', '.join(map(str, places))}; {self.obtain}")
        return found.absolute()

    def located(self, split: TrainTest) -> tuple[Path, ...]:
        """The files of a split, which all exist.

        Raises:
            UserError: one does not.
        """
        home = self.home()
        try:
            as_npz = self.takes_npz and (home / "train.npz").is_file()
            files = (home / f"{split}.npz",) if as_npz else self.files(home, split)
            missing = next((file for file in files if not file.exists()), None)
        except OSError as error:
            raise UserError(f"{home}: cannot be read ({error.strerror})") from None
        if missing is not None:
            raise UserError(f"{missing}: no such file (data: {self.name}, {split}); {self.obtain}")
        return files

    def check(self) -> None:
        self.located("train")
        self.located("test")

    def stamps(self, split: Split) -> Hashable:
        return tuple(map(Stamp.of, self.located("test" if split == "test" else "train")))

    def read(self, split: TrainTest) -> Images:
        files = self.located(split)
        if files[0].suffix == ".npz":
            return checked(*npz(files[0]), files[0], shape=self.shape, classes=self.classes)
        return self.decode(files, split)

    def test_images(self) -> int | None:
        files = self.located("test")
        if files[0].suffix == ".npz":
            return length(files[0], "labels")
        return self.counted(files)

    def counted(self, files: tuple[Path, ...]) -> int | None:
        """How many test images there are in the published form, from what tells it without reading them."""
        return self.published

    def identity(self, split: Split) -> str:
        """Count and hash of the images and labels themselves: wherever they lie, in whatever form, and subsets apart."""
        part: TrainTest = "test" if split == "test" else "train"
        return f"{self.name} {split} {self.described(part)} {self.validation}"

    def described(self, split: TrainTest) -> str:
        """How many images the whole split has, and their hash."""
        return _described(self, split, self.stamps(split))


@lru_cache(maxsize=16)  # asked for at every shard
def _described(source: Stored, split: TrainTest, stamps: Hashable) -> str:
    whole = source.read(split)
    return f"{len(whole)} images {content(whole)}"
