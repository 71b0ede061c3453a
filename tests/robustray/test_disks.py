"""What a disk that failed is called, and what is no disk's fault."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.disks import disk_trouble, is_full, told, trouble_behind
from robustray.errors import UserError
from robustray.files import write_whole

HARD = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV]
SOFT = [errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN]


def _error(number: int, *names: str) -> OSError:
    return OSError(number, os.strerror(number), names[0], None, names[1]) if len(names) > 1 else OSError(
        number, os.strerror(number), *names
    )  # fmt: skip


@given(number=st.sampled_from(HARD), name=st.sampled_from([(), ("/other/x",)]))
def test_a_failed_disk_is_one_wherever_it_is(number: int, name: tuple[str, ...]) -> None:
    error = _error(number, *name)
    assert disk_trouble(error)
    assert disk_trouble(error, Path("/results/x")) == disk_trouble(error)
    assert is_full(error) == (number in (errno.ENOSPC, errno.EDQUOT))
    assert told(error).endswith(str(disk_trouble(error)))


@given(number=st.sampled_from(SOFT), inside=st.booleans(), second=st.booleans(), climbs=st.booleans())
def test_a_file_of_ours_that_is_gone_is_the_disks_fault_and_no_other_is(
    number: int, inside: bool, second: bool, climbs: bool
) -> None:
    name = "/results/x/trials/0001/last.pt" if inside else "/results/xy/data.npz"
    if climbs:
        name = name.replace("/results/", "/results/y/../")
    error = _error(number, "/elsewhere/a", name) if second else _error(number, name)
    assert disk_trouble(error) is None
    found = disk_trouble(error, Path("/results/x"))
    assert (found is not None) == inside
    if found is not None:
        assert found.startswith("x/trials/0001/last.pt ")
        assert found.endswith("run the same command again")


def test_a_socket_that_is_not_connected_is_no_disk() -> None:
    assert disk_trouble(OSError(errno.ENOTCONN, "not connected"), Path("/results")) is None
    assert disk_trouble(ValueError("no file"), Path("/results")) is None


def test_what_was_said_in_other_words_is_found_behind_them(tmp_path: Path) -> None:
    def reads() -> None:
        try:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        except OSError as error:
            raise UserError(f"no checkpoint ({error.strerror})") from None

    with pytest.raises(UserError) as raised:
        reads()
    behind = trouble_behind(raised.value)
    assert behind is not None
    assert behind.errno == errno.EIO
    assert trouble_behind(UserError("no such option")) is None
    with pytest.raises(FileNotFoundError) as gone:  # a file that is looked for is no disk that failed
        write_whole(tmp_path / "away" / "x", "text")
    assert trouble_behind(gone.value) is None
    assert "away/.x." in str(disk_trouble(gone.value, tmp_path))


def test_errors_in_a_circle_have_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert trouble_behind(one) is None
