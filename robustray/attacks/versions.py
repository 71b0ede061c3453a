"""AutoAttack's attacks and versions by name. Loads without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

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
_GRID = 5


def too_few(attack: str, classes: int, whose: str) -> str | None:
    """Why an attack cannot be asked about so many classes, which `whose` has; None where it can."""
    needed = CLASSES_NEEDED.get(attack, 2)
    return None if classes >= needed else f"{attack} compares {needed} classes, but {whose} has {classes}"


class Misfit(NamedTuple):
    """Why attacks cannot be asked, and which can in their place, nearest to those that were listed."""

    why: str
    instead: tuple[AttackName, ...]


def misfit(attacks: Sequence[str], norm: str, height: int, width: int, classes: int, whose: str) -> Misfit | None:
    """Which attacks of a list cannot be asked about images of this size and so many classes, which `whose` has; None where
    all can.

    In place of `apgd-t` comes `apgd-dlr` for three classes; with fewer than four, `fab` for `fab-t`, which aims at others.
    """
    why = [
        said
        for attack in attacks
        if (said := too_few(attack, classes, whose) or unfit(attack, norm, height, width)) is not None
    ]
    if not why:
        return None
    nearest: dict[str, str] = {"apgd-t": "apgd-dlr", "fab-t": "fab"} if classes < CLASSES_NEEDED["apgd-t"] else {}
    can = [
        name
        for attack in dict.fromkeys(nearest.get(attack, attack) for attack in attacks)
        for name in get_args(AttackName)
        if name == attack and too_few(name, classes, "") is None and unfit(name, norm, height, width) is None
    ]
    return Misfit("; ".join(why), tuple(can) or ("apgd-ce",))


def unfit(attack: str, norm: str, height: int, width: int) -> str | None:
    """Why an attack cannot begin on images of this size, in pixels; None where it can.

    In l2 and l1 the authors' Square begins with tiles whose side is a fifth of the height. They start (height mod 5) // 2
    pixels inside, as many as the whole height and width would hold: where that leads beyond an edge, the last tiles are cut
    off and their code fails. Tiles of one pixel are cut off without harm.
    """
    if attack != "square" or norm == "linf":
        return None
    if min(height, width) < _GRID:
        why = f"begins with a grid of {_GRID} x {_GRID} tiles"
    else:
        tile, lead = height // _GRID, height % _GRID // 2
        if tile == 1 or all(lead + side // tile * tile <= side for side in (height, width)):
            return None
        why = f"begins with tiles of {tile} x {tile} pixels that do not end at the images' edges"
    return f"{attack} in {norm} {why}, but images have {height} x {width} pixels"
