"""CIFAR-100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from robustray.data.cifar_batches import CifarBatches
from robustray.data.stored import TrainTest
from robustray.registry import register


@register
class Cifar100(CifarBatches):
    """CIFAR-100 (Krizhevsky, 2009): colour images of a hundred classes (the fine labels), 50,000 and 10,000."""

    name: Literal["cifar100"] = "cifar100"
    dataset: ClassVar[str] = "CIFAR100"
    obtain: ClassVar[str] = (
        "`python -m robustray data cifar100 --download` fetches it (169 MB), or put cifar-100-python.tar.gz there"
    )
    folder: ClassVar[str] = "cifar-100-python"
    published: ClassVar[int | None] = 10_000
    archive: ClassVar[str] = "cifar-100-python.tar.gz"
    batches: ClassVar[Mapping[TrainTest, tuple[str, ...]]] = {"train": ("train",), "test": ("test",)}
    key: ClassVar[str] = "fine_labels"

    @property
    def classes(self) -> int:
        return 100
