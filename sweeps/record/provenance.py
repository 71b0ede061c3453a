"""`sweep.yaml`: what a results folder is the result of, and whether it may be continued."""

from __future__ import annotations

import platform
import shlex
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from robustray import plugins
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.options.places import where_it_was
from robustray.options.recorded import recorded
from robustray.plain import command
from robustray.trial import TrialConfig
from sweeps.record.facts import TrialRecord
from sweeps.record.lock import INSIDE
from sweeps.space import Sweep
from sweeps.space.space import changes, of_before

FILE = "sweep.yaml"
_LOOKED_AT: tuple[Literal["train", "validation"], ...] = ("train", "validation")  # test is not even hashed
_PACKAGES = ("robustray", "torch", "torchvision", "ray", "optuna", "pyautoattack", "numpy", "scikit-learn")


def prepare(sweep: Sweep, folder: Path, *, fresh: bool) -> Path | None:
    """Makes a sweep's folder ready: new, or checked to hold the same sweep. The caller holds the folder's lock.

    Args:
        fresh: rename a folder that is there, and start anew.

    Returns:
        Where the old folder went with `fresh`, else None.

    Raises:
        UserError: the folder holds another sweep, one on other images, or something else; the message says what differs and
            what to do.
    """
    moved = _set_aside(folder) if fresh else None
    path = folder / FILE
    if (before := known(sweep, folder)) is not None:
        about = {**before, "space": sweep.resolved()}  # trials and resources may differ
    else:
        about = {
            "space": sweep.resolved(),
            "space_hash": sweep.space_hash,
            "data": images(sweep),
            "created": _now(),
            **_circumstances(),
            "resumed": [],
        }
    folder.mkdir(parents=True, exist_ok=True)
    plugins.keep(sweep.plugins, folder)
    _write(path, about)
    return moved


def known(sweep: Sweep, folder: Path) -> dict[str, Any] | None:
    """What is written down of a sweep in its folder, which may be continued; None where there is nothing. Writes nothing.

    Raises:
        UserError: as `prepare`.
    """
    _look(folder)
    before = _read(folder / FILE)
    if before is not None:
        found = sweep.difference(before.get("space", {}))
        if before.get("data", images(sweep)) != images(sweep):
            found.append("the images are others than before")
        if found:
            raise UserError(
                f"{folder}: holds another sweep of this name ({_listed(found)}); give the new one another name, or --fresh to "
                "rename the old folder"
            )
    elif (folder / "study.journal").exists():
        raise UserError(f"{folder}: has a record but no readable {FILE}; put it back, or --fresh to rename the folder")
    return before


def settled(sweep: Sweep, folder: Path, *, fresh: bool) -> Sweep:
    """A sweep with what its space leaves to us decided: as the folder was begun, where there is one to go on with.

    Args:
        fresh: whether the folder is going to be a new one.
    """
    known = None if fresh or not folder.is_dir() else _read(folder / FILE)
    before = None if known is None else known.get("space")
    return sweep.settled(before if isinstance(before, dict) else None)


def sweep_in(folder: Path) -> Sweep:
    """The sweep whose results a folder holds, as it was last run.

    Raises:
        UserError: the folder holds none, or one of a version that had other options.
    """
    known = _read(folder / FILE)
    if known is None or not (folder / "study.journal").exists():
        raise UserError(f"{folder}: holds no sweep; name the folder that run_sweep.py made, RESULTS/NAME")
    space = known.get("space")
    if isinstance(space, dict) and space.get("plugins"):
        plugins.recorded(space["plugins"], folder)
    try:
        return Sweep.model_validate(of_before(space) if isinstance(space, dict) else space)
    except ValidationError as error:
        raise UserError(f"{folder / FILE}: is of a version with other options ({str(error).splitlines()[0]})") from None


def images(sweep: Sweep) -> dict[str, str]:
    """Which images a sweep trains and chooses by, as hashes or versions."""
    return {split: sweep.judge.data.identity(split) for split in _LOOKED_AT}


def images_of(folder: Path) -> dict[str, str] | None:
    """The same of a folder's sweep, as it was when it began; None where that was not written down."""
    return (_read(folder / FILE) or {}).get("data")


def again(folder: Path, *more: str) -> str:
    """The command of run_sweep.py that goes on with a folder's sweep, as a shell takes it: the last that did, else one in which
    the file is a stand-in.

    Args:
        more: words that it is to have besides.
    """
    known = _read(folder / FILE) or {}
    resumed = known.get("resumed")
    lives = [known, *(resumed if isinstance(resumed, list) else [])]
    said = [words for life in lives if isinstance(life, dict) and (words := _split(life.get("command")))]
    *_, last = [["run_sweep.py", "SPACE.yaml"], *said]
    return f"python {shlex.join([*(word for word in last if word != '--fresh'), *more])}"


def _split(command: object) -> list[str]:
    """The words of a command of run_sweep.py; none of another's."""
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # a quote that is not closed
        return []
    return words if words[:1] == ["run_sweep.py"] else []


def check_trained(sweep: Sweep, folder: Path, trials: Iterable[TrialRecord]) -> None:
    """Compares the trials of a folder with what their draws would be now: a default may have changed since.

    What a trial's description does not have is newer than it. Trials are looked at that show a branch of a choice for the
    first time: the others have the same defaults.

    Raises:
        UserError: one of them would be trained otherwise; the message says what differs and what to do.
    """
    shown: set[tuple[str, object]] = set()
    found: dict[str, None] = {}
    for trial in trials:
        path = folder / "trials" / f"{trial.number:04d}" / "trial.yaml"
        branches = {("", "")} | {(name, value) for name, value in trial.params.items() if isinstance(value, str)}
        if branches <= shown or not path.exists():
            continue
        shown |= branches
        try:
            then = TrialConfig.recorded(path.read_text(encoding="utf-8"), path.parent).resolved()
            now = where_it_was(then, sweep.trial_config(trial.params).resolved())
        except UserError:  # a draw of which no trial can be built was trained by nobody
            continue
        except (ValidationError, yaml.YAMLError) as error:
            found[f"{path}: not a trial of this version ({str(error).splitlines()[0]})"] = None
            continue
        apart = {"judge", "seed"}  # the judge is the sweep's, and was compared; replicates have seeds of their own
        lines = changes(
            then.model_dump(mode="json", exclude=apart), now.model_dump(mode="json", exclude=apart), ("trial",)
        )
        found |= dict.fromkeys(f"{line} in trial {trial.number:04d}, a default that has changed" for line in lines)
    if found:
        raise UserError(
            f"{folder}: holds trials that would be trained otherwise now ({_listed(list(found))}); say in the space what "
            "they were trained with and give it another name, go on with the version that made them, or --fresh to rename "
            "the folder"
        )


def _listed(found: list[str]) -> str:
    return "; ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")


def note_resume(folder: Path) -> None:
    """Writes down that work went on, and under which circumstances, where they are not those of the start."""
    known = _read(folder / FILE) or {}
    now = _circumstances()
    changed = {key: value for key, value in now.items() if key == "command" or known.get(key) != value}
    known["resumed"] = [*known.get("resumed", []), {"at": _now(), **changed}]
    _write(folder / FILE, known)


def _write(path: Path, about: dict[str, Any]) -> None:
    write_whole(path, yaml.safe_dump(about, sort_keys=False, allow_unicode=True))


def _look(folder: Path) -> None:
    """A folder of something else is left alone."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file, where the sweep's folder would be; give the sweep another name")
    names = (entry.name for entry in folder.glob("*") if entry.name != INSIDE)
    there = sorted(names, key=lambda name: (name.startswith("."), name))
    if there and FILE not in there and "study.journal" not in there:
        raise UserError(
            f"{folder}: holds {there[0]}{' and more' if len(there) > 1 else ''}, but no sweep; give the sweep another name, or "
            "--fresh to rename the folder"
        )


def _set_aside(folder: Path) -> Path | None:
    if not folder.exists():
        return None
    moved = folder.with_name(f"{folder.name}.{datetime.now():%Y-%m-%dT%H-%M-%S-%f}")
    folder.rename(moved)
    return moved


def _read(path: Path) -> dict[str, Any] | None:
    try:
        known = recorded(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({str(error).splitlines()[0]}); put it back, or --fresh") from None
    if not isinstance(known, dict):
        raise UserError(f"{path}: not a description of a sweep; put it back, or --fresh to rename the folder")
    return known


def _circumstances() -> dict[str, Any]:
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "commit": _commit(),
        "host": platform.node(),
        "machine": f"{platform.system()} {platform.machine()}",
        "command": command(),
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
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout  # noqa: S603, S607

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()) != here.parent.resolve():
            return None  # installed inside somebody else's repository
        return git("rev-parse", "HEAD").strip() + ("+changes" if git("status", "--porcelain", "-uno").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None
