"""What torchvision knows of published data sets: where to fetch them, and their checksums."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchvision import datasets  # type: ignore[import-untyped]
from torchvision.datasets.utils import check_integrity  # type: ignore[import-untyped]

from robustray.errors import UserError


def download(dataset: str, folder: Path) -> None:
    """Fetches a data set with its own class in torchvision, which checks what comes, and leaves what is there.

    Raises:
        UserError: it could not be fetched.
    """
    cls: Any = getattr(datasets, dataset)
    try:
        if hasattr(cls, "split_list"):
            for split in ("train", "test"):
                cls(folder, split=split, download=True)
        else:
            cls(folder, download=True)
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: {dataset} could not be fetched ({reason}); the same command tries again") from None


def altered(dataset: str, files: Iterable[Path]) -> tuple[list[str], list[str]]:
    """Names of those files whose MD5 is known: (as published, otherwise)."""
    known = _checksums(getattr(datasets, dataset))
    same: list[str] = []
    other: list[str] = []
    for file in files:
        if file.name in known:
            (same if check_integrity(file, known[file.name]) else other).append(file.name)
    return same, other


def _checksums(cls: Any) -> dict[str, str]:
    if hasattr(cls, "resources"):
        return dict(cls.resources)
    if hasattr(cls, "split_list"):
        return {name: md5 for _, name, md5 in cls.split_list.values()}
    return {cls.filename: cls.tgz_md5, **dict([*cls.train_list, *cls.test_list])}
