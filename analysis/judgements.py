"""Judgements on disk: the verdicts in them, what they were judged by, and the device time they took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.sheet import threat_in_words
from robustray.errors import UserError
from robustray.files import from_json
from robustray.judging import flags
from robustray.verdicts import CLEAN, Shard, Verdicts, read_shards, stages
from sweeps import record
from sweeps.record import Snapshot
from sweeps.standing import TEST

PARTS, RESULT = "judgement.json", "result.json"
IMAGES = ("data", "split", "rows", "images", "threat")  # of judgement.json: what trials of one sweep have in common
ATTACKS = ("family", "stages", "dtype")
_NAMES = {"rows": "list of images", "family": "version", "stages": "attacks"}
_OFF = 0.5  # images by which verdicts and record may differ: sums of a randomised model's fractions are rounded


@dataclass(frozen=True)
class Judgement:
    """One model's judgement by the attacks that are finished on all its images."""

    folder: Path
    parts: Mapping[str, Any]  # what its verdicts depend on; `stages` are the finished attacks, in order
    verdicts: Verdicts
    flags: tuple[str, ...] = ()  # see robustray.judging.flags.MEANING


def read(folder: Path) -> Judgement:
    """A judgement.

    Raises:
        UserError: there is none in the folder, or no attack is finished.
    """
    named = stages(folder)
    shards = list(read_shards(folder, named))
    finished = _finished(shards, named)
    if not finished:
        raise UserError(f"{folder}: no attack is finished on all images; judge the model to the end")
    parts = from_json((folder / PARTS).read_text(encoding="utf-8")) | {"stages": finished}
    counted = [shard for shard in shards if shard.attack in (CLEAN, *finished)]
    return Judgement(folder, parts, Verdicts.of(counted), flags.found(counted))


def _finished(shards: Iterable[Shard], named: Iterable[str]) -> list[str]:
    """The attacks, up to the first that lacks verdicts on images that those before it left standing."""
    found = {(shard.attack, shard.shard): shard for shard in shards}
    standing = {number: shard.survivors for (attack, number), shard in found.items() if attack == CLEAN}
    finished: list[str] = []
    for attack in named if standing else ():
        for number, left in standing.items():
            shard = found.get((attack, number))
            if shard is None or not np.isin(left, shard.image).all():  # after an early Square they are asked about more
                return finished
            standing[number] = left[~np.isin(left, shard.image[shard.broken])]
        finished.append(attack)
    return finished


def find(path: Path, split: str) -> Path:
    """The judgement a path means: its own folder or a file in it, a model's folder with one judgement on this split, or the
    folder of a sweep's trial, which its record says the judgement of.

    Raises:
        UserError: there is none, or more than one.
    """
    folder = path.parent if path.name in (PARTS, RESULT) and path.is_file() else path
    if (folder / PARTS).is_file():
        return folder
    found = sorted(file.parent for at in (folder, folder / "judgements") for file in at.glob(f"{split}-*/{PARTS}"))
    if not found and (judged := _of_trial(folder, split)) is not None:
        return judged
    if not found:
        raise UserError(f"{folder}: neither a sweep nor a judgement on {split}; a judgement's folder holds {PARTS}")
    if len(found) > 1:  # a sweep leaves one at its first look where a model turns out to be judged in another way
        found = [each for each in found if _begun(each)] or found
    if len(found) > 1:
        raise UserError(f"{folder}: has {len(found)} judgements on {split}; name one, such as {found[0]}")
    return found[0]


def _of_trial(folder: Path, split: str) -> Path | None:
    """The judgement of a sweep's trial; None where the folder is none, or it was not judged in full."""
    whole = folder.resolve()
    sweep = whole.parent.parent
    if whole.parent.name != "trials" or not whole.name.isdecimal() or not (sweep / record.JOURNAL).is_file():
        return None
    judged = record.read(sweep).judged.get((int(whole.name), split))
    if judged is None:
        told = "; test is read for members alone: try --split validation" if split == TEST else ""
        raise UserError(f"{folder}: this trial is not judged in full on {split}{told}")
    return sweep / judged.folder


def _begun(folder: Path) -> bool:
    """Whether an attack is finished on all images."""
    try:
        return bool(read(folder))
    except UserError:
        return False


def of_sweep(folder: Path, snapshot: Snapshot, split: str) -> dict[int, Judgement]:
    """Verdicts of every trial judged in full on a split, by number, all on the same images.

    Raises:
        UserError: verdicts are missing or damaged, or two trials were judged on other images or under another threat.
    """
    result: dict[int, Judgement] = {}
    for (number, on), judged in sorted(snapshot.judged.items()):
        if on != split:
            continue
        found = result[number] = read(folder / judged.folder)
        counts = [found.verdicts.clean_correct.sum(), found.verdicts.robust_correct.sum()]
        recorded = [judged.clean_correct, judged.robust]
        if len(found.verdicts) != judged.images or np.abs(np.subtract(counts, recorded)).max() > _OFF:
            raise UserError(
                f"{found.folder}: verdicts are missing or damaged, {counts[1]:g} of {len(found.verdicts)} images stand and "
                f"the record says {judged.robust:g} of {judged.images}; restore the folder's files"
            )
    alike({f"trial {number}": judgement for number, judgement in result.items()}, IMAGES)
    return result


def alike(judgements: Mapping[str, Judgement], parts: Iterable[str] = (*IMAGES, *ATTACKS)) -> None:
    """Looks whether models were judged alike.

    Args:
        judgements: by what messages call them.
        parts: what must be the same, besides images and labels.

    Raises:
        UserError: they were not; the message says what differs, and what each was judged by.
    """
    for (first, one), (name, other) in pairwise(judgements.items()):
        for part in parts:
            here, there = one.parts.get(part), other.parts.get(part)
            if part == "stages" and set(here or ()) == set(there or ()):  # what all of them left has no order
                continue
            if here != there:
                raise UserError(
                    f"{first} and {name} cannot be compared, they differ in {_NAMES.get(part, part)}: {_in_words(here)} and "
                    f"{_in_words(there)}; judge both alike"
                )
        for values in ("image", "label"):
            if not np.array_equal(getattr(one.verdicts, values), getattr(other.verdicts, values)):
                raise UserError(f"{first} and {name} cannot be compared, they differ in {values}s; judge both alike")


def device_seconds(folder: Path, snapshot: Snapshot) -> dict[str, float]:
    """Device time spent on judging, by split: what the record has of finished judgements, and every shard of the others.

    Trials that were skipped after some attacks, that failed, or that are still being judged have shards the record does
    not know of.
    """
    seconds: dict[str, float] = {"validation": 0.0, "test": 0.0}
    for (_, split), judged in snapshot.judged.items():
        seconds[split] = seconds.get(split, 0.0) + judged.seconds
    recorded = {(folder / judged.folder).resolve() for judged in snapshot.judged.values()}
    for shard in (folder / "judgements").glob("*/*/*.parquet"):
        if shard.parent.resolve() not in recorded:
            split = shard.parent.name.partition("-")[0]
            seconds[split] = seconds.get(split, 0.0) + _seconds(shard)
    return seconds


def _seconds(shard: Path) -> float:
    """What a shard's file says it took, read without its rows; nothing where it is damaged, or no shard."""
    try:
        with shard.open("rb") as file:  # pyarrow takes no name that is not UTF-8
            metadata = pq.read_schema(file).metadata or {}
        return float(from_json(metadata[b"robustray"])["seconds"])
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError):
        return 0.0


def _in_words(part: Any) -> str:
    """A part of a judgement in a few words."""
    if isinstance(part, Mapping):
        return threat_in_words(part)
    if isinstance(part, list):
        return "+".join(map(str, part))
    text = "not said" if part is None else str(part)
    return text if len(text) < 64 else text[:12]  # a hash
