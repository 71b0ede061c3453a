"""Whether a model does better than guessing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from robustray.verdicts import CLEAN, Shard

FEW = 20
"""Images below which nothing is said: a good model may lose to the most frequent class by chance."""


def warnings(shards: Iterable[Shard]) -> list[str]:
    """One line where clean accuracy is not above the share of the most frequent class, which one answer for all would reach.

    Args:
        shards: of a judgement; those of other stages than `clean` are passed over.
    """
    clean = [shard for shard in shards if shard.attack == CLEAN]
    images = sum(len(shard.image) for shard in clean)
    if images < FEW:
        return []
    right = sum(float(shard.correct.sum()) for shard in clean)
    most = int(np.bincount(np.concatenate([shard.label for shard in clean])).max())
    if right > most or most == images:  # images of one class: nothing to choose from
        return []
    return [
        f"clean accuracy of {right / images:.2%} is no better than guessing ({most / images:.2%}): "
        "are pixels in [0, 1] what the model wants, and are its classes in the same order as the data's?"
    ]
