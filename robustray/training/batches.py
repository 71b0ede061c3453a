"""What a training sees: which images in which order, augmented and moved, and their labels."""

from __future__ import annotations

import torch
from torch import Tensor

from robustray.attacks.losses import smoothed
from robustray.data import affine
from robustray.data.device import DeviceImages
from robustray.data.images import Images
from robustray.data.labels import noisy, probabilities
from robustray.data.mixed import MixedImages, mixed_order
from robustray.data.splits import stratified
from robustray.errors import UserError
from robustray.training.curricula import Amounts
from robustray.training.randomness import Randomness
from robustray.trial import TrialConfig


def training_images(config: TrialConfig) -> Images:
    """The images that a trial trains on: all of its data's, or those that `batch.images` says; the same for every seed.

    Raises:
        UserError: the data is missing, or has fewer images than are asked for or than a batch has.
    """
    every, batch = config.judge.data.load("train"), config.batch
    count = batch.among(len(every))
    if count > len(every):
        raise UserError(f"batch.images is {count}, but there are only {len(every)} training images")
    if count < batch.size:
        few = "only" if batch.images is None else f"by batch.images {batch.images:g} only"
        raise UserError(f"batch.size is {batch.size}, but there are {few} {count} training images")
    return every if count == len(every) else every.take(stratified(every.labels, count, "images")[0])


class Batches:
    """The batches of a trial's training.

    Raises:
        UserError: the data is missing or too small, or the images of a mix do not fit.
    """

    def __init__(self, config: TrialConfig, randomness: Randomness, device: torch.device) -> None:
        self.config = config
        self.randomness = randomness
        data, size, mix = config.judge.data, config.batch.size, config.batch.mix
        train = training_images(config)
        self.images = DeviceImages(train, device)
        self.classes = data.classes
        self.mixed: MixedImages | None = None
        self.steps = len(train) // size  # the rest of an epoch's order is dropped, so that shapes stay fixed
        if mix is not None:
            self.mixed = MixedImages(self.images, mix.read(train.shape, self.classes))
            self.steps = mix.steps(len(train), size)

    def order(self, epoch: int) -> Tensor:
        """Rows of all batches of an epoch, one after the other: on the device, or with a mix on the host."""
        own, size, mix = len(self.images), self.config.batch.size, self.config.batch.mix
        if self.mixed is None or mix is None:
            return self.randomness.order(epoch, own).to(self.images.labels.device)
        other, drawn = len(self.mixed.labels), mix.drawn(size)
        return mixed_order(
            self.config.seed, epoch, lambda number: self.randomness.order(number, own),
            own=own, other=other, steps=self.steps, size=size, drawn=drawn,
        )  # fmt: skip

    def view(self, rows: Tensor, amounts: Amounts) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1] and labels, [B] or [B, K], drawn anew at every call: augmented, then moved."""
        x, y = (self.mixed or self.images).batch(rows)
        streams, augmentations = self.randomness.streams, self.config.batch.augment
        if any(augmentation.soft_labels for augmentation in augmentations):
            y = probabilities(y, self.classes, x.dtype)
        for augmentation in augmentations:
            x, y = augmentation.labelled(x, y, streams["augment"])
        if self.config.curriculum is not None and (amounts.rotation or amounts.translation):
            how = self.config.curriculum.resampling
            degrees = affine.uniform(x, amounts.rotation, (), streams["spatial"])
            shift = affine.uniform(x, amounts.translation, (2,), streams["spatial"])
            x = affine.turned(x, degrees, shift, how.interpolation, how.fill)
        return x, y

    def labels(self, y: Tensor) -> Tensor:
        """What the loss sees of labels y, [B] or [B, K]: the attack sees them without noise."""
        noise = self.config.batch.label_noise
        return noisy(y, self.classes, noise, self.randomness.streams["labels"]) if noise else y

    def targets(self, labels: Tensor) -> Tensor:
        """What the loss descends to: the labels that it sees, smoothed; [B], or float32 probabilities [B, K]."""
        amount = self.config.batch.label_smoothing
        if not amount:
            return labels
        p = probabilities(labels, self.classes, torch.float32) if labels.ndim == 1 else labels
        return smoothed(p, p, amount, self.config.smoothed_onto)

    def pseudo(self, rows: Tensor) -> Tensor | None:
        """Boolean [B]: whose labels a model gave to images it found; None where there are no such images."""
        mix = self.config.batch.mix
        return self.mixed.others(rows) if self.mixed is not None and mix is not None and mix.pseudo else None
