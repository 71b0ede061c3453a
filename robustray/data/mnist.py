"""MNIST."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustray.data.idx import IdxFiles
from robustray.registry import register


@register
class Mnist(IdxFiles):
    """MNIST (LeCun, Bottou, Bengio and Haffner, Proceedings of the IEEE, 1998): handwritten digits, 60,000 and 10,000.

    The usual threat is linf, eps 0.3.
    """

    name: Literal["mnist"] = "mnist"
    dataset: ClassVar[str] = "MNIST"
    obtain: ClassVar[str] = "`python -m robustray data mnist --download` fetches it (12 MB)"
