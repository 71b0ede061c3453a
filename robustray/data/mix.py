"""Images beside the labelled ones of a data source, that a fraction of every batch is drawn from."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray.data.images import Images
from robustray.data.mapped import copied, npz
from robustray.data.plain_pickle import read_pickle
from robustray.data.reading import Shape, checked, readable
from robustray.errors import UserError, nearest
from robustray.options.places import PLACE
from robustray.registry import Count, Part, Real, register


class Mix(Part):
    """More training images from a file, with labels that a model gave them or was asked for.

    A batch of B holds floor(fraction * B) of them, drawn with replacement, and labelled images, every one once before any
    comes again (Gowal et al., NeurIPS 2021, arXiv:2110.09468; Pang et al., ICML 2022). Images drawn set the length of
    training, however many the file has: an epoch is `epoch` images in all. Images are mapped into memory, not read.
    """

    kind: ClassVar[str] = "mix"
    pseudo: ClassVar[bool]  # whether a model gave the labels to images it found

    path: Annotated[str, PLACE] = Field(description="the file; relative paths start at the working directory")
    fraction: Real = Field(gt=0, lt=1, description="fraction of every batch that is drawn from the file, rounded down")
    epoch: Count | None = Field(
        None, ge=1, description="images drawn per epoch, labelled ones and others; null: as many as there are labelled"
    )

    @abstractmethod
    def read(self, shape: Shape, classes: int) -> Images:
        """All images of the file, mapped into memory.

        Raises:
            UserError: there is no such file, it is damaged, or it does not fit the labelled images.
        """

    def check(self) -> None:
        """Looks whether the file is there, reading nothing.

        Raises:
            UserError: it is not.
        """
        if not Path(self.path).is_file():
            raise UserError(f"{self.path}: no such file (batch.mix: {self.name})")

    def drawn(self, size: int) -> int:
        """How many images of a batch of `size` come from the file."""
        return math.floor(self.fraction * size)

    def steps(self, labelled: int, size: int) -> int:
        """Batches of `size` per epoch, where there are so many labelled images."""
        return math.ceil((self.epoch or labelled) / size)


@register
class Generated(Mix):
    """Images of a generative model, in the .npz files of Gowal et al. (2021) and Wang et al. (ICML 2023, 2302.04638).

    The arrays are `image`, uint8 [N, H, W, C], and `label` [N]. A file that is not compressed, as those are, is mapped as
    it lies; another is copied once into ~/.cache/robustray.
    """

    name: Literal["generated"] = "generated"
    pseudo: ClassVar[bool] = False
    fraction: Real = Field(0.7, gt=0, lt=1, description="fraction of every batch that is drawn from the file")

    def read(self, shape: Shape, classes: int) -> Images:
        self.check()
        path = Path(self.path)
        arrays = npz(path, "image", "label", small=0, sound=False)  # minutes, for the largest that are published
        return checked(*arrays, path, shape=shape, classes=classes)


@register
class PseudoLabelled(Mix):
    """Images with labels of a trained model (Carmon et al., NeurIPS 2019, arXiv:1905.13736): 500,000 of 80 Million Tiny Images.

    Their file is ti_500K_pseudo_labeled.pickle, a dict of `data`, uint8 [N, 32, 32, 3], and `extrapolated_targets` [N]. It
    is read without running what a pickle may ask for, and copied once into ~/.cache/robustray, where it can be mapped.
    """

    name: Literal["pseudo_labelled"] = "pseudo_labelled"
    pseudo: ClassVar[bool] = True
    fraction: Real = Field(0.5, gt=0, lt=1, description="fraction of every batch that is drawn from the file")

    def read(self, shape: Shape, classes: int) -> Images:
        self.check()
        path = Path(self.path)
        with readable(path, "pickle of images and labels"):
            whole = copied(path, lambda: _pair(_unpickled(path))).load()
        return checked(whole.images, whole.labels, path, shape=shape, classes=classes)


def _unpickled(path: Path) -> Images:
    found = read_pickle(path.read_bytes())
    for key in ("data", "extrapolated_targets"):
        if key not in found:
            raise UserError(f"{path}: no array {key!r}; {nearest(key, found)}")
    return checked(np.asarray(found["data"]), np.asarray(found["extrapolated_targets"]), path)


def _pair(images: Images) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    return images.images, images.labels
