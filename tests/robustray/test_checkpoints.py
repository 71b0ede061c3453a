"""Checkpoint files: whole or noticed, and never without one that can be read."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from robustray.files import write_whole
from robustray.training import checkpoints
from robustray.training.checkpoints import DamagedCheckpoint, load, load_last, save, save_last, weights_hash


def content(number: int) -> dict[str, Any]:
    return {
        "number": number,
        "weights": {"a": torch.arange(6).reshape(2, 3) * 0.5, "half": torch.ones(2, dtype=torch.bfloat16)},
        "history": [{"epoch": 1.0, "loss": 0.25}],
        "nothing": None,
        "flag": True,
        "text": "ünïcode",
    }


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    weights = a["weights"].keys() == b["weights"].keys() and all(
        torch.equal(a["weights"][k], b["weights"][k]) and a["weights"][k].dtype == b["weights"][k].dtype
        for k in a["weights"]
    )
    return weights and {k: v for k, v in a.items() if k != "weights"} == {k: v for k, v in b.items() if k != "weights"}


def damage(path: Path, position: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 0xFF
    path.write_bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", content(1))
    assert equal(load(tmp_path / "a.pt"), content(1))
    assert names(tmp_path) == ["a.pt"]


def test_torch_reads_the_file_as_it_stands(tmp_path: Path) -> None:
    """A checkpoint is worth something without this package: an ordinary file of torch's, hash and all."""
    save(tmp_path / "a.pt", content(1))
    assert equal(torch.load(tmp_path / "a.pt", weights_only=True), content(1))


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(path, {"weight": torch.arange(4.0)})
    whole = path.read_bytes()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint):
            load(path)
    path.write_bytes(whole)
    load(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(path, {"weight": torch.arange(4.0)})
    whole = path.read_bytes()
    for changed in (*(whole[:end] for end in range(len(whole))), whole + b"\0", whole + whole, whole[1:]):
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint):
            load(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DamagedCheckpoint, match=r"a\.pt"):
        load(tmp_path / "a.pt")
    assert load_last(tmp_path) == (None, [])


def test_code_is_not_loaded(tmp_path: Path) -> None:
    """A file with the right hash still cannot run anything."""

    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, ("true",)

    save(tmp_path / "a.pt", {"evil": Evil()})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        load(tmp_path / "a.pt")


def test_previous_is_what_last_was(tmp_path: Path) -> None:
    for number in range(3):
        save_last(tmp_path, content(number))
    assert names(tmp_path) == ["last.pt", "previous.pt"]
    assert load(tmp_path / "last.pt")["number"] == 2
    assert load(tmp_path / "previous.pt")["number"] == 1


def test_previous_takes_over(tmp_path: Path) -> None:
    for number in range(2):
        save_last(tmp_path, content(number))
    damage(tmp_path / "last.pt")
    state, lines = load_last(tmp_path)
    assert state is not None
    assert state["number"] == 0
    assert len(lines) == 1
    assert "last.pt" in lines[0]
    damage(tmp_path / "previous.pt")
    state, lines = load_last(tmp_path)
    assert state is None
    assert len(lines) == 2


@pytest.mark.parametrize("place", ["before", "within"])
def test_a_failure_to_write_leaves_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A crash or a full disk after `last` was renamed: what it held is `previous`, and no rubbish lies beside it."""
    for number in range(2):
        save_last(tmp_path, content(number))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        if place == "before":
            broken.setattr(checkpoints, "save", full)
        else:
            broken.setattr(os, "fsync", full)
        for _ in range(2):  # a second failure must not lose what the first one left
            with pytest.raises(OSError, match="No space left"):
                save_last(tmp_path, content(2))
            state, _lines = load_last(tmp_path)
            assert state is not None
            assert equal(state, content(1))
            assert set(names(tmp_path)) <= {"last.pt", "previous.pt"}
    save_last(tmp_path, content(3))
    state, lines = load_last(tmp_path)
    assert state is not None
    assert equal(state, content(3))
    assert not lines
    assert equal(load(tmp_path / "previous.pt"), content(1))


def test_write_whole_replaces_or_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    write_whole(path, "nëw")
    assert path.read_text(encoding="utf-8") == "nëw"

    def fails(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="Input/output"):
        write_whole(path, "newest")
    assert path.read_text(encoding="utf-8") == "nëw"
    assert names(tmp_path) == ["a.txt"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is on disk, the new content has another name."""
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    seen: list[str] = []
    sync = os.fsync

    def look(descriptor: int) -> None:
        seen.append(path.read_text())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_whole(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_weights_hash() -> None:
    """Of names, shapes, types and values; of nothing else."""
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2, dtype=torch.bfloat16), "n": torch.tensor(3)}
    one = weights_hash(weights)
    assert weights_hash(dict(reversed(weights.items()))) == one
    assert weights_hash(weights | {"a": weights["a"].t().contiguous().t().requires_grad_()}) == one
    others = [
        weights | {"a": weights["a"].reshape(3, 2)},
        weights | {"a": weights["a"].double()},
        weights | {"a": weights["a"] + torch.tensor([1e-6, 0, 0])},
        weights | {"n": torch.tensor(4)},
        {"a": weights["a"], "b": weights["b"], "m": weights["n"]},
        {"a": weights["a"], "b": weights["b"]},
    ]
    assert len({one, *map(weights_hash, others)}) == 1 + len(others)
