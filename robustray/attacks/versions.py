"""AutoAttack's attacks and versions by name. Loads without torch."""

from __future__ import annotations

from typing import Literal

AttackName = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square"]
VersionName = Literal["standard", "plus", "rand", "apgd"]
VERSIONS: dict[str, tuple[AttackName, ...]] = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "apgd": ("apgd-ce", "apgd-t"),
}
"""Which attacks a version of the judge runs, in order. `standard` is AutoAttack; everything else carries its own name.

`plus` has more attacks and restarts; `rand` averages gradients over passes of a randomised model; `apgd` is the first half
of `standard`.
"""
Strength = Literal["standard", "plus", "rand"]


def strength(version: object) -> Strength:
    """Whose restarts, targets and averaging the attacks of a version have: the authors' settings of that name."""
    return version if version in ("plus", "rand") else "standard"


CLASSES_NEEDED = {"apgd-t": 4, "apgd-dlr": 3}
"""Attacks whose loss, a ratio of differences of logits, compares so many classes; the others need two."""
