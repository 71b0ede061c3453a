"""Auxiliary heads: outputs beyond the classes, which only a defense that trains them sees."""

from __future__ import annotations

from torch import Tensor, nn

OUT = -1e4
"""The logit of what an image cannot be: its probability is 0 in every precision, and no product with it is NaN."""


class ClassLogits(nn.Module):
    """The end of a model with auxiliary heads: of [B, classes + A] outputs the class logits [B, classes].

    The heads are further rows of the network's last linear layer, so every architecture can have them.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.all = False

    def forward(self, outputs: Tensor) -> Tensor:
        return outputs if self.all else outputs[:, : self.classes]


class OwnHead(nn.Module):
    """A model and its auxiliary head as one classifier of classes + A classes, in which an image is one of its own head's.

    The logits of the other head are `OUT`, so softmax, cross-entropy and every attack's loss are those of the image's own
    head. Labels of the auxiliary head count on from the number of classes.

    Args:
        model: a model built with auxiliary outputs.
        auxiliary: boolean [B], which images of the batch belong to the auxiliary head.

    Raises:
        ValueError: the model has no auxiliary outputs.
    """

    def __init__(self, model: nn.Module, auxiliary: Tensor) -> None:
        super().__init__()
        self.model = model
        self.auxiliary = auxiliary
        self.heads = heads_of(model)
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        self.heads.all = True
        try:
            outputs: Tensor = self.model(x)
        finally:
            self.heads.all = False
        belongs = self.auxiliary.new_ones(outputs.shape[1]).cumsum(0) > self.heads.classes
        return outputs.masked_fill(self.auxiliary[:, None] != belongs, OUT)


def heads_of(model: nn.Module) -> ClassLogits:
    """The end of a model with auxiliary heads.

    Raises:
        ValueError: it has none.
    """
    for module in model.modules():
        if isinstance(module, ClassLogits):
            return module
    raise ValueError("the model has no auxiliary outputs: build it with aux_outputs=defense.aux_outputs")
