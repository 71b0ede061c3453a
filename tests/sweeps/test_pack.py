"""Files of a folder as one object: both sides are the same afterwards, and nothing torn or misplaced is written."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.storage.pack import Item, Move, Pack, Unfit, packed, unpack, why_unfit
from sweeps.storage.sets import Stamp, look, stamp

SET = "trials/0007/"
LAST, PREVIOUS, BEST, LOG = (f"{SET}{name}" for name in ("last.pt", "previous.pt", "best-0001.pt", "log.txt"))
NAMES = (LAST, PREVIOUS, BEST, LOG, f"{SET}look/last.pt", f"{SET}metrics.csv")


def _write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(".aside")
    aside.write_bytes(content)
    aside.replace(path)


def _contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns) for name in look(folder)[0]}


def _state(folder: Path, content: bytes) -> None:
    """A checkpoint, as training writes it."""
    if (folder / LAST).exists():
        (folder / LAST).replace(folder / PREVIOUS)
    _write(folder, LAST, content)


_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES), st.binary(max_size=30)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.just(b"")),
        st.tuples(st.just("append"), st.just(LOG), st.binary(min_size=1, max_size=9)),
        st.tuples(st.just("state"), st.just(LAST), st.binary(max_size=30)),
        st.tuples(st.just("send"), st.just(""), st.just(b"")),
    ),
    max_size=30,
)


@given(actions=_ACTIONS)
def test_whatever_happens_to_a_folder_the_other_side_becomes_the_same(
    tmp_path_factory: pytest.TempPathFactory, actions: list[tuple[str, str, bytes]]
) -> None:
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    mine: dict[str, Stamp] = {}
    theirs: dict[str, Stamp] = {}
    for what, name, content in [*actions, ("send", "", b""), ("send", "", b"")]:
        if what == "write":
            _write(here, name, content)
        elif what == "delete":
            (here / name).unlink(missing_ok=True)
        elif what == "state":
            _state(here, content)
        elif what == "append" and (here / name).exists():
            with (here / name).open("ab") as file:
                file.write(content)
        elif what == "send":
            made, stamps = packed(here, [SET], mine, theirs=theirs)
            written = unpack(made, there, [SET])
            sources = {move.name for move in made.moves}
            for gone in {*made.gone, *sources} - stamps.keys():
                mine.pop(gone, None)
                theirs.pop(gone, None)
            mine |= {name: stamps[name] for name in written}
            theirs |= written
    assert _contents(here) == _contents(there)
    assert not packed(here, [SET], mine, theirs=theirs)[0], "nothing is sent twice"


def test_a_state_that_became_the_one_before_does_not_travel_again(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    _state(here, b"a" * 1000)
    first, mine = packed(here, [SET], {})
    theirs = unpack(first, there, [SET])
    _state(here, b"b" * 1000)
    second, _ = packed(here, [SET], mine, theirs=theirs)
    assert [item.name for item in second.items] == [LAST]
    assert [(move.name, move.to) for move in second.moves] == [(LAST, PREVIOUS)]
    assert second.data.nbytes == 1000
    unpack(second, there, [SET])
    assert _contents(there) == _contents(here)


def test_a_state_that_is_another_by_now_is_not_renamed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    _state(here, b"a")
    first, mine = packed(here, [SET], {})
    theirs = unpack(first, there, [SET])
    _write(there, LAST, b"somebody else's")
    _state(here, b"b")
    second, _ = packed(here, [SET], mine, theirs=theirs)
    written = unpack(second, there, [SET])
    assert PREVIOUS not in written, "so the sender does not take it for known"
    assert {name: content for name, (content, _) in _contents(there).items()} == {LAST: b"b"}


_PARTS = st.lists(
    st.sampled_from(["..", ".", "", "trials", "0007", "a", "/", "\\", "\x00", ".hidden", "é"]), max_size=6
)


@given(name=st.one_of(st.text(max_size=30), _PARTS.map("/".join), st.text(max_size=9).map(lambda text: SET + text)))
@pytest.mark.parametrize("kind", ["item", "move from", "move to", "gone"])
def test_no_name_leaves_the_sets_that_may_be_written(
    tmp_path_factory: pytest.TempPathFactory, kind: str, name: str
) -> None:
    base = tmp_path_factory.mktemp("base")
    folder, outside = base / "results", base / "outside"
    folder.mkdir()
    outside.write_bytes(b"outside")
    _write(folder, "trials/0008/last.pt", b"another's")
    _write(folder, LAST, b"ours")
    was = stamp((folder / LAST).stat())
    item = Item(name, 0, 0, 0)
    asked = {
        "item": Pack((item,)),
        "move from": Pack(moves=(Move(name, PREVIOUS, was),)),
        "move to": Pack(moves=(Move(LAST, name, was),)),
        "gone": Pack(gone=(name,)),
    }[kind]
    with contextlib.suppress(Unfit, IsADirectoryError, NotADirectoryError):
        unpack(asked, folder, [SET])
    assert outside.read_bytes() == b"outside"
    assert (folder / "trials/0008/last.pt").read_bytes() == b"another's"
    assert sorted(path.name for path in base.iterdir()) == ["outside", "results"]
    assert sorted(path.name for path in folder.iterdir()) == ["trials"]
    assert sorted(path.name for path in (folder / "trials").iterdir()) == ["0007", "0008"]


def _made(tmp_path: Path) -> tuple[Pack, Path]:
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    for name in (LAST, BEST, LOG):
        _write(here, name, name.encode() * 5)
    return packed(here, [SET], {})[0], there


@given(data=st.data())
def test_a_pack_that_is_not_what_was_sent_writes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    made, there = _made(tmp_path_factory.mktemp("pack"))
    size = made.data.nbytes
    if data.draw(st.booleans()):
        torn = made._replace(data=made.data[: data.draw(st.integers(0, size - 1))])
    else:
        bytes_ = made.data.copy()
        bytes_[data.draw(st.integers(0, size - 1))] ^= data.draw(st.integers(1, 255))
        torn = made._replace(data=bytes_)
    with pytest.raises(Unfit):
        unpack(torn, there, [SET])
    assert not list(there.iterdir())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda made: made._replace(items=(*made.items, made.items[0])), "twice"),
        (lambda made: made._replace(gone=(LAST,)), "twice"),
        (lambda made: made._replace(items=(made.items[0]._replace(size=-1), *made.items[1:])), "bytes"),
        (lambda made: made._replace(data=made.data.astype(np.uint16)), "bytes"),
        (lambda made: made._replace(gone=tuple(f"{SET}{n}" for n in range(100_001))), "files"),
    ],
)
def test_a_pack_that_contradicts_itself_is_refused(tmp_path: Path, change: Any, why: str) -> None:
    made, there = _made(tmp_path)
    assert why_unfit(made, [SET]) is None
    assert why in str(why_unfit(change(made), [SET]))
    with pytest.raises(Unfit):
        unpack(change(made), there, [SET])


def test_sizes_have_a_bound_on_both_sides(tmp_path: Path) -> None:
    made, there = _made(tmp_path)
    size = made.data.nbytes
    assert packed(tmp_path / "here", [SET], {}, largest=size)[0].data.nbytes == size
    with pytest.raises(Unfit, match="to send at once"):
        packed(tmp_path / "here", [SET], {}, largest=size - 1)
    with pytest.raises(Unfit, match="is larger than"):
        unpack(made, there, [SET], largest=size - 1)
    assert not list(there.iterdir())


@pytest.mark.parametrize("how", ["shorter", "rewritten", "a log that grows"])
def test_a_file_that_changes_while_it_is_read_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    name = LOG if how == "a log that grows" else LAST
    _write(tmp_path, name, b"x" * 100)
    read = os.preadv

    def changing(file: int, buffers: list[memoryview], offset: int) -> int:
        if how == "shorter":
            os.truncate(tmp_path / name, 10)
        elif not offset:
            with (tmp_path / name).open("ab" if name == LOG else "r+b") as other:
                other.write(b"yyy")
        return read(file, [buffers[0][:50]], offset)  # in two reads

    monkeypatch.setattr(os, "preadv", changing)
    if name == LOG:
        made, _ = packed(tmp_path, [SET], {})
        assert made.data.tobytes() == b"x" * 100, "as far as it went"
        return
    with pytest.raises(Unfit, match=f"{LAST}: (became shorter|was changed) while it was read"):
        packed(tmp_path, [SET], {})


@pytest.mark.parametrize("cut", range(12))
def test_whoever_dies_half_way_leaves_a_state_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    """Each rename may be the last thing that happens: a whole state is there at any time, with its best."""
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    _state(here, b"old state")
    _write(here, BEST, b"best of the old one")
    first, mine = packed(here, [SET], {})
    theirs = unpack(first, there, [SET])
    _state(here, b"new state")
    (here / BEST).unlink()
    _write(here, f"{SET}best-0002.pt", b"best of the new one")
    _write(here, LOG, b"a line")
    second, _ = packed(here, [SET], mine, theirs=theirs)
    left, replace, unlink = [cut], Path.replace, Path.unlink

    def counted(act: Any) -> Any:
        def once(path: Path, *others: Any, **options: Any) -> Any:
            if path.name.startswith(".") and not others:
                return act(path, *others, **options)  # tidying up after itself
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return act(path, *others, **options)

        return once

    monkeypatch.setattr(Path, "replace", counted(replace))
    monkeypatch.setattr(Path, "unlink", counted(unlink))
    try:
        unpack(second, there, [SET])
    except KeyboardInterrupt:
        assert cut < 5
    found = {name.removeprefix(SET): content for name, (content, _) in _contents(there).items()}
    state = found.get("last.pt", found.get("previous.pt"))
    assert state in (b"old state", b"new state")
    assert ("best-0002.pt" if state == b"new state" else "best-0001.pt") in found
    assert cut < 5 or found == {name.removeprefix(SET): content for name, (content, _) in _contents(here).items()}


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    made, _ = _made(tmp_path)
    with pytest.raises(FileNotFoundError):
        unpack(made, tmp_path / "gone", [SET])
    assert not (tmp_path / "gone").exists(), "a disk that went away is no place to begin anew"
