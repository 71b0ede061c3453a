"""One driver writes a copy: a second one is refused while the first lives, and takes over when it does not."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps.storage.layout import LEASES
from sweeps.storage.lease import Holder, Lease, last
from sweeps.storage.store import Store, Trouble

EVERY = 0.1


def _silent(line: str) -> None:
    pass


@pytest.fixture(params=["memory", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty one."""
    return Store(f"{request.param}://{tmp_path}/store")


def _leave(store: Store, number: int, *, released: bool = False) -> Holder:
    """A lease as a driver on another machine has it that does nothing more."""
    holder = replace(Holder.myself(EVERY), host="elsewhere", released=released)
    assert store.create(f"{LEASES}/{number:08d}", holder.content())
    return holder


def _now(store: Store) -> str:
    found = last(store)
    assert found is not None
    return found.owner


def test_a_second_driver_is_told_who_is_at_work(store: Store) -> None:
    held = Lease(store, _silent, every=EVERY)
    with pytest.raises(UserError, match=r"another driver \(process \d+ on .*, for \d+ s\) is at work on this sweep"):
        Lease(store, _silent, every=EVERY)
    assert held.check()
    held.release()
    after = Lease(store, _silent, every=EVERY)
    assert after.before is not None
    assert (after.before.owner, after.before.released) == (held.owner, True)
    after.release()


def test_a_lease_that_is_not_renewed_is_taken_over_and_the_old_holder_writes_no_more(store: Store) -> None:
    said: list[str] = []
    left = _leave(store, 4)
    held = Lease(store, said.append, every=EVERY)
    assert held.before == left
    assert "was held by process" in said[0]
    assert "has not renewed its lease for 0.3 s: taken over" in said[1]
    later = _leave(store, 6)
    assert not held.check()
    assert held.lost is not None
    assert later.name in held.lost
    assert not held.sure()
    held.release()
    assert _now(store) == later.owner, "what is another's is left alone"


def test_a_process_that_is_known_to_be_gone_is_not_waited_for(store: Store) -> None:
    holder = replace(Holder.myself(1000.0), begun=1)
    store.create(f"{LEASES}/00000001", holder.content())
    held = Lease(store, _silent, every=1000.0)
    assert held.before == holder
    held.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"owner": 1}'])
def test_a_lease_that_says_nothing_runs_out_too(store: Store, content: bytes) -> None:
    store.create(f"{LEASES}/00000002", content)
    store.create(f"{LEASES}/tried-by-somebody", b"")
    store.create(f"{LEASES}/9999999999999999999999", b"")
    held = Lease(store, _silent, every=EVERY)
    assert held.check()
    held.release()


@given(
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(
            st.sampled_from(sorted(asdict(Holder.myself(1.0)))),
            st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers())),
        ).map(lambda told: json.dumps(told).encode()),
    )
)
def test_any_bytes_are_a_holder_or_none(content: bytes) -> None:
    found = Holder.read(content)
    if found is not None:
        assert isinstance(found.gone, bool)
        assert "\n" not in found.name + found.held


def test_of_drivers_that_begin_at_once_one_gets_it(store: Store) -> None:
    _leave(store, 1, released=True)
    got: list[Lease] = []
    refused: list[str] = []

    def begin() -> None:
        try:
            got.append(Lease(store, _silent, every=EVERY))
        except UserError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 3)
    got[0].release()


def test_where_a_store_decides_nothing_a_lease_is_read_back(store: Store) -> None:
    done = threading.Event()

    def overwrite() -> None:
        while not done.is_set() and last(store) is None:
            time.sleep(0.001)
        store.write(f"{LEASES}/00000001", replace(Holder.myself(EVERY), host="elsewhere").content())

    other = threading.Thread(target=overwrite)
    other.start()
    held = Lease(store, _silent, every=EVERY, exclusive=False, settle=0.2)
    done.set()
    other.join()
    assert held.before is not None, "the other's was there when ours was read back: it was waited for, and ran out"
    assert held.before.host == "elsewhere"
    held.release()


def test_stores_that_decide_say_so(store: Store) -> None:
    assert store.exclusive()
    assert store.names(LEASES) == []


def test_a_holder_is_sure_for_a_while_without_asking(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(store, _silent, every=1000.0)

    def absent(self: Store, folder: str) -> list[str]:
        raise Trouble("absent")

    monkeypatch.setattr(Store, "names", absent)
    assert held.sure()
    monkeypatch.setattr("sweeps.storage.lease.time.monotonic", lambda: time.perf_counter() + 1e9)
    with pytest.raises(Trouble):
        held.sure()
    held.release()  # in silence
