"""Stratified lists of images that never change: not with a seed, a version of numpy, or a machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from robustray.errors import UserError

Indices = NDArray[np.int64]


def named(rows: Indices) -> str:
    """What names a list of rows in records: the SHA-256 of its numbers."""
    return hashlib.sha256(rows.tobytes()).hexdigest()


def stratified(labels: NDArray[np.int64], count: int, purpose: str) -> tuple[Indices, Indices]:
    """Splits rows into `count` chosen ones, classes in proportion, and the rest.

    The order within a class comes from a hash of (purpose, row), not from a generator: generators may change their
    streams between versions, and a benchmark's split must not.

    Args:
        labels: [N] class of each row.
        count: how many rows to choose, at most N.
        purpose: names the split; another purpose gives an independent split.

    Returns:
        (chosen [count], rest [N - count]), each in ascending order.

    Raises:
        UserError: there are fewer than `count` rows.
    """
    total = len(labels)
    if count > total:
        raise UserError(f"{count} images asked for the {purpose} list, but there are {total}")
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * (count / max(total, 1))
    quota = np.floor(exact).astype(np.int64)
    for index in np.argsort(quota - exact, kind="stable")[: count - int(quota.sum())]:
        quota[index] += 1  # largest remainders first
    chosen: list[int] = []
    for label, share in zip(classes, quota, strict=True):
        rows = np.flatnonzero(labels == label)
        chosen += sorted(rows.tolist(), key=lambda row: hashlib.sha256(f"{purpose}/{row}".encode()).digest())[:share]
    picked = np.array(sorted(chosen), dtype=np.int64)
    return picked, np.setdiff1d(np.arange(total, dtype=np.int64), picked)
