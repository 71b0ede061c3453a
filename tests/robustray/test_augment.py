"""Augmentations: their contracts, torchvision as an oracle, and the statistics of what is drawn per image."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
import torchvision.transforms.v2.functional as theirs  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode
from torchvision.transforms import autoaugment as published

from robustray.data import (
    Augmentation,
    AutoAugment,
    CutMix,
    Cutout,
    RandAugment,
    Rotation,
    Translation,
    TrivialAugment,
    affine,
    image_ops,
    labels,
)
from robustray.data.spatial import Resampling
from robustray.errors import UserError
from robustray.testing import Contract
from robustray.testing.augmentations import coloured, outcomes
from tests.robustray.made import generator, kept, variants


@kept("augmentation")
def test_contract(contract: Contract, part: Augmentation) -> None:
    contract(part)


@variants("augmentation", "augmentation")
def test_draws_are_of_many_values(augmentation: Augmentation) -> None:
    """But for the one that has two."""
    assert outcomes(augmentation) == 2 if augmentation.name == "flip" else outcomes(augmentation) > 8


@given(st.integers(0, 999), st.integers(1, 12))
def test_cutout_is_one_hole(seed: int, size: int) -> None:
    """A rectangle of the fill, size x size unless the edge cuts it; everything else stays."""
    x = coloured(6, size=9)
    out = Cutout(size=size, fill=0.0)(x, generator(seed))
    for image, before in zip(out, x, strict=True):
        hole = (image == 0).all(0)
        assert torch.equal(image[:, ~hole], before[:, ~hole])
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None, :])
        for side in (rows, columns):
            places = side.nonzero()[:, 0].tolist()
            assert places == list(range(places[0], places[-1] + 1))
            assert len(places) == size or places[0] == 0 or places[-1] == 8
            assert len(places) <= size


def test_cutouts_centre_is_any_pixel_alike() -> None:
    x = torch.ones(8100, 1, 9, 9)
    out = Cutout(size=1, fill=0.0)(x, generator())
    counts = (out == 0).sum(0).flatten()
    assert counts.sum() == 8100
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 0.001


def test_cutmix_mixes_labels_by_area() -> None:
    """Each image holds pixels of two, its label their shares, exactly; the box is a rectangle of the partner's pixels."""
    n = 400
    x = (torch.arange(n, dtype=torch.float64) / n).view(n, 1, 1, 1).expand(n, 1, 8, 10)
    out, mixed = CutMix().labelled(x, torch.eye(n, dtype=torch.float64), generator(1))
    numbers = (out[:, 0] * n).round().long()
    shares, partners = [], []
    for row in range(n):
        own = numbers[row] == row
        share = torch.bincount(numbers[row].flatten(), minlength=n).double() / 80
        torch.testing.assert_close(mixed[row], share)
        assert torch.equal(~own, (~own).any(1)[:, None] & (~own).any(0)[None, :])
        shares.append(1 - own.double().mean().item())
        partners += [p for p in set(numbers[row].flatten().tolist()) if p != row]
    assert len(partners) == len(set(partners))  # a permutation
    # E[a] = E[min-cut box]: of a side s in [0, 1] at a uniform centre 1 - s/4 lies inside; s^2 = 1 - l is uniform
    expected = np.mean([u * (1 - math.sqrt(u) / 4) ** 2 for u in np.linspace(0, 1, 10_001)])
    assert np.mean(shares) == pytest.approx(expected, abs=0.05)
    assert max(Counter(shares).values()) < n / 4


def blob(angle: float = 0.0) -> Tensor:
    """A soft spot right of the centre of a black image, [1, 1, 33, 33]."""
    place = torch.arange(33) - 16.0
    across, down = place[None, :], place[:, None]
    spot = torch.exp(-((across - 9 * math.cos(angle)) ** 2 + (down + 9 * math.sin(angle)) ** 2) / 4)
    return spot[None, None]


def centres(images: Tensor) -> Tensor:
    """The centre of mass of each image, (right, down) from its middle, [B, 2]."""
    place = torch.arange(33) - 16.0
    mass = images.sum((1, 2, 3))
    return torch.stack([(images.sum((1, 2)) * place).sum(1) / mass, (images.sum((1, 3)) * place).sum(1) / mass], 1)


def test_angles_are_uniform() -> None:
    where = centres(Rotation(degrees=60)(blob().expand(1000, -1, -1, -1), generator()))
    angles = torch.rad2deg(torch.atan2(-where[:, 1], where[:, 0]))  # counter-clockwise, rows go down
    assert scipy.stats.kstest((angles.numpy() + 60) / 120, "uniform").pvalue > 0.001
    assert angles.abs().max() < 60.5


def test_translations_are_uniform_and_independent() -> None:
    moves = (centres(Translation(pixels=3)(blob().expand(1000, -1, -1, -1), generator())) - centres(blob())).numpy()
    for axis in range(2):
        assert scipy.stats.kstest((moves[:, axis] + 3) / 6, "uniform").pvalue > 0.001
    assert scipy.stats.spearmanr(moves[:, 0], moves[:, 1]).pvalue > 0.001


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("fill", ["zeros", "reflect"])
def test_quarter_turns_are_exact(size: int, fill: affine.Fill) -> None:
    """Counter-clockwise; four of them, or none, are the identity."""
    x = coloured(5, size=size)
    degrees = torch.tensor([0.0, 90.0, 180.0, -90.0, 360.0])
    out = affine.turned(x, degrees, torch.zeros(5, 2), "bilinear", fill)
    for image, before, turns in zip(out, x, (0, 1, 2, 3, 0), strict=True):
        torch.testing.assert_close(image, before.rot90(turns, (1, 2)), rtol=0, atol=1e-5)


@given(st.floats(-180, 180), st.sampled_from([(8, 8), (9, 12)]), st.integers(-3, 3), st.integers(-3, 3))
def test_turned_equals_torchvision(degrees: float, shape: tuple[int, int], right: int, down: int) -> None:
    """Rotation first, then translation; bilinear, black outside."""
    x = torch.rand(1, 3, *shape, generator=generator())
    found = affine.turned(x, torch.tensor([degrees]), torch.tensor([[right, down]]).float(), "bilinear", "zeros")
    expected = theirs.affine(
        x,
        angle=-degrees,
        translate=[right, down],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_what_lies_outside() -> None:
    """Moved by two pixels: black, or the mirror image of what is inside."""
    x = coloured(1, size=6)
    shift = torch.tensor([[2.0, 0.0]])
    for fill, column in (("zeros", torch.zeros(1, 3, 6)), ("reflect", x[:, :, :, 1])):
        out = affine.turned(x, torch.zeros(1), shift, "nearest", fill)  # type: ignore[arg-type]
        torch.testing.assert_close(out[..., 0], column, rtol=0, atol=1e-6)
        torch.testing.assert_close(out[..., 2:], x[..., :4], rtol=0, atol=1e-6)
    black = Rotation(degrees=180, resampling=Resampling(fill="zeros"))(torch.ones(50, 1, 9, 9), generator())
    mirrored = Rotation(degrees=180, resampling=Resampling(fill="reflect"))(torch.ones(50, 1, 9, 9), generator())
    assert black.min() == 0
    assert mirrored.min() > 0.999


def reference(x: Tensor, op: str, strength: float) -> Any:
    """torchvision's operation on images [B, C, H, W], with the strength that its policies give it."""
    if op.startswith("Shear"):
        degrees = math.degrees(math.atan(strength))
        shear = [degrees, 0.0] if op == "ShearX" else [0.0, degrees]
        return theirs.affine(x, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0.0, 0.0])
    if op.startswith("Translate"):
        by = [int(strength), 0] if op == "TranslateX" else [0, int(strength)]
        return theirs.affine(x, angle=0.0, translate=by, scale=1.0, shear=[0.0, 0.0])
    if op == "Rotate":
        return theirs.rotate(x, strength)
    factors = {"Brightness": theirs.adjust_brightness, "Color": theirs.adjust_saturation,
               "Contrast": theirs.adjust_contrast, "Sharpness": theirs.adjust_sharpness}  # fmt: skip
    if op in factors:
        return factors[op](x, 1 + strength)
    if op == "Posterize":
        return theirs.posterize(x, int(strength))
    if op == "Solarize":
        return theirs.solarize(x, strength)
    plain = {"AutoContrast": theirs.autocontrast, "Equalize": theirs.equalize, "Invert": theirs.invert}
    return plain[op](x) if op in plain else x


def close_but_for_ties(found: Tensor, expected: Tensor) -> bool:
    """All but a few pixels: where a place lies halfway between two, rounding decides which is nearest."""
    return bool(((found - expected).abs() < 1e-5).float().mean() > 0.96)


@pytest.mark.parametrize("op", image_ops.OPS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wide", [False, True])
def test_operations_equal_torchvisions(op: str, channels: int, wide: bool) -> None:
    """At every strength of either sign, each image with its own, among images with other operations."""
    number = image_ops.OPS.index(op)
    levels = image_ops.strengths(31, 11, 9, wide, torch.device("cpu"))[number]
    strengths = torch.cat([levels, -levels]) if number < image_ops.SIGNED else levels
    x = torch.cat([coloured(len(strengths), channels=channels, size=11)[..., :9]] * 2)
    ops = torch.tensor([number] * len(strengths) + [0] * len(strengths))
    out = image_ops.apply(x, ops, strengths.repeat(2))
    assert torch.equal(image_ops.apply(x, ops, strengths.repeat(2), grouped=False), out)
    assert torch.equal(out[len(strengths) :], x[len(strengths) :])
    for image, before, strength in zip(out, x, strengths.tolist(), strict=False):
        assert close_but_for_ties(image[None], reference(before[None], op, strength)), strength


def test_a_uniform_image_survives_every_operation() -> None:
    """No contrast to stretch, one bin in the histogram: no division by zero."""
    x = torch.full((len(image_ops.OPS), 3, 5, 5), 0.4)
    out = image_ops.apply(x, torch.arange(len(image_ops.OPS)), torch.full((len(image_ops.OPS),), 0.3))
    assert out.isfinite().all()
    assert image_ops.apply(x[:, :, :2, :2], torch.arange(len(x)), torch.zeros(len(x))).isfinite().all()


@pytest.mark.parametrize("size", [(32, 32), (8, 12)])
def test_strengths_equal_torchvisions(size: tuple[int, int]) -> None:
    spaces = [
        (False, 10, published.AutoAugment()._augmentation_space(10, size)),
        (False, 31, published.RandAugment()._augmentation_space(31, size)),
        (True, 31, published.TrivialAugmentWide()._augmentation_space(31)),
    ]
    for wide, bins, space in spaces:
        table = image_ops.strengths(bins, *size, wide, torch.device("cpu"))
        for op, (levels, signed) in space.items():
            scale = 255 if op == "Solarize" else 1
            expected = levels.float().expand(bins)
            if op.startswith("Translate"):  # whole pixels, and theirs are one less where 16 is stored as 15.999999
                expected = (expected + 1e-4).floor()
            torch.testing.assert_close(table[image_ops.OPS.index(op)] * scale, expected, rtol=1e-5, atol=1e-4)
            assert signed == (1 <= image_ops.OPS.index(op) < image_ops.SIGNED)


@pytest.mark.parametrize("policy", ["cifar10", "svhn", "imagenet"])
def test_autoaugment_draws_from_the_published_policy(policy: str) -> None:
    """Every result is one that a pair of the policy gives, in the right proportions."""
    x = coloured(1, size=8)
    space = published.AutoAugment()._augmentation_space(10, (8, 8))
    chances: Counter[bytes] = Counter()

    def outcomes(step: tuple[str, float, int | None]) -> list[tuple[float, str, float]]:
        op, likely, level = step
        levels, signed = space[op]
        strength = 0.0 if level is None else float(levels[level]) / (255 if op == "Solarize" else 1)
        happens = [(likely / 2, op, strength), (likely / 2, op, -strength)] if signed else [(likely, op, strength)]
        return [*happens, (1 - likely, "Identity", 0.0)]

    pairs = published.AutoAugment(AutoAugmentPolicy(policy)).policies
    assert len(pairs) == 25
    for pair in pairs:
        for (p, op, strength), (q, then, again) in itertools.product(*map(outcomes, pair)):
            result = reference(reference(x, op, strength), then, again)
            chances[result.mul(50).round().to(torch.uint8).numpy().tobytes()] += p * q / 25  # type: ignore[assignment]
    n = 4000
    out = AutoAugment(policy=policy)(x.expand(n, -1, -1, -1), generator())
    counts = Counter(image.mul(50).round().to(torch.uint8).numpy().tobytes() for image in out)
    known = {key: count for key, count in counts.items() if key in chances}
    assert sum(known.values()) > 0.85 * n  # a pixel at a tie makes another key
    for key, chance in chances.most_common(5):
        assert abs(counts[key] - n * chance) < 5 * math.sqrt(n * chance), chance


def test_randaugment_and_trivialaugment_draw_every_operation_alike() -> None:
    """Of 14 operations, with either sign where they have one; all strengths with the trivial one."""
    x, n = coloured(1, size=20) / 2, 5600
    table = image_ops.strengths(31, 20, 20, False, torch.device("cpu"))[:, 9].tolist()
    out = RandAugment(operations=1, level=9)(x.expand(n, -1, -1, -1), generator())
    counted = 0
    for number, op in enumerate(image_ops.OPS[:14]):
        signs = (1, -1) if 1 <= number < image_ops.SIGNED else (1,)
        for sign in signs:
            expected = reference(x, op, sign * table[number])[0]
            found = ((out - expected).abs() < 1e-5).flatten(1).float().mean(1) > 0.96
            counted += int(found.sum())
            if op not in ("Identity", "Solarize"):  # nothing here is bright enough for the threshold
                share = n / 14 / len(signs)
                assert abs(int(found.sum()) - share) < 5 * math.sqrt(share), (op, sign)
    assert counted == pytest.approx(n + 2 * n / 14, rel=0.02)  # those two give the same images
    wide = TrivialAugment()(x.expand(n, -1, -1, -1), generator())
    assert len({image.numpy().tobytes() for image in wide}) > 250
    assert 1 / 14 < (wide == x).flatten(1).all(1).float().mean() < 4 / 14


@pytest.mark.parametrize("augmentation", [AutoAugment(), RandAugment(), TrivialAugment()])
def test_policies_take_grey_or_colour(augmentation: Augmentation) -> None:
    with pytest.raises(UserError, match="1 or 3 channels, not 2"):
        augmentation(torch.rand(2, 2, 8, 8), generator())


@pytest.mark.parametrize("soft", [False, True])
def test_label_noise_keeps_the_true_label_with_its_probability(soft: bool) -> None:
    """1 - t + t / K, and each other class t / K."""
    n, classes, share = 20_000, 5, 0.4
    y = torch.full((n,), 3)
    seen = labels.noisy(labels.probabilities(y, classes, torch.float32) if soft else y, classes, share, generator())
    classes_seen = seen.argmax(1) if soft else seen
    expected = n * (share / classes + (1 - share) * (np.arange(classes) == 3))
    assert scipy.stats.chisquare(torch.bincount(classes_seen, minlength=classes).numpy(), expected).pvalue > 0.001
    if soft:
        assert torch.equal(seen, labels.probabilities(classes_seen, classes, torch.float32))
    assert torch.equal(labels.noisy(y, classes, 0.0, generator()), y)
