"""What a judgement consists of: which images, in which shards, by which attacks. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from robustray.data.splits import Indices, stratified
from robustray.trial import Judge
from robustray.verdicts import judgement_folder

SHARD = 500
"""Images per shard, unless a judgement says otherwise. The attack's batch is what is left of one shard."""
SEED = 0


@dataclass(frozen=True)
class Plan:
    """One model judged on one split: fixed image lists, attacks in order, and a fingerprint over all it depends on."""

    split: Literal["validation", "test"]
    version: str
    attacks: tuple[str, ...]
    rows: Indices  # rows of the split, ascending
    shard_size: int
    seed: int
    parts: Mapping[str, Any]  # the fingerprint's content

    @classmethod
    def of(cls, judge: Judge, weights: str, split: Literal["validation", "test"], *, shard_size: int = SHARD) -> Plan:
        """The plan for a model by the hash of its weights. For the test split this reads the test labels.

        The seed and the shards are constants, so verdicts are a function of the fingerprint.
        """
        rows = _rows(judge, split)
        parts = {
            "weights": weights,
            "data": judge.data.identity(split),
            "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
            "split": split,
            "threat": judge.threat.model_dump(),
            "version": judge.version_name,
            "attacks": list(judge.attacks),
            "seed": SEED,
            "dtype": "float32",
            "shard": shard_size,
            "packages": {name: version(name) for name in ("pyautoattack", "torch")},
        }
        return cls(split, judge.version_name, judge.attacks, rows, shard_size, SEED, parts)

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.rows) // self.shard_size)

    def shard(self, number: int) -> Indices:
        """Rows of one shard."""
        return self.rows[number * self.shard_size : (number + 1) * self.shard_size]

    def folder(self, root: Path) -> Path:
        """The judgement's folder under `root`, made when it is not there."""
        return judgement_folder(root, self.split, self.version, self.parts)


@lru_cache(maxsize=4)
def _rows(judge: Judge, split: str) -> Indices:
    if split == "validation":
        return judge.lists()[0]
    labels, wanted = judge.data.load("test").labels, judge.images.test
    if wanted == "all":
        return np.arange(len(labels), dtype=np.int64)
    return stratified(labels, wanted, "judge test")[0]
