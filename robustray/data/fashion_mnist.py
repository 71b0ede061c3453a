"""Fashion-MNIST."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustray.data.idx import IdxFiles
from robustray.registry import register


@register
class FashionMnist(IdxFiles):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, arXiv:1708.07747): articles of clothing, 60,000 and 10,000.

    Its files have the names of MNIST's, so it needs a folder of its own.
    """

    name: Literal["fashion_mnist"] = "fashion_mnist"
    dataset: ClassVar[str] = "FashionMNIST"
    obtain: ClassVar[str] = "`python -m robustray data fashion_mnist --download` fetches it (31 MB)"
