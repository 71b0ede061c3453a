"""What every augmentation promises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustray.data.augment import Augmentation
from robustray.testing.made import generator
from robustray.testing.suite import contract


def coloured(n: int, *, channels: int = 3, size: int = 9) -> Tensor:
    """Images [n, channels, size, size] of which nearly every pixel is another, at values of 8 bits, none black."""
    values = torch.randint(1, 256, (n, channels, size, size), generator=generator(5))
    return values.float() / 255


@contract("augmentation", channels={"grey": 1, "colour": 3})
def images_stay_images(augmentation: Augmentation, channels: int) -> None:
    """Shape and range stay, the batch that came in stays, draws come from the given generator alone."""
    x, labels = coloured(20, channels=channels), torch.arange(20) % 4
    y = F.one_hot(labels, 4).float() if augmentation.soft_labels else labels
    before, world = (x.clone(), y.clone()), torch.get_rng_state()
    out, mixed = augmentation.labelled(x, y, generator(3))
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(out, x)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(augmentation(x, generator(3)), out)
    assert mixed.shape == y.shape
    if augmentation.soft_labels:
        assert (mixed >= 0).all()
        torch.testing.assert_close(mixed.sum(1), torch.ones(20))
    else:
        assert mixed is y


@contract("augmentation")
def draws_are_per_image(augmentation: Augmentation) -> None:
    """Equal images come out as different ones."""
    assert outcomes(augmentation) > 1


def outcomes(augmentation: Augmentation) -> int:
    """As how many different images a hundred equal ones come out, among others that a box may come from."""
    x = coloured(2, size=24)[torch.tensor([0, 1] * 100)]
    return len({image.numpy().tobytes() for image in augmentation(x, generator())[::2]})


@contract("augmentation")
def a_batch_of_one_is_a_batch(augmentation: Augmentation) -> None:
    """One image comes out as one."""
    assert augmentation(coloured(1), generator()).shape == (1, 3, 9, 9)
