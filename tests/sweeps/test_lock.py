"""One driver at a time, by whatever path it comes, also where the file system knows no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robustray.errors import UserError
from sweeps.record import JOURNAL, Record
from sweeps.record.lock import FolderLock

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
ANOTHER = """
import sys
from pathlib import Path
from robustray.errors import UserError
from sweeps.record.lock import FolderLock
try:
    FolderLock(Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def _refused(path: Path) -> str:
    """What a driver is told that comes by this path, in this process and in another: the same."""
    with pytest.raises(UserError) as refused:
        FolderLock(path)
    run = subprocess.run([sys.executable, "-c", ANOTHER, str(path)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(refused.value)
    return run.stdout


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A sweep's folder."""
    folder = tmp_path / "disk" / "results" / "small"
    Record(folder, OBJECTIVES).close()
    return folder


def test_a_folder_reached_by_two_paths_has_one_lock(
    tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "to the folder").symlink_to(made)
    (tmp_path / "to its parent").symlink_to(made.parent)
    monkeypatch.chdir(made)
    paths = [
        made,
        tmp_path / "to the folder",
        tmp_path / "to its parent" / "small",
        made / ".." / ".." / "results" / "small",
        Path(os.path.relpath(made)),
        Path("../small"),
    ]
    holder = rf"another driver \(process {os.getpid()} on {re.escape(os.uname().nodename)}\) is at work"
    for held in (made, tmp_path / "to the folder"):
        with FolderLock(held):
            for path in paths:
                with pytest.raises(UserError, match=holder):
                    FolderLock(path)
            assert re.search(holder, _refused(paths[1]))
        FolderLock(made).close()


@pytest.mark.parametrize("what", ["folder", "parent"])
def test_a_folder_mounted_twice_has_one_lock(tmp_path: Path, made: Path, what: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    mounted = made if what == "folder" else made.parent
    if subprocess.run(["mount", "--bind", mounted, elsewhere], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    other = elsewhere if what == "folder" else elsewhere / "small"
    try:
        with FolderLock(made):
            assert f"process {os.getpid()} on" in _refused(other)
        with Record(other, OBJECTIVES):
            assert f"process {os.getpid()} on" in _refused(made)
    finally:
        subprocess.run(["umount", "--lazy", elsewhere], check=True)


def test_a_renamed_folder_is_held_on_and_so_is_the_new_one(made: Path) -> None:
    with FolderLock(made) as held:
        old = made.rename(made.with_name("old"))
        with Record(made, OBJECTIVES, held=held):
            for path in (made, old):
                with pytest.raises(UserError, match="another driver"):
                    FolderLock(path)
    FolderLock(made).close()


def test_nothing_is_put_into_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    FolderLock(tmp_path / "mine").close()
    assert not list((tmp_path / "mine").iterdir())


def test_a_record_that_cannot_be_opened_holds_nothing(made: Path) -> None:
    (made / JOURNAL).write_bytes(b"]\n")
    for _ in range(2):
        with pytest.raises(UserError, match="line 1 is no JSON"):
            Record(made, OBJECTIVES)


def test_a_link_to_itself_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(UserError, match="no folder for results"):
        FolderLock(tmp_path / "loop" / "small")


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def no_locks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A file system that has none. There is no real one to be had."""

    def flock(file: object, how: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_stands_for_one(made: Path) -> None:
    mark = made.parent / ".small.lock.held"
    with FolderLock(made):
        assert mark.exists()
        with pytest.raises(UserError, match=rf"process {os.getpid()} on .* not supported .* remove .*{mark.name}"):
            FolderLock(made)
    assert not mark.exists()
    mark.write_text(f"process {os.getpid()} on {os.uname().nodename}, begun 1\n")  # that number is another's by now
    FolderLock(made).close()
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    mark.write_text(f"process {dead.stdout.strip()} on {os.uname().nodename}, begun 1\n")
    FolderLock(made).close()
    for unknown in ("process 1 on another-machine, begun 1\n", ""):
        mark.write_text(unknown)
        with pytest.raises(UserError, match="if it is no longer at work, remove"):
            FolderLock(made)


def test_another_trouble_of_locking_is_no_other_driver(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(file: object, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match=r"cannot be locked \(Input/output error\)"):
        FolderLock(made)
