"""Passes through a network, counted: a forward of an image is 1, a backward to the input 1, to the weights 1 more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from robustray.defenses.step import Loss, Step
from robustray.models.heads import ClassLogits
from robustray.training.parts import Parts
from robustray.training.updates import Minibatch
from robustray.trial import TrialConfig


class Counted(nn.Module):
    """A network that counts the passes of images through it.

    A backward is known by the gradient's arrival at the logits. It goes on to the weights `within` a block, and to the input
    alone outside. One whose gradient is to be differentiated in its turn counts that as well, 2 more: a second-order loss
    does it once, later. Nothing is read off the device.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training
        self.images = 0
        """Passes so far, each of one image."""
        self._to_weights = False

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        images = len(x)
        self.images += images
        if logits.requires_grad:
            logits.register_hook(lambda _: self._backward(images))  # type: ignore[no-untyped-call]
        return logits

    def _backward(self, images: int) -> None:
        self.images += images * (2 if self._to_weights else 3 if torch.is_grad_enabled() else 1)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Backward passes inside the block reach the weights."""
        self._to_weights = True
        try:
            yield
        finally:
            self._to_weights = False


def per_batch(config: TrialConfig) -> int:
    """Passes of one training step of a trial: it is taken on a stand-in of a few pixels, which costs next to nothing.

    What a step costs in passes is a matter of defense, update and attack, and not of the network or of the images.
    """
    defense, classes, images = config.defense, config.judge.data.classes, config.batch.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = [ClassLogits(classes)] if defense.aux_outputs else []
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, classes + defense.aux_outputs), *head)
        generator = torch.Generator().manual_seed(0)
        counted = Counted(model)
        attack = config.training_attack.bind(config.training_threat)
        x, y = torch.rand(images, 1, 2, 2), torch.randint(0, classes, (images,))
        batch = Step(counted, x, y, attack, generator=generator, violations=torch.tensor(False))
        parts = Parts(defense, batch, config.batch.accumulate)

        def gradient(x_adv: Tensor) -> Loss:
            model.zero_grad(set_to_none=True)
            return parts.backward(x_adv, counted.within)

        config.update.bind(model)(
            Minibatch(
                parts.x,
                attack.threat,
                attack=parts.perturb,
                gradient=gradient,
                descend=lambda: None,
                rolled_back=nullcontext,
                generator=generator,
            )
        )
    return counted.images


def of_training(config: TrialConfig, *, train: int, tune: int) -> int:
    """Passes of a whole training of a trial that does not end early, `cost_passes` of its last report; what may be measured
    besides is left out: a guard's looks, the statistics of averages, and moved images.

    Args:
        train: training images that the data has, of which `batch.images` takes some. tune: images of a validation.
    """
    batch, epochs = config.batch, config.schedule.epochs
    images = batch.among(train)
    steps = images // batch.size if batch.mix is None else batch.mix.steps(images, batch.size)
    validations = -(-epochs // config.checkpoints.validate_every)
    return epochs * steps * per_batch(config) + validations * tune * (2 + config.judge.cheap.passes)
