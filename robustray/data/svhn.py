"""SVHN."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from robustray.data.images import Images
from robustray.data.reading import Shape, checked, readable
from robustray.data.stored import Stored, TrainTest
from robustray.errors import UserError
from robustray.registry import register


@register
class Svhn(Stored):
    """SVHN (Netzer et al., 2011): house numbers, cropped to 32x32 colour images of one digit, 73,257 and 26,032.

    In train_32x32.mat and test_32x32.mat, X is [32, 32, 3, N] and y is 1 to 10, where 10 is the digit 0: it becomes label 0.
    The 531,131 easier `extra` images are left out, as is usual in adversarial training.
    """

    name: Literal["svhn"] = "svhn"
    dataset: ClassVar[str] = "SVHN"
    obtain: ClassVar[str] = "`python -m robustray data svhn --download` fetches it (246 MB)"

    @property
    def shape(self) -> Shape:
        return 32, 32, 3

    @property
    def classes(self) -> int:
        return 10

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        return (home / f"{split}_32x32.mat",)

    def counted(self, files: tuple[Path, ...]) -> int:
        from scipy.io import whosmat

        with readable(files[0], ".mat file"):
            shapes = {name: shape for name, shape, _ in whosmat(files[0])}
        if "y" not in shapes:
            raise UserError(f"{files[0]}: no array 'y'")
        return int(shapes["y"][0])

    def decode(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        from scipy.io import loadmat

        (path,) = files
        with readable(path, ".mat file"):
            arrays = loadmat(path, variable_names=["X", "y"])
        for key in ("X", "y"):
            if key not in arrays:
                raise UserError(f"{path}: no array {key!r}")
        images, labels = np.asarray(arrays["X"]), np.asarray(arrays["y"])
        if images.ndim != 4 or labels.ndim != 2:
            raise UserError(
                f"{path}: X must be [32, 32, 3, N] and y [N, 1], not {list(images.shape)} and {list(labels.shape)}"
            )
        images = np.ascontiguousarray(images.transpose(3, 0, 1, 2))
        digits = labels.ravel()
        return checked(images, np.where(digits == 10, 0, digits), path, shape=self.shape, classes=self.classes)
