"""No home, one that is not there, one that cannot be written: every command works, and a local Ray has its token."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustray import home


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, no entry in passwd, a folder of temporary files of one's own."""
    for name in ("HOME", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that what is set meanwhile is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(os.path, "expanduser", _expanded(os.path.expanduser))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def _expanded(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`os.path.expanduser` of a user whom passwd does not know: `~` stays as it is where HOME is not set."""
    return lambda path: real(path) if "HOME" in os.environ or not str(path).startswith("~") else path


def test_who_has_no_home_gets_one_of_his_own(tmp_path: Path) -> None:
    assert home.found() is None
    home.settle()
    place = Path(os.environ["HOME"])
    assert place.parent == tmp_path / "temporary"
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert home.found() == Path.home() == place
    assert home.lent()
    home.settle()
    assert Path(os.environ["HOME"]) == place
    del os.environ["HOME"]
    home.settle()
    assert Path(os.environ["HOME"]) == place, "the same in the next process"


@pytest.mark.parametrize("taken", ["a link", "a folder that others write", "a file"])
def test_no_folder_is_used_that_others_may_have_laid_there(taken: str, tmp_path: Path) -> None:
    place = tmp_path / "temporary" / f"robustray-{os.getuid()}"
    if taken == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif taken == "a file":
        place.touch()
    else:
        place.mkdir()
        place.chmod(0o777)
    home.settle()
    assert os.environ["HOME"] != str(place)
    assert stat.S_IMODE(Path(os.environ["HOME"]).stat().st_mode) == 0o700


def test_a_home_that_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home.settle()
    assert os.environ["HOME"] == str(tmp_path)
    assert home.ray_token() == {}
    assert not home.lent()


def test_a_home_that_cannot_be_made_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    home.settle()
    assert Path(os.environ["HOME"]).parent == tmp_path / "temporary"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that nobody can write")
def test_ray_gets_a_token_where_none_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/self")
    (token,) = home.ray_token().values()
    assert len(token) == 64
    assert home.ray_token() != {"RAY_AUTH_TOKEN": token}
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"):
        with monkeypatch.context() as named:
            named.setenv(name, "given")
            assert home.ray_token() == {}
    assert not home.writable(Path("/proc/self/.ray"))
    assert home.writable(tmp_path / "not" / "there")
