"""The verdict table: which attack broke which image, one small file per (attack, shard).

A judgement is a folder. `judgement.json` says what was judged (its fingerprint); `<attack>-<shard>.parquet` has a row per
image that the attack was run on. The pseudo-attack `clean` comes first and has a row per image of the shard; every later
attack has rows only for images that no earlier one broke. A file that is there is whole: it was renamed into place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.errors import UserError
from robustray.files import json_mapping, write_whole
from robustray.shards import Rows, Store

CLEAN = "clean"
PARTS = "parts"  # what breaks the parts of a mixture, tried on it
SQUARE = "square"
SQUARE_EARLY = "square early"  # among the stages beside the attacks: Square comes directly after the first APGD
QUICK = ("apgd-ce", "apgd-dlr")  # the attacks that are cheap beside `parts` and Square
_STANDS = 0.5  # a randomised model is wrong about an image that most of its passes get wrong
_NAME = "U64"
SCHEMA = pa.schema(
    [
        ("image", pa.int32()),  # row of the image in its split
        ("label", pa.int16()),
        ("predicted", pa.int16()),  # class the model gives the attacked image
        ("broken", pa.bool_()),  # no forward pass at x' gives the label: nothing is left for later attacks
        ("correct", pa.float32()),  # fraction of forward passes at x' that give the label: 0 or 1 unless randomised
    ]
)
STORE = Store(SCHEMA)


@dataclass(frozen=True)
class Shard:
    """What one attack did to one shard of images. All arrays are [n], in the order of `image`."""

    attack: str
    shard: int
    image: NDArray[np.int32]
    label: NDArray[np.int16]
    predicted: NDArray[np.int16]
    broken: NDArray[np.bool_]
    correct: NDArray[np.float32]
    info: Mapping[str, Any]  # seconds, seed, what the attack said

    @property
    def survivors(self) -> NDArray[np.int32]:
        """Images the attack did not break, for the next one."""
        return self.image[~self.broken]


def fingerprint(parts: Mapping[str, Any]) -> str:
    """Twelve hex digits over everything a verdict depends on; another fingerprint is another judgement."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def judgement_path(root: Path, split: str, version: str, parts: Mapping[str, Any]) -> Path:
    """Where the folder of one judgement lies under `root`."""
    return root / f"{split}-{version}-{fingerprint(parts)}"


def judgement_folder(root: Path, split: str, version: str, parts: Mapping[str, Any]) -> Path:
    """The folder of one judgement under `root`, made with its `judgement.json` when it is not there.

    What is above `root` is not made: where that is gone, so is the storage that it lay on.
    """
    folder = judgement_path(root, split, version, parts)
    if not (folder / "judgement.json").exists():
        root.mkdir(exist_ok=True)
        folder.mkdir(exist_ok=True)
        write_whole(folder / "judgement.json", json.dumps(parts, indent=2, sort_keys=True))
    return folder


def shard_path(folder: Path, attack: str, shard: int) -> Path:
    """Where the verdicts of one (attack, shard) lie."""
    return STORE.path(folder, attack, shard)


def write_shard(folder: Path, verdicts: Shard) -> None:
    """Writes one shard's verdicts, whole or not at all."""
    columns = {name: getattr(verdicts, name) for name in SCHEMA.names}
    STORE.write(folder, Rows(verdicts.attack, verdicts.shard, columns, verdicts.info))


def read_shard(folder: Path, attack: str, shard: int) -> Shard | None:
    """One shard's verdicts, or None where the attack has not been run on it (or its file is damaged: it is run again)."""
    rows = STORE.read(folder, attack, shard)
    return None if rows is None else Shard(attack, shard, **rows.columns, info=rows.info)


def stages(folder: Path) -> tuple[str, ...]:
    """What a judgement runs after `clean`, in order, as its `judgement.json` says.

    Raises:
        UserError: there is no readable judgement in the folder.
    """
    try:
        parts = json_mapping(folder / "judgement.json")
        return in_order(parts.get("extras", ()), parts["attacks"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder}: no judgement here (no readable judgement.json)") from None


def in_order(extras: Sequence[str], attacks: Sequence[str]) -> tuple[str, ...]:
    """What is run after `clean`: the stages beside the attacks first, but `parts` only after a first, untargeted APGD.

    That is 100 steps. Attacks on parts are thousands, and needless for a mixture that APGD shows to be dominated, or at images
    that it breaks where a part is no other mixture's. Where the extras say so, Square stands there too (see `before`).
    """
    first = [stage for stage in extras if stage not in (PARTS, SQUARE_EARLY)]
    quick = list(attacks[:1]) if attacks and attacks[0] in QUICK else []
    late = [SQUARE] if SQUARE_EARLY in extras else []
    late += [stage for stage in extras if stage == PARTS]
    return (*first, *quick, *late, *(attack for attack in attacks[len(quick) :] if attack not in late))


def may_be_early(attacks: Sequence[str]) -> bool:
    """Whether Square can be asked sooner than it is listed, directly after a first APGD."""
    return bool(attacks) and attacks[0] in QUICK and SQUARE in attacks[2:]


def before(stages: Sequence[str], stage: str, extras: Sequence[str] = ()) -> tuple[str, ...]:
    """The stages whose broken images a stage is not asked about: all that come before it.

    But an early Square takes nothing from the attacks after it. So these are asked about the images they would have been asked
    about without it, with the same random numbers, and their verdicts are the same to the bit; and what Square broke and
    they left is known, which is what tells a model that hides its gradients.
    """
    earlier = stages[: stages.index(stage)]
    return tuple(each for each in earlier if each != SQUARE or SQUARE_EARLY not in extras)


def read_shards(folder: Path, attacks: Sequence[str]) -> Iterator[Shard]:
    """Every shard that is there, attack by attack in the given order, `clean` first."""
    for attack in (CLEAN, *attacks):
        for number in STORE.shards(folder, attack):
            shard = read_shard(folder, attack, number)
            if shard is not None:
                yield shard


@dataclass(frozen=True)
class Verdicts:
    """A judgement, image by image. Arrays are [N], in the order of `image`.

    `broken_by` names the attack that broke the image: `clean` where it is misclassified as it is, "" where it stands.
    `clean_correct` and `robust_correct` say how often it is classified correctly, as it is and under the worst attack:
    0 or 1, but fractions of forward passes for a randomised model, which has no single answer. Counts of an unfinished
    judgement are bounds: robust accuracy can only fall.
    """

    image: NDArray[np.int32]
    label: NDArray[np.int16]
    broken_by: NDArray[np.str_]
    clean_correct: NDArray[np.float64]
    robust_correct: NDArray[np.float64]

    @classmethod
    def read(cls, folder: Path, attacks: Sequence[str] | None = None) -> Verdicts:
        """Collects the shards of a judgement folder. Empty where nothing has been judged.

        Args:
            attacks: which attacks count; all that were run when None.

        Raises:
            UserError: `attacks` is None, and the folder does not say which there are.
        """
        return cls.of(list(read_shards(folder, stages(folder) if attacks is None else attacks)))

    @classmethod
    def of(cls, shards: Sequence[Shard]) -> Verdicts:
        """Puts shards together, in the order of their attacks. The clean shards say which images there are."""
        clean = [shard for shard in shards if shard.attack == CLEAN]
        image = np.concatenate([shard.image for shard in clean]) if clean else np.array([], np.int32)
        label = np.concatenate([shard.label for shard in clean]) if clean else np.array([], np.int16)
        order = np.argsort(image, kind="stable")
        image, label = image[order], label[order]
        broken_by = np.full(len(image), "", dtype=_NAME)
        right = {True: np.ones(len(image)), False: np.ones(len(image))}
        for shard in shards:
            at = np.searchsorted(image, shard.image)
            for stage in {shard.attack == CLEAN, False}:
                right[stage][at] = np.minimum(right[stage][at], shard.correct)
            fallen = (shard.correct < _STANDS) & (broken_by[at] == "")
            broken_by[at[fallen]] = shard.attack
        return cls(image, label, broken_by, right[True], right[False])

    def __len__(self) -> int:
        return len(self.image)

    @property
    def clean(self) -> NDArray[np.bool_]:
        """[N] classified correctly as they are (by most passes of a randomised model)."""
        return np.asarray(self.clean_correct >= _STANDS)

    @property
    def robust(self) -> NDArray[np.bool_]:
        """[N] no attack broke them."""
        return np.asarray(self.robust_correct >= _STANDS)

    @property
    def clean_accuracy(self) -> float:
        """Fraction of images classified correctly; the mean over passes for a randomised model."""
        return float(self.clean_correct.mean()) if len(self) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """Fraction of images that stand; the mean over passes for a randomised model."""
        return float(self.robust_correct.mean()) if len(self) else float("nan")
