"""CutMix."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustray._later import Tensor, torch
from robustray.data._boxes import inside
from robustray.data.augment import Augmentation
from robustray.registry import register


@register
class CutMix(Augmentation):
    """CutMix (Yun et al., ICCV 2019, arXiv:1905.04899): a box of another image of the batch, labels in proportion.

    The box has the image's shape, an area of 1 - l of the image, l uniform in [0, 1] (Beta(1, 1)), and its centre at any
    pixel; what lies outside the image is cut off, and the label becomes (1 - a) y + a y' with a the area that is left.
    l, box and partner are drawn per image: the authors draw one l and one box per batch.
    """

    name: Literal["cutmix"] = "cutmix"
    soft_labels: ClassVar[bool] = True

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        return self.labelled(x, x.new_zeros(len(x), 1), generator)[0]

    def labelled(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        batch, _, height, width = x.shape
        partner = torch.randperm(batch, generator=generator, device=x.device)
        draw = torch.rand(3, batch, generator=generator, device=x.device)
        side = draw[0].sqrt()
        rows = inside((draw[1] * height).floor(), (side * height).floor(), height)
        columns = inside((draw[2] * width).floor(), (side * width).floor(), width)
        box = rows[:, :, None] & columns[:, None, :]
        area = box.to(y).mean((1, 2))[:, None]
        return torch.where(box[:, None], x[partner], x), (1 - area) * y + area * y[partner]
