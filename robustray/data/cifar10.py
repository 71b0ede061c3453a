"""CIFAR-10."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from robustray.data.cifar_batches import CifarBatches
from robustray.data.stored import TrainTest
from robustray.registry import register


@register
class Cifar10(CifarBatches):
    """CIFAR-10 (Krizhevsky, 2009): colour images of ten classes, 50,000 and 10,000. The usual threat is linf, eps 8/255."""

    name: Literal["cifar10"] = "cifar10"
    dataset: ClassVar[str] = "CIFAR10"
    obtain: ClassVar[str] = (
        "`python -m robustray data cifar10 --download` fetches it (170 MB), or put cifar-10-python.tar.gz there"
    )
    folder: ClassVar[str] = "cifar-10-batches-py"
    published: ClassVar[int | None] = 10_000
    archive: ClassVar[str] = "cifar-10-python.tar.gz"
    batches: ClassVar[Mapping[TrainTest, tuple[str, ...]]] = {
        "train": tuple(f"data_batch_{number}" for number in range(1, 6)),
        "test": ("test_batch",),
    }
    key: ClassVar[str] = "labels"

    @property
    def classes(self) -> int:
        return 10
