"""Against a real S3 server: drivers that are killed and go on elsewhere, and a store that is slow, absent or refuses."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

import sweeps
from robustray.errors import UserError
from sweeps import record
from sweeps.space import Sweep
from sweeps.storage import fetching
from sweeps.storage.kept import Kept
from sweeps.storage.opened import opened
from sweeps.storage.store import Store
from tests.sweeps import s3
from tests.sweeps.small import facts, run_quietly, small_sweep

pytestmark = pytest.mark.faults
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """One server for all of these tests."""
    with s3.server() as address:
        yield address


@pytest.fixture
def url(request: pytest.FixtureRequest, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of the test's own on it."""
    for name, value in s3.settings(endpoint).items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/{request.node.name.partition('[')[0]}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder), folder / "small")
    return facts(folder / "small")


def _drive(space: str, url: str, results: str, endpoint: str) -> None:
    s3.use(endpoint)
    with opened(url, "small", print, results=Path(results), every=0.05, lease_every=0.3) as place:
        sweeps.run(Sweep.from_yaml(space), place.folder, "local", beside=place.say_by)
    assert place.lacks is None


def test_a_driver_killed_again_and_again_goes_on_from_the_copy_alone(
    tmp_path: Path, url: str, endpoint: str, undisturbed: dict[str, Any]
) -> None:
    """Every life is on a machine of its own: what the killed one had not copied is lost, and done again bit for bit."""
    small_sweep(tmp_path)
    chance = random.Random("killed with a copy")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["robustray.training.trainer", "robustray.attacks.autoattack", "sweeps.driver", "s3fs"]
    )
    seen: list[int] = []
    for life in range(40):
        args = (str(tmp_path / "small.yaml"), url, str(tmp_path / f"machine-{life}"), endpoint)
        process = context.Process(target=_drive, args=args)
        process.start()
        process.join(chance.uniform(0.2, 0.6 + 0.4 * life) if life < 8 else 240.0)  # on any machine some come in time
        if process.exitcode is not None:
            assert process.exitcode == 0
            break
        os.kill(int(process.pid or 0), signal.SIGKILL)
        process.join()
        target = tmp_path / f"look-{life}"
        if Store(f"{url}/small").read(record.JOURNAL) is not None:
            fetching.fetch(Store(f"{url}/small"), target, Kept(url), away=fetching.nothing)
            seen.append(sum(trial.outcome is not None for trial in record.read(target).trials))
    assert seen == sorted(seen), "nothing that was copied is lost"
    assert life >= 2
    last = tmp_path / "last"
    fetching.fetch(Store(f"{url}/small"), last, Kept(url), away=fetching.nothing)
    assert facts(last) == undisturbed


def test_a_store_that_is_slow_absent_and_refusing_stops_nothing(
    tmp_path: Path, url: str, endpoint: str, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = s3.Proxy(endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    said: list[str] = []
    modes = get_args(s3.Mode)
    over, heard = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "the copy waits: " in line:
            heard.set()

    def change() -> None:
        proxy.mode = "refuse"
        heard.wait(120)  # however fast the sweep is, and however slow the copy
        turn = 0
        while not over.wait(0.1):
            turn += 1
            proxy.mode = modes[turn % len(modes)]
        proxy.mode = "pass"

    changing = threading.Thread(target=change)
    try:
        with opened(url, "small", say, results=tmp_path, every=0.05, lease_every=5.0) as place:
            changing.start()
            sweep = small_sweep(tmp_path)
            assert sweeps.run(sweep, place.folder, "local", write=lambda line: None)
            assert heard.wait(120), said
            over.set()
            changing.join()
    finally:
        over.set()
        proxy.close()
    assert place.lacks is None
    assert facts(place.folder) == undisturbed
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    fetching.fetch(Store(f"{url}/small"), tmp_path / "there", Kept(url), away=fetching.nothing)
    assert facts(tmp_path / "there") == undisturbed


def test_a_server_that_is_killed_and_comes_back_empty_is_told_of_and_filled_again(
    tmp_path: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = s3.Process()
    for name, value in s3.settings(server.endpoint).items():
        monkeypatch.setenv(name, value)
    url, said, heard = f"s3://{s3.BUCKET}/killed", list[str](), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "the copy waits: " in line:
            heard.set()

    def disturb() -> None:
        while Store(f"{url}/small").read(record.JOURNAL) is None:
            time.sleep(0.05)
        server.kill()
        heard.wait(120)
        server.start()

    server.start()
    try:
        disturbing = threading.Thread(target=disturb)
        with opened(url, "small", say, results=tmp_path, every=0.05, lease_every=0.3) as place:
            disturbing.start()
            assert sweeps.run(small_sweep(tmp_path), place.folder, "local", write=lambda line: None)
            disturbing.join()
        assert facts(place.folder) == undisturbed
        assert f"what lay at {url}/small is gone, the lease with it: what was done since" in str(place.lacks), said
        with opened(url, "small", say, results=tmp_path, every=0.05, lease_every=0.3) as again:
            assert again.folder == place.folder
        assert again.lacks is None
        fetching.fetch(Store(f"{url}/small"), tmp_path / "there", Kept(url), away=fetching.nothing)
        assert facts(tmp_path / "there") == undisturbed
    finally:
        server.kill()


def test_a_second_driver_is_refused_by_the_server_itself(tmp_path: Path, url: str) -> None:
    assert Store(url).exclusive()
    with opened(url, "small", print, results=tmp_path / "one", lease_every=0.3):
        begun = time.monotonic()
        with (
            pytest.raises(UserError, match="another driver"),
            opened(url, "small", print, results=tmp_path / "two", lease_every=0.3),
        ):
            raise AssertionError("let in")
        assert time.monotonic() > begun


def test_a_bucket_that_is_not_there_is_said_at_once(tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError, match=r"s3://no-such-bucket/x/small: not there .*mirror copies a folder later$"):  # noqa: SIM117
        with opened("s3://no-such-bucket/x", "small", print, results=tmp_path):
            raise AssertionError("let in")


def test_keys_with_odd_names_never_leave_the_folder(tmp_path: Path, url: str) -> None:
    """As anybody who may write to the bucket could put them there."""
    with opened(url, "small", print, results=tmp_path / "one", lease_every=0.3) as place:
        place.folder.mkdir(parents=True)
        (place.folder / record.JOURNAL).write_bytes(b'{"op_code":0}\n')
    import s3fs

    system = s3fs.S3FileSystem()
    for key in ("../../escaped", "trials//0000/x", "a/../../../escaped", "back\\slash", "trials/0000/"):
        system.pipe_file(f"{url.removeprefix('s3://')}/small/{key}", b"x")
    target = tmp_path / "a" / "b" / "c"
    done = fetching.fetch(Store(f"{url}/small"), target, Kept(url), away=fetching.nothing)
    assert {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()} == {
        "b/c/study.journal",
        "b/.c.copy.json",
    }
    assert len(done.odd) >= 3
