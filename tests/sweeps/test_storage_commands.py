"""What a user types: a sweep's folder copied to a URL and back, and a report of a copy."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import analysis.__main__
import sweeps
from analysis.elsewhere import swept
from robustray.errors import UserError
from sweeps import record
from sweeps.__main__ import app
from sweeps.record import JOURNAL
from sweeps.record.lock import FolderLock
from sweeps.storage import names
from sweeps.storage.opened import opened, results_of
from sweeps.storage.store import Store
from tests.sweeps.small import facts, run_quietly, small_sweep

SHORT = ("trial.schedule.epochs=1", "judge.images={validation: 20, test: 20}")


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two trials; nobody writes into it."""
    folder = tmp_path_factory.mktemp("swept")
    assert run_quietly(small_sweep(folder, "search.trials=2", *SHORT), folder / "small")
    return folder / "small"


def _mirror(source: object, target: object) -> str:
    """What the command says; a user's mistake is raised as it is."""
    done = CliRunner().invoke(app, ["mirror", str(source), str(target)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def test_a_folder_goes_to_a_store_and_comes_back_as_it_was(tmp_path: Path, swept_once: Path) -> None:
    url = f"file://{tmp_path}/store/team"
    files = len(_files(swept_once))
    said = _mirror(swept_once, url)
    assert re.search(rf"small: copied {files} \([\d.]+ MB\) of {files} files, all compared by size and SHA-256", said)
    assert f"copied 0 (0.0 MB) of {files} files" in _mirror(swept_once, url)
    _mirror(f"{url}/small", tmp_path / "back")
    assert _files(tmp_path / "back" / "small") == _files(swept_once)
    assert facts(tmp_path / "back" / "small") == facts(swept_once)
    with pytest.raises(UserError, match="is there already"):
        _mirror(f"{url}/small", tmp_path / "back")


def test_what_was_damaged_in_a_store_is_found_and_mended(tmp_path: Path, swept_once: Path) -> None:
    url = f"file://{tmp_path}/store"
    _mirror(swept_once, url)
    path = tmp_path / "store" / "small" / "trials" / "0001" / "last.pt"
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(content)
    assert "copied 1 " in _mirror(swept_once, url)
    assert path.read_bytes() == (swept_once / "trials" / "0001" / "last.pt").read_bytes()


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("results/x", "results/y", "one of the two is a folder"),
        ("memory://a/x", "memory://b", "one of the two is a folder"),
        ("nothing/here", "memory://b", "nothing/here: no sweep here"),
        ("memory://nothing/here", "back", "memory://nothing/here: no sweep here"),
        ("memory://me:word@b/x", "back", "a URL with a name or password"),
    ],
)
def test_mistakes_of_mirror_are_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=why):
        _mirror(source, target)


def test_a_copy_of_another_record_is_not_written_over(tmp_path: Path, swept_once: Path) -> None:
    url = f"memory://{tmp_path}"
    Store(f"{url}/small").write(JOURNAL, b'{"op_code":0}\n{"other":1}\n')
    with pytest.raises(UserError, match="choose another URL"):
        _mirror(swept_once, url)
    assert set(Store(f"{url}/small").files()[0]) == {JOURNAL}


def test_a_copy_is_read_where_the_sweep_never_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept_once: Path
) -> None:
    """Tables and figures need no checkpoint; a second look brings what is new alone; a driver at work is not disturbed."""
    url = f"memory://{tmp_path}/team"
    _mirror(swept_once, url)
    monkeypatch.chdir(tmp_path)
    folder = swept(f"{url}/small")
    assert folder == names.cache(url) / "small"
    assert facts(folder) == facts(swept_once)
    assert not list(folder.rglob("*.pt"))
    before = {path: path.stat().st_ino for path in folder.rglob("*.parquet")}
    Store(f"{url}/small").write("report/new.txt", b"x")
    assert swept(f"{url}/small/") == folder
    assert (folder / "report" / "new.txt").exists()
    assert {path: path.stat().st_ino for path in folder.rglob("*.parquet")} == before
    Store(f"{url}/small").write("report/newer.txt", b"x")
    with FolderLock(folder):
        assert swept(f"{url}/small") == folder
    assert not (folder / "report" / "newer.txt").exists()
    assert swept("results/small") == Path("results/small")
    with pytest.raises(UserError, match="no sweep here"):
        swept(f"{url}/smal")


def test_a_status_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept_once: Path) -> None:
    """By its URL, as reports have it: from the machine's own folder for it, which is brought up to date."""
    url = f"memory://{tmp_path}/team"
    _mirror(swept_once, url)
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["status", f"{url}/small", "--json"], catch_exceptions=False)
    here = CliRunner().invoke(app, ["status", str(swept_once), "--json"], catch_exceptions=False)
    seen, there = json.loads(told.output), json.loads(here.output)
    assert (seen["name"], seen["outcomes"], seen["frontier"]) == (there["name"], there["outcomes"], there["frontier"])
    with pytest.raises(UserError, match="no sweep here"):
        CliRunner().invoke(app, ["status", f"{url}/smal"], catch_exceptions=False)
    (number,) = {trial.number for trial in record.read(swept_once).trials} & {1}
    done = CliRunner().invoke(analysis.__main__.app, ["trial", f"{url}/small", str(number)], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def _until_trained(line: str) -> None:
    """Stops a sweep of two trials when both are trained and none is judged."""
    if "2 of 2" in line:
        raise KeyboardInterrupt


def test_a_sweep_goes_on_from_its_copy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swept_once: Path) -> None:
    """On another machine; checkpoints that judging needs come when it does."""
    url = f"file://{tmp_path}/store"
    monkeypatch.chdir(tmp_path)
    sweep = small_sweep(tmp_path, "search.trials=2", *SHORT)
    with opened(url, "small", print, results=tmp_path / "one", lease_every=0.05) as place:
        assert not sweeps.run(sweep, place.folder, "local", write=_until_trained)
    assert place.lacks is None
    with results_of(url, "small", print) as there:
        assert there.folder == names.cache(url) / "small"
        away = list(there.folder.glob("trials/*/.elsewhere"))
        assert away
        assert sweeps.run(sweep, there.folder, "local", write=lambda line: None, beside=there.say_by)
    assert facts(there.folder) == facts(swept_once)
    assert len(list(there.folder.glob("trials/*/.elsewhere"))) < len(away)
