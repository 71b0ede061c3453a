"""`sweep.yaml`: what a results folder is the result of, and whether it may be continued."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from robustray._files import write_whole
from robustray.errors import UserError
from sweeps.space import Sweep

FILE = "sweep.yaml"
_PACKAGES = ("robustray", "torch", "torchvision", "ray", "optuna", "pyautoattack", "numpy", "scikit-learn")


def prepare(sweep: Sweep, folder: Path, *, fresh: bool) -> Path | None:
    """Makes a sweep's folder ready: new, or checked to hold the same sweep.

    Args:
        fresh: rename a folder that is there, and start anew.

    Returns:
        Where the old folder went with `fresh`, else None.

    Raises:
        UserError: the folder holds another sweep; the message says what differs and what to do.
    """
    moved = _set_aside(folder) if fresh else None
    path = folder / FILE
    known = _read(path)
    if known is not None:
        changes = sweep.difference(known.get("space", {}))
        if changes:
            shown = "; ".join(changes[:5]) + (f" and {len(changes) - 5} more" if len(changes) > 5 else "")
            raise UserError(
                f"{folder}: holds another sweep of this name ({shown}); give the new one another name, or --fresh to rename "
                "the old folder"
            )
        known["space"] = sweep.resolved()  # trials and resources may differ
        known["resumed"] = [*known.get("resumed", []), _now()]
    elif (folder / "study.journal").exists():
        raise UserError(f"{folder}: has a record but no readable {FILE}; put it back, or --fresh to rename the folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, yaml.safe_dump(known or _describe(sweep), sort_keys=False, allow_unicode=True))
    return moved


def _set_aside(folder: Path) -> Path | None:
    if not folder.exists():
        return None
    moved = folder.with_name(f"{folder.name}.{datetime.now():%Y-%m-%dT%H-%M-%S}")
    folder.rename(moved)
    return moved


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({str(error).splitlines()[0]}); put it back, or --fresh") from None
    if not isinstance(known, dict):
        raise UserError(f"{path}: not a description of a sweep; put it back, or --fresh to rename the folder")
    return known


def _describe(sweep: Sweep) -> dict[str, Any]:
    return {
        "space": sweep.resolved(),
        "space_hash": sweep.space_hash,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _commit(),
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}",
        "created": _now(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "resumed": [],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout this file lies in, `+changes` where it is not clean; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603, S607

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != here.parent.resolve():
            return None  # installed inside somebody else's repository
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None
