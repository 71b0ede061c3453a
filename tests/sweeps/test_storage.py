"""A copy in an object store is whole wherever it is cut, names cannot leave the folder, and a sweep goes on from it alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages.journal._storage import JournalOperation

from robustray.errors import UserError
from sweeps import record
from sweeps.record import JOURNAL, Record, ledger, lives
from sweeps.running.worker import open_task
from sweeps.search import states
from sweeps.storage import fetching, layout, lease, named, names
from sweeps.storage.kept import Kept
from sweeps.storage.mirror import Keeping, Mirror
from sweeps.storage.opened import opened, standing
from sweeps.storage.sets import Moved, Stamp, changes, look
from sweeps.storage.store import Store, Trouble
from sweeps.view.watch import EVENTS, OUTPUT
from tests.sweeps.stores import OBJECTIVES, Cut, begin, end, epoch, fit

Url = Callable[[], str]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place in a store of its own: objects that appear whole, and files that have to be renamed."""
    return f"{request.param}://{tmp_path}/store"


def _silent(line: str) -> None:
    pass


# -- names


@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "C:", "\x00", "é", "x" * 300])).map("/".join),
    )
)
def test_no_key_of_a_store_is_a_file_outside_the_folder(key: str) -> None:
    if names.why_not(key) is None:
        folder = Path("/somewhere/results")
        path = Path(os.path.normpath(folder / key))
        assert path.is_relative_to(folder)
        assert path != folder
        assert path.relative_to(folder).as_posix() == key


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/x", "a//b", "a/", ".lock", "trials/.x/y", "C:/x", "a\\..\\b", "a\nb", "x" * 300]
)
def test_keys_that_are_refused(key: str) -> None:
    assert names.why_not(key)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://", "names no place"),
        ("s3:/bucket", "names no place"),
        ("s3://me:secret@bucket/x", "password in it"),
        ("s3://key@bucket/x", "password in it"),
        ("s3://bucket/x?versionId=1", "has no \\?"),
        ("s3://bucket/a/../b", "has no"),
        ("nosuch://bucket/x", "nosuch"),
    ],
)
def test_urls_that_are_refused_in_a_line(url: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        Store(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_of_urls_that_read_alike_are_two() -> None:
    alike = ["s3://b/a-b", "s3://b/a/b", "s3://b/a_b", "gs://b/a/b"]
    assert len({names.cache(url) for url in alike}) == len(alike)
    assert names.cache("s3://b/a").parts[0] == "results"
    assert [names.is_url(text) for text in ("s3://b", "results", "/x/y", "C:\\x", "a:b/c")] == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_the_layout_is_the_record_s() -> None:
    assert (layout.RECORD, set(layout.TABLES)) == (JOURNAL, {ledger.FILE, lives.FILE, EVENTS, OUTPUT})
    assert JournalOperation.CREATE_TRIAL == layout.CREATED


@given(st.binary(max_size=200))
def test_a_record_of_any_bytes_is_read(data: bytes) -> None:
    lines = b'{"op_code":4}\n' + data + b"\n" + b'{"op_code":8,"trial_id":0,"user_attr":{"outcome":{}}}\n'
    found = layout.known(lines)
    assert found.trials >= 1
    assert 0 in found.ended


# -- the order of a pass


def _lived(folder: Path, mirror: Mirror, seen: list[dict[str, int]]) -> None:
    """A sweep's life with passes in between; `seen` gets what was done at each."""
    with Record(folder, OBJECTIVES) as opened:
        (folder / "sweep.yaml").write_text("space: {}\n")
        done: dict[str, int] = {}
        for turn in range(3):
            if turn == len(opened.trials()):
                begin(opened)
            for number in range(turn + 1):
                if opened.trial(number).outcome is None:
                    epoch(folder, number, turn + 1)
                    done[f"{number:04d}"] = turn + 1
                if turn == number + 1 and opened.trial(number).outcome is None:
                    end(opened, number, turn + 1)
            seen.append(dict(done))
            mirror.once()


def _whole(folder: Path) -> int:
    """Sees whether a folder can be gone on from, and how many trials its record has."""
    found = record.read(folder)
    for trial in found.trials:
        at = fit(folder / "trials" / f"{trial.number:04d}")
        if trial.outcome is not None:
            assert at == trial.epoch, "a trial that has ended is there with its end"
    known = {f"{trial.number:04d}" for trial in found.trials}
    assert {path.name for path in folder.glob("trials/*")} <= known
    return len(found.trials)


def test_a_copy_is_whole_wherever_it_is_cut(tmp_path: Path) -> None:
    """At every object: what is there then is a folder that a driver may go on from, and what comes later is no less."""
    before, cut = 0, 0
    while True:
        url = f"memory://{tmp_path}/{cut}"
        store = Cut(url, cut)
        folder = tmp_path / f"life-{cut}"
        mirror = Mirror(folder, store, Kept(url), hands=1)
        through = True
        try:
            _lived(folder, mirror, [])
        except Trouble:
            through = False
        there = Store(url)
        if there.read(JOURNAL) is not None:
            target = tmp_path / f"new-{cut}"
            fetching.fetch(there, target, Kept(url), away=fetching.nothing)
            now = _whole(target)
            assert now >= before
            before = now
            with Record(target, OBJECTIVES) as again:
                begin(again)
        if through:
            break
        cut += 1
    assert before == 3
    assert cut > 20


def test_a_pass_after_a_cut_completes_the_copy(tmp_path: Path, url: str) -> None:
    folder, kept = tmp_path / "small", Kept(url)
    store = Cut(url, 7)
    mirror = Mirror(folder, store, kept, hands=1)
    with pytest.raises(Trouble):
        _lived(folder, mirror, [])
    assert mirror.missing()
    store.left = 1000
    _lived(folder, mirror, [])
    assert mirror.missing() == {}
    entries, odd = store.files()
    here, _ = look(folder)
    assert {name: entry.size for name, entry in entries.items()} == {name: found.size for name, found in here.items()}
    assert odd == []
    assert all(store.read(name) == (folder / name).read_bytes() for name in here)
    used = store.left
    mirror.once()
    assert store.left == used, "nothing has changed, and nothing is written"


def test_what_a_sweep_deletes_is_deleted_in_the_copy(tmp_path: Path, url: str) -> None:
    folder, store = tmp_path / "small", Store(url)
    mirror = Mirror(folder, store, Kept(url))
    _lived(folder, mirror, [])
    states.drop(folder / "trials" / "0001")
    store.write("trials/0001/of-somebody.txt", b"not ours")
    mirror.once()
    left = {name for name in store.files()[0] if name.startswith("trials/0001/")}
    assert left == {f"trials/0001/{name}" for name in ("metrics.csv", "log.txt", "of-somebody.txt")}


def test_links_locks_and_half_written_files_stay_here(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    (folder / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "secret").write_text("not the sweep's")
    (folder / "trials" / "0000" / "link").symlink_to(tmp_path / "secret")
    (folder / "linked").symlink_to(tmp_path)
    (folder / ".lock").write_text("x")
    (folder / ".aside").mkdir()
    (folder / ".aside" / "half").write_text("x")
    (folder / "a\\b").write_text("x")
    os.mkfifo(folder / "pipe")
    (folder / "sweep.yaml").write_text("x")
    found, odd = look(folder)
    assert set(found) == {"sweep.yaml"}
    assert odd == ["'a\\\\b' has odd characters"]


def test_a_set_is_copied_as_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is renamed over a file while it is on its way does not get into the copy."""
    folder = tmp_path / "small"
    epoch(folder, 0, 1)
    with changes(folder, "trials/0000/", {}) as found:
        epoch(folder, 0, 2)
        epoch(folder, 0, 3)
        told = {name.rpartition("/")[2]: os.read(file, 1000) for name, file, _ in found.files}
    assert json.loads(told["last.pt"])["epoch"] == 1
    assert "best-0001.pt" in told
    assert list(told)[-1] == "last.pt"
    turns = iter(range(4, 100))

    def busy(path: Path, within: str = "") -> tuple[dict[str, Stamp], list[str]]:
        seen = look(path, within)
        epoch(folder, 0, next(turns))
        return seen

    monkeypatch.setattr("sweeps.storage.sets.look", busy)
    with pytest.raises(Moved), changes(folder, "trials/0000/", {}):
        pass


# -- trouble


def test_trouble_is_said_once_and_its_end_too(tmp_path: Path) -> None:
    said: list[str] = []
    folder, url = tmp_path / "small", f"memory://{tmp_path}"
    store = Cut(url, 1000)
    mirror = Mirror(folder, store, Kept(url))
    _lived(folder, mirror, [])
    store.left = 0
    (folder / "sweep.yaml").write_text("space: {more: 1}\n")
    keeping = Keeping(mirror, said.append, every=100)
    assert not keeping.attempt()
    assert not keeping.attempt()
    assert not keeping.finish(0.0)
    store.left = 1000
    assert keeping.finish(0.0)
    keeping.close()
    assert [re.sub(r"memory://\S+", "URL", line) for line in said] == [
        "the copy waits: cut off; training goes on",
        "URL can be written again; the copy is up to date",
    ]


def test_a_sweep_ends_although_its_copy_does_not_and_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def refuse(self: Store, name: str, write: object) -> None:
        raise Trouble("the quota of the bucket is used up")

    with opened(f"memory://{tmp_path}", "small", said.append, results=tmp_path, every=0.01, patience=0.0) as place:
        monkeypatch.setattr(Store, "_whole", refuse)
        with Record(place.folder, OBJECTIVES) as made:
            begin(made)
    assert place.lacks is not None
    assert re.search(
        r"lacks a file \(study.journal; 0.0 MB\) \(the quota of the bucket is used up\); all of it", place.lacks
    )
    assert said[-1] == place.lacks
    monkeypatch.undo()
    monkeypatch.setattr(lease, "MISSED", 1.05)  # the lease could not be given back
    with opened(f"memory://{tmp_path}", "small", said.append, results=tmp_path) as place:
        pass
    assert place.lacks is None
    assert (Store(f"memory://{tmp_path}/small").read(JOURNAL) or b"").count(b"\n") > 1


def test_a_store_that_cannot_be_reached_is_said_before_anything_begins(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("x")
    with pytest.raises(UserError, match=r"mirror copies a folder later$"):  # noqa: SIM117
        with opened(f"file://{tmp_path}/a file/x", "small", _silent, results=tmp_path):
            raise AssertionError("not reached")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file"]


# -- the way back


def test_a_record_and_its_copy_stand_in_one_of_three_ways(tmp_path: Path) -> None:
    journal = tmp_path / JOURNAL
    assert standing(tmp_path, b"a\n") == "behind"
    journal.write_bytes(b"a\nb\n")
    assert [standing(tmp_path, there) for there in (b"a\nb\n", b"a\nb\nc\n", b"a\n", b"", b"a\nc\n", b"a\nb\nc")] == [
        "behind",
        "behind",
        "ahead",
        "ahead",
        "apart",
        "behind",
    ]
    journal.write_bytes(b"a\nb\nc")
    assert standing(tmp_path, b"a\nb\nd\n") == "behind"


def _ends(folder: Path, number: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sweep.yaml").write_text("space: {name: small}\n")
    with Record(folder, OBJECTIVES) as made:
        if number == len(made.trials()):
            begin(made)
        epoch(folder, number, 1)
        end(made, number, 1)


def test_machines_take_turns_and_the_last_one_to_write_is_the_truth(tmp_path: Path, url: str) -> None:
    said: list[str] = []
    one, two = tmp_path / "one", tmp_path / "two"

    def at(results: Path, number: int | None) -> Path:
        with opened(url, "small", said.append, results=results, lease_every=0.05) as place:
            if number is not None:
                _ends(place.folder, number)
        assert place.lacks is None
        return place.folder

    folder = at(one, 0)
    other = at(two, 1)
    assert len(record.read(other).trials) == 2
    assert (other / "trials" / "0000" / fetching.ELSEWHERE).exists(), (
        "what has ended is judged from here when it is asked for"
    )
    assert not (other / "trials" / "0000" / "last.pt").exists()
    _ends(folder, 1)  # behind the other's back
    folder = at(one, 2)
    assert [line for line in said if "this machine's folder otherwise" in line]
    assert len(record.read(folder).trials) == 3
    assert len([path for path in folder.parent.iterdir() if path.name.startswith("small.")]) == 1, "nothing is deleted"
    here = folder / "trials" / "0000" / "last.pt"
    assert not here.exists()
    assert fetching.bring(folder / "trials" / "0000") == 2
    assert fit(folder / "trials" / "0000") == 1
    assert fetching.bring(folder / "trials" / "0000") == 0
    assert _whole(_all(tmp_path / "all", url)) == 3


def _all(folder: Path, url: str) -> Path:
    fetching.fetch(Store(f"{url}/small"), folder, Kept(url), away=fetching.nothing)
    return folder


def test_what_a_cut_left_of_a_trial_that_nobody_knows_is_not_mixed_with_the_next(tmp_path: Path, url: str) -> None:
    with opened(url, "small", _silent, results=tmp_path / "one", lease_every=0.05) as place:
        _ends(place.folder, 0)
    store = Store(f"{url}/small")
    store.write("trials/0001/last.pt", b"of another draw")
    store.write("judgements/0001/x/clean-0000.parquet", b"of another draw")
    with opened(url, "small", _silent, results=tmp_path / "two", lease_every=0.05) as place:
        assert not (place.folder / "trials" / "0001").exists()
        _ends(place.folder, 1)
    assert _whole(_all(tmp_path / "all", url)) == 2
    assert not [name for name in store.files()[0] if name.startswith("judgements/")]


def test_fresh_sets_the_old_copy_aside(tmp_path: Path, url: str) -> None:
    said: list[str] = []
    with opened(url, "small", _silent, results=tmp_path / "one", lease_every=0.05) as place:
        _ends(place.folder, 0)
    with opened(url, "small", said.append, results=tmp_path / "two", fresh=True, lease_every=0.05) as place:
        assert not (place.folder / JOURNAL).exists()
        _ends(place.folder, 0)
    aside = next(re.search(r"the old copy is in (\S+)$", line) for line in said)
    assert aside is not None
    assert {name.rpartition("/")[2] for name in Store(aside[1]).files()[0]} >= {JOURNAL, "last.pt", "metrics.csv"}
    assert Store(f"{url}/small").read(JOURNAL) != Store(aside[1]).read(JOURNAL)


def test_a_worker_brings_what_stayed_away_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / "small" / "trials" / "0000"
    home.mkdir(parents=True)
    work = {"kind": "judge", "folder": str(home), "attack": "apgd-ce"}

    def told(files: dict[str, int]) -> str:
        (home / fetching.ELSEWHERE).write_text(json.dumps({"url": f"memory://{tmp_path}", "up": 2, "files": files}))
        report = open_task(work).step()
        assert report["outcome"] == "failed"
        return str(report["cause"])

    named.remember(f"memory://{tmp_path}")
    assert "is in memory://" in told({"trials/0000/last.pt": 3})
    Store(f"memory://{tmp_path}").write("trials/0000/last.pt", b"four")
    assert "has 4 bytes" in told({"trials/0000/last.pt": 3})
    for name in ("../x.pt", "trials/0001/last.pt", "/etc/x.pt", "sweep.yaml"):
        assert "lies elsewhere" in told({name: 3})
    url = f"memory://{tmp_path}"
    for text in (
        "[]",
        "[" * 3000,
        json.dumps({"url": url, "up": 9999, "files": {}}),
        json.dumps({"url": url, "up": -1, "files": {"a": 1}}),
        f'{{"url": "{url}", "up": 1e400, "files": {{}}}}',
        f'{{"url": "{url}", "up": 2, "files": {{"a": 1e400}}}}',
        '{"url": "reference://", "up": 2, "files": {}}',
    ):
        (home / fetching.ELSEWHERE).write_text(text)
        assert "not readable" in str(open_task(work).step()["cause"]), text


@pytest.mark.parametrize("protocol", ["file", "memory"])
def test_a_folder_of_somebody_else_brings_nothing_from_where_this_user_has_named_nothing(
    tmp_path: Path, protocol: str
) -> None:
    url = f"{protocol}://{tmp_path}/private"
    Store(url).write("trials/0000/last.pt", b"secret")
    home = tmp_path / "given" / "trials" / "0000"
    home.mkdir(parents=True)
    told = json.dumps({"url": url, "up": 2, "files": {"trials/0000/last.pt": 6}})
    (home / fetching.ELSEWHERE).write_text(told)
    with pytest.raises(UserError, match="which you have not named on this machine"):
        fetching.bring(home)
    assert [path.name for path in home.iterdir()] == [fetching.ELSEWHERE]
    named.remember(f"{url}/other")  # what is beside it is another copy
    with pytest.raises(UserError, match="which you have not named on this machine"):
        fetching.bring(home)
    named.remember(url)
    assert fetching.bring(home) == 1


def test_what_is_known_of_a_copy_may_be_lost_or_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    kept = Kept("memory://a", "me", {"x": Stamp(1, 2, 3)}, {"x": "tag"})
    kept.write(folder)
    assert Kept.read(folder, "memory://a") == kept
    assert Kept.read(folder, "memory://b") == Kept("memory://b")
    for text in (
        "",
        "[]",
        "[" * 3000,
        '{"url": "memory://a"}',
        '{"url":"memory://a","owner":1,"stamps":{"x":[1]},"tags":{}}',
    ):
        (tmp_path / ".small.copy.json").write_text(text)
        assert Kept.read(folder, "memory://a") == Kept("memory://a")
