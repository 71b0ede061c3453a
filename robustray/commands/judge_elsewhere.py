"""What is asked of `judge` but is a measure: attacks that are not AutoAttack's, and training images."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Literal, get_args

from robustray.errors import UserError, nearest

_Judged = Literal["validation", "test"]


def judged_split(split: str | None, version: str | None, model: str, flags: Mapping[str, object]) -> _Judged | None:
    """The split to judge on, one that the judge has.

    Args:
        split, version: as the flags say, None where they do not. flags: the others that `measure` has too, by their words.

    Raises:
        UserError: it has not, or the version is an attack that is none of AutoAttack's; the message has the command that
            measures so.
    """
    from robustray.registry import parts

    attack = version if version in parts("attack") else None
    if attack is not None:
        raise UserError(
            f"--version {attack}: is no AutoAttack; accuracy under it is a measure: {_command(model, split, attack, flags)}"
        )
    if split == "train":
        raise UserError(
            "--split train: AutoAttack judges validation and test images; accuracy under an attack on training images is a "
            f"measure: {_command(model, split, None, flags)}"
        )
    for known in get_args(_Judged):
        if split == known:
            return known  # type: ignore[no-any-return]
    if split is None:
        return None
    raise UserError(f"--split: there is no split {split!r}; {nearest(split, get_args(_Judged))}")


def _command(model: str, split: str | None, attack: str | None, flags: Mapping[str, object]) -> str:
    measure = "robust_accuracy" if attack is None else f"{{name: robust_accuracy, attack: {attack}}}"
    words = ["python", "-m", "robustray", "measure", model or "MODEL", "--measures", measure]
    for flag, value in {"--split": split, **flags}.items():
        words += [] if value is None else [flag, str(value)]
    return shlex.join(words)
