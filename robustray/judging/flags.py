"""What casts doubt on a judgement. AutoAttack logs a line about each; here they are fields that travel with the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import get_args

from robustray.attacks.versions import AttackName
from robustray.judging.plan import EARLY
from robustray.verdicts import CLEAN, SQUARE, Shard

MEANING: Mapping[str, str] = {
    "randomised": "the same image gets different answers: only version rand, which averages over passes, can judge it",
    "dynamic": "the model calls autograd in its forward pass: it may change while it is attacked",
    "probabilities": "the model gives probabilities, not logits: gradients through them vanish and attacks stop early",
    "gradients_lead_nowhere": "an attack that may change every pixel at will leaves most images: gradients are hidden",
    "vanished_gradients": "cross-entropy has no gradient in float32 at some images, and no attack did without it",
    "zero_gradients": "the gradient is exactly zero at images an attack starts from: gradient attacks are blind there",
    "unfinished_gradients": "the gradient is NaN or infinite at images attacks start from: gradient attacks are blind there",
    "square_beats_white_box": "Square, which sees no gradients, broke images that the gradient attacks before it left",
    "not_finite": "answers are NaN or infinite at some images; a NaN is counted as wrong",
    "batch_dependent": "the answer to an image depends on the images beside it: the numbers depend on the shard's size",
    "detached": "a mixture whose share is a constant to gradients: attacks do not see all of it",
    "outside": "adversarial images lie outside the threat or outside [0, 1]; they were not counted",
}
"""Flags by name. A flagged model is judged in full, shown with a mark, and neither prunes others nor is a member of the
frontier: its robust accuracy may be too high (see the flags document of AutoAttack)."""

WHITE_BOX = {EARLY, *get_args(AttackName)} - {SQUARE}
"""Stages that follow gradients."""
UPON_ANSWERS = {EARLY, *get_args(AttackName)} - {"apgd-ce"}
"""Stages that see a change of logits whatever their scale: those that climb differences of logits, and Square."""
SHARE = 0.002
"""Above this share of images, what Square breaks or where gradients are zero means something: AutoAttack's 0.2 %."""
CHANCE = 0.05


def found(shards: Iterable[Shard]) -> tuple[str, ...]:
    """The flags of a judgement, from what its shards say, in whatever order; sorted.

    AutoAttack warns when Square lowers robust accuracy by more than 0.2 points, and at any image whose gradient is zero; one
    that is not finite is none to climb either. One image of 400 is 0.25 points, so these counts must also be too many to be a
    share of 0.2 % by chance (binomial tail below 5 %): 3 images of 400, 29 of 10,000. An image whose gradient is zero in
    several attacks counts once, one that Square breaks only where gradient attacks had looked at it and all of them left it.
    Vanished gradients of cross-entropy count where no attack climbed anything else.
    """
    said: set[str] = set()
    stages: set[str] = set()
    images, vanished, unfinished, zero = 0, 0, 0, Counter[str]()
    left: set[int] = set()  # images a gradient attack had its chance with
    taken: set[int] = set()  # and broke
    by_square: set[int] = set()
    for shard in shards:
        stages.add(shard.attack)
        said.update(shard.info.get("flags", ()))
        vanished += int(shard.info.get("vanished_gradients", 0))
        unfinished += int(shard.info.get("unfinished_gradients", 0))
        zero[shard.attack] += int(shard.info.get("zero_gradients", 0))
        said.update(name for name in ("outside", "not_finite") if shard.info.get(name, 0))
        if shard.attack == CLEAN:
            images += len(shard.image)
        elif shard.attack == SQUARE:
            by_square.update(shard.image[shard.broken].tolist())
        elif shard.attack in WHITE_BOX:
            left.update(shard.survivors.tolist())
            taken.update(shard.image[shard.broken].tolist())
    counts = {
        "zero_gradients": max(zero.values(), default=0),
        "square_beats_white_box": len((left & by_square) - taken),
        "unfinished_gradients": unfinished,
        "vanished_gradients": 0 if stages & UPON_ANSWERS else vanished,
    }
    return tuple(sorted(said | {name for name, count in counts.items() if beyond_chance(count, images)}))


def told(name: str, shards: Iterable[Shard]) -> str:
    """A flag in words; where images that raise it are counted, with how many each stage met: `(62 in clean, 2 in apgd-t)`."""
    found = Counter[str]()
    for shard in shards:
        found[shard.attack] += int(shard.info.get(name, 0))
    counts = ", ".join(f"{count} in {stage}" for stage, count in found.items() if count)
    return MEANING[name] + (f" ({counts})" if counts else "")


def beyond_chance(count: int, images: int) -> bool:
    """Whether `count` of `images` is more than `SHARE`, and more than chance makes of that share."""
    from scipy.stats import binom

    return images > 0 and count > SHARE * images and float(binom.sf(count - 1, images, SHARE)) < CHANCE
