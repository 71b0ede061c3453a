"""Verdict files and what they add up to."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustray.verdicts import (
    CLEAN,
    Shard,
    Verdicts,
    fingerprint,
    judgement_folder,
    read_shard,
    read_shards,
    shard_path,
    write_shard,
)

ATTACKS = ("apgd-ce", "fab", "fab-t")


def shard(attack: str, number: int, image: list[int], broken: list[bool], **info: Any) -> Shard:
    rows = np.array(image, dtype=np.int32)
    flags = np.array(broken, dtype=np.bool_)
    label = (rows % 7).astype(np.int16)
    predicted, correct = np.where(flags, 9, label).astype(np.int16), 1 - flags.astype(np.float32)
    return Shard(attack, number, rows, label, predicted, flags, correct, info)


def arrays(a: Shard) -> list[NDArray[Any]]:
    return [a.image, a.label, a.predicted, a.broken, a.correct]


def alike(a: Shard | None, b: Shard) -> bool:
    return (
        a is not None
        and (a.attack, a.shard, dict(a.info)) == (b.attack, b.shard, dict(b.info))
        and all(x.dtype == y.dtype and x.tolist() == y.tolist() for x, y in zip(arrays(a), arrays(b), strict=True))
    )


@pytest.mark.parametrize("rows", [[], [5], [3, 70_000, 4]])
def test_round_trip(rows: list[int], tmp_path: Path) -> None:
    one = shard("fab-t", 12, rows, [row % 2 == 0 for row in rows], seconds=1.5, seed=0, said=["zero gradient"])
    write_shard(tmp_path, one)
    assert [path.name for path in tmp_path.iterdir()] == ["fab-t-0012.parquet"]
    assert alike(read_shard(tmp_path, "fab-t", 12), one)
    assert one.survivors.tolist() == [row for row in rows if row % 2]


def test_not_there(tmp_path: Path) -> None:
    assert read_shard(tmp_path, "fab", 0) is None
    assert list(read_shards(tmp_path, ATTACKS)) == []
    assert len(Verdicts.read(tmp_path, ATTACKS)) == 0
    assert np.isnan(Verdicts.read(tmp_path, ATTACKS).robust_accuracy)


def test_damaged_is_not_there(tmp_path: Path) -> None:
    """Cut anywhere or with a byte changed: run again, never believed, never a crash."""
    one = shard(CLEAN, 0, list(range(20)), [row % 3 == 0 for row in range(20)], seconds=1.0)
    write_shard(tmp_path, one)
    path = shard_path(tmp_path, CLEAN, 0)
    whole = path.read_bytes()
    refused = 0
    for position in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[position] ^= 0x11
        path.write_bytes(flipped)
        found = read_shard(tmp_path, CLEAN, 0)
        refused += found is None
        assert found is None or alike(found, one), position
    for end in range(0, len(whole), 17):
        path.write_bytes(whole[:end])
        assert read_shard(tmp_path, CLEAN, 0) is None, end
    assert refused > len(whole) / 6  # the others are bytes that mean nothing
    path.write_bytes(whole)
    assert alike(read_shard(tmp_path, CLEAN, 0), one)


def test_a_file_in_anothers_place_is_not_there(tmp_path: Path) -> None:
    write_shard(tmp_path, shard("fab", 1, [3], [False]))
    shard_path(tmp_path, "fab", 1).rename(shard_path(tmp_path, "fab", 2))
    assert read_shard(tmp_path, "fab", 2) is None


def test_a_folder_with_a_damaged_file(tmp_path: Path) -> None:
    """Its images still stand, so that the bound stays a bound."""
    write_shard(tmp_path, shard(CLEAN, 0, [0, 1, 2], [True, False, False]))
    write_shard(tmp_path, shard("fab", 0, [1, 2], [True, False]))
    assert Verdicts.read(tmp_path, ATTACKS).robust.tolist() == [False, False, True]
    shard_path(tmp_path, "fab", 0).write_bytes(b"PAR1")
    assert Verdicts.read(tmp_path, ATTACKS).robust.tolist() == [False, True, True]


@st.composite
def judgements(draw: st.DrawFn) -> tuple[int, int, dict[str, set[int]], set[tuple[str, int]]]:
    """(images, shard size, what each attack would break, which files are not there yet)."""
    count, size = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    breaks = {attack: draw(st.sets(st.integers(0, count - 1))) for attack in (CLEAN, *ATTACKS)}
    missing = draw(st.sets(st.tuples(st.sampled_from(ATTACKS), st.integers(0, 11))))
    return count, size, breaks, missing


@settings(max_examples=40)
@given(judgements(), st.randoms())
def test_adding_up(case: tuple[int, int, dict[str, set[int]], set[tuple[str, int]]], random: Any) -> None:
    """Against a plain dictionary: the first attack that breaks an image, files written in any order, some missing."""
    count, size, breaks, missing = case
    shards, expected = [], dict.fromkeys(range(count), "")
    for number, begin in enumerate(range(0, count, size)):
        standing = list(range(begin, min(begin + size, count)))
        for attack in (CLEAN, *ATTACKS):
            if (attack, number) in missing:
                break  # what comes after it was not run either
            rows = random.sample(standing, len(standing))
            shards.append(shard(attack, number, rows, [row in breaks[attack] for row in rows]))
            for row in standing:
                if row in breaks[attack]:
                    expected[row] = attack
            standing = [row for row in standing if row not in breaks[attack]]
    random.shuffle(shards)
    with tempfile.TemporaryDirectory() as folder:
        for one in shards:
            write_shard(Path(folder), one)
        found = Verdicts.read(Path(folder), ATTACKS)
    assert found.image.tolist() == list(range(count))
    assert found.label.tolist() == [row % 7 for row in range(count)]
    assert found.broken_by.tolist() == [expected[row] for row in range(count)]
    assert found.clean.tolist() == [expected[row] != CLEAN for row in range(count)]
    assert found.robust.tolist() == [expected[row] == "" for row in range(count)]
    assert found.clean_accuracy == sum(value != CLEAN for value in expected.values()) / count
    assert found.robust_accuracy == sum(value == "" for value in expected.values()) / count
    assert found.robust_accuracy <= found.clean_accuracy


def test_the_first_of_two_attacks_is_named(tmp_path: Path) -> None:
    """In the order of the judgement, not of the files."""
    write_shard(tmp_path, shard(CLEAN, 0, [0, 1], [False, False]))
    for attack in ("fab", "apgd-ce"):
        write_shard(tmp_path, shard(attack, 0, [0, 1], [True, False]))
    assert Verdicts.read(tmp_path, ("apgd-ce", "fab")).broken_by.tolist() == ["apgd-ce", ""]
    assert Verdicts.read(tmp_path, ("fab", "apgd-ce")).broken_by.tolist() == ["fab", ""]


def test_attacks_whose_names_begin_alike(tmp_path: Path) -> None:
    """The files of `fab-t` are not files of `fab`."""
    write_shard(tmp_path, shard(CLEAN, 0, [0, 1], [False, False]))
    write_shard(tmp_path, shard("fab-t", 0, [0, 1], [True, False]))
    assert [one.attack for one in read_shards(tmp_path, ("fab", "fab-t"))] == [CLEAN, "fab-t"]
    assert Verdicts.read(tmp_path, ("fab",)).robust.all()


def test_fingerprint() -> None:
    """The same for the same content in any order, another for any change. Written out: old judgements must be found."""
    parts = {"weights": "ab", "eps": 8 / 255, "attacks": ["apgd-ce", "apgd-t"], "shard": 500}
    assert fingerprint(dict(reversed(parts.items()))) == fingerprint(parts) == "50b431e8f4b2"
    changes: list[dict[str, Any]] = [
        {"weights": "ac"},
        {"eps": 0.03},
        {"attacks": ["apgd-t", "apgd-ce"]},
        {"shard": 499},
    ]
    assert len({fingerprint(parts | change) for change in changes} | {fingerprint(parts)}) == 5


def test_judgement_folder(tmp_path: Path) -> None:
    parts = {"weights": "ab"}
    folder = judgement_folder(tmp_path, "test", "standard", parts)
    assert folder.name == f"test-standard-{fingerprint(parts)}"
    before = (folder / "judgement.json").stat().st_mtime_ns
    assert judgement_folder(tmp_path, "test", "standard", parts) == folder
    assert (folder / "judgement.json").stat().st_mtime_ns == before
    assert judgement_folder(tmp_path, "test", "standard", {"weights": "ac"}) != folder
