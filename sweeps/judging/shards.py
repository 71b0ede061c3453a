"""Where verdicts are read from: the files that workers write, or memory where nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from robustray.verdicts import Shard, read_shard, shard_path


class Shards(Protocol):
    """Verdicts by folder of a judgement, stage and shard."""

    def read(self, folder: Path, stage: str, shard: int) -> Shard | None:
        """One shard's verdicts, None where there are none."""
        ...


class Files:
    """The shards on disk."""

    def read(self, folder: Path, stage: str, shard: int) -> Shard | None:
        return read_shard(folder, stage, shard) if shard_path(folder, stage, shard).exists() else None


class Memory:
    """Shards that were put in, for simulations and tests."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, str, int], Shard] = {}

    def put(self, folder: Path, shard: Shard) -> None:
        """Takes in what a stage did."""
        self._kept[folder, shard.attack, shard.shard] = shard

    def read(self, folder: Path, stage: str, shard: int) -> Shard | None:
        return self._kept.get((folder, stage, shard))


FILES = Files()
