"""What a judgement consists of: which images, in which shards, by which stages. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustray.attacks.threats import Threat
from robustray.attacks.versions import VERSIONS, Strength, strength
from robustray.data.splits import Indices, named, stratified
from robustray.judge import Judge
from robustray.verdicts import CLEAN, PARTS, SQUARE_EARLY, before, in_order, judgement_folder, may_be_early

SHARD = 500
"""Images per shard, unless a judgement says otherwise. The attack's batch is what is left of one shard."""
SEED = 0
JOINED, CLAIMED, EARLY = "joined", "claimed", "early"
"""Stages that are no attack of AutoAttack: images others made, verdicts others claim, breaks found in low precision, images
that break what a mixture is made of."""
PASSES = 20
"""Forward passes that a randomised model's answer is averaged over, as many as AutoAttack's `rand` averages gradients."""


@dataclass(frozen=True)
class Plan:
    """One model judged on one list of images: shards, stages in order, and a fingerprint over all they depend on."""

    split: str
    version: str
    attacks: tuple[str, ...]
    strength: Strength  # whose restarts, targets and averaging the attacks have
    threat: Threat
    rows: Indices  # rows of the split, ascending
    shard_size: int
    seed: int
    parts: Mapping[str, Any]  # the fingerprint's content
    extras: tuple[str, ...] = ()  # stages beside the attacks: joined, claimed, early, parts; or that Square comes early
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # what joined and claimed read

    @classmethod
    def of(
        cls,
        judge: Judge,
        weights: str,
        split: Literal["validation", "test"],
        *,
        shard_size: int = SHARD,
        model: Mapping[str, Any] | None = None,
        files: Mapping[str, tuple[Path, ...]] | None = None,
        mixture: bool = False,
        square_early: bool = False,
    ) -> Plan:
        """The plan for a model by the hash of its weights. For the test split this reads the test labels.

        The seed and the shards are constants, so verdicts are a function of the fingerprint. It holds the family of the
        version, not its attacks: what an attack breaks depends on the attacks before it only, so a judgement by the first
        attacks of `standard` is the beginning of one by all of them, in the same folder.

        Args:
            model: what else tells this model from others; equal weights need not be equal functions.
            files: adversarial images (`joined`) and state files (`claimed`) of others.
            mixture: whether the model has parts that are attacked in its place before it is (`parts`).
            square_early: whether Square comes directly after the first APGD, where it can. The attacks after it are asked what
                they are asked without it, and what stands in the end is what all of them left.
        """
        rows, files = _rows(judge, split, judge.data.stamps(split)), dict(files or {})
        power = strength(judge.version)
        name = family(judge.attacks, power)
        others: dict[str, Any] = {CLAIMED: files.get(CLAIMED), JOINED: files.get(JOINED), EARLY: judge.accelerated}
        others |= {PARTS: mixture, SQUARE_EARLY: square_early and may_be_early(judge.attacks)}
        extras = tuple(stage for stage, asked in others.items() if asked)
        parts = {
            "weights": weights,
            "data": judge.data.identity(split),
            "rows": named(rows),
            "split": split,
            "threat": judge.threat.model_dump(),
            "family": name,
            "attacks": list(VERSIONS.get(name, judge.attacks)),
            "extras": list(extras),
            "seed": SEED,
            "dtype": "float32",
            "shard": shard_size,
            "packages": {name: _version(name) for name in ("pyautoattack", "torch")},
        }
        if files:
            parts["files"] = {stage: [_digest(path) for path in paths] for stage, paths in files.items()}
        if model:
            parts["model"] = dict(model)
        shown = judge.version_name
        return cls(split, shown, judge.attacks, power, judge.threat, rows, shard_size, SEED, parts, extras, files)

    @property
    def stages(self) -> tuple[str, ...]:
        """Everything that may take an image out, in order; `clean` first."""
        return (CLEAN, *in_order(self.extras, self.attacks))

    @property
    def passes(self) -> int:
        """Forward passes per verdict: one, unless the model is taken for randomised."""
        return PASSES if self.strength == "rand" else 1

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.rows) // self.shard_size)

    def shard(self, number: int) -> Indices:
        """Rows of one shard."""
        return self.rows[number * self.shard_size : (number + 1) * self.shard_size]

    def ahead(self, stage: str) -> bool:
        """Whether a stage may be begun before the one in front of it ends, which hardly ever breaks what APGD did not.

        FAB and Square are two thirds of AutoAttack's time. Square's verdicts stand if FAB broke nothing of the shard; else
        Square is run again.
        """
        before = self.before(stage)
        return bool(before) and before[-1] in ("fab", "fab-t")

    @property
    def workers_per_shard(self) -> int:
        """How many processes one shard can keep busy."""
        return 2 if any(map(self.ahead, self.stages)) else 1

    def before(self, stage: str) -> tuple[str, ...]:
        """The stages whose broken images one is not asked about: those that come before it, but for an early Square."""
        return before(self.stages, stage, self.extras)

    def folder(self, root: Path) -> Path:
        """The judgement's folder under `root`, made when it is not there."""
        return judgement_folder(root, self.split, str(self.parts["family"]), self.parts)


def family(attacks: tuple[str, ...], power: Strength) -> str:
    """The named version that begins with these attacks, else their own name: judgements of one family share a folder."""
    for name in ("standard", "plus", "rand"):
        if strength(name) == power and VERSIONS[name][: len(attacks)] == attacks:
            return name
    return "+".join(attacks)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _version(name: str) -> str:
    """Of an installed package: looked up once, for a sweep asks with every shard, and each look reads a file of metadata."""
    return version(name)


@lru_cache(maxsize=4)
def _rows(judge: Judge, split: str, stamps: Hashable) -> Indices:
    if split == "validation":
        return judge.lists()[0]
    labels, wanted = judge.data.load("test").labels, judge.images.test
    if wanted == "all":
        return np.arange(len(labels), dtype=np.int64)
    return stratified(labels, wanted, "judge test")[0]
