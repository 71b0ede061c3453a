"""Labels that are odd: what is said of them, where, and that nothing is said of others."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sweeps
from robustray.commands.data import checks
from robustray.commands.train import train
from robustray.data import DataSource, Images, Npz
from robustray.data.base import Split
from robustray.data.doubts import doubts
from robustray.trial import TrialConfig
from sweeps.space import Sweep
from tests.robustray.made import every, made_folder
from tests.robustray.made_folders import drawn


class Labelled(DataSource):
    """Labels as they are given, on images of one pixel."""

    name: str = "labelled"
    train: tuple[int, ...]
    held: tuple[int, ...] = ()
    test: tuple[int, ...] = ()

    @property
    def classes(self) -> int:
        return 1 + max(self.train + self.held)

    def read(self, split: Any) -> Images:
        raise AssertionError("splits are as they are")

    def load(self, split: Split) -> Images:
        labels = np.array({"train": self.train, "validation": self.held, "test": self.test}[split], np.int64)
        return Images(np.zeros((len(labels), 1, 1, 1), np.uint8), labels)

    def identity(self, split: Split) -> str:
        return split


@pytest.mark.parametrize(
    ("train", "held", "test", "said"),
    [
        ((0, 1, 2), (2, 1, 0), (0, 1, 2), []),
        ((1, 2, 3, 4), (1, 2, 3, 4), (4, 3, 2, 1), ["train has no image of class 0 of 5: do the labels begin at 1?"]),
        ((0, 1, 255), (0, 1), (0, 1), ["train has no image of 253 of 256 classes (2, 3, 4, 5, 6 ...): is label 255 a mark",
                                       "validation has no image of class 255 of 256: hold out more",
                                       "test has no image of class 255 of 256: its accuracy says nothing"]),
        ((0, 2, 4, 5), (0, 2, 4, 5), (0, 2, 4, 5), ["train has no image of 2 of 6 classes (1, 3): number the classes"]),
        ((0, 0, 1), (0, 1, 2), (0, 1), ["every image of class 2 of 3 is held out for validation"]),
        ((0, 1), (0, 1, 2), (2, 0, 1), ["every image of class 2 of 3", "test has images of class 2 of 3, and train has none"]),
        ((0, 0), (0,), (0,), []),
        ((), (0,), (0,), ["every image of class 0 of 1 is held out", "test has images of class 0"]),
    ],
)  # fmt: skip
def test_what_is_said(train: tuple[int, ...], held: tuple[int, ...], test: tuple[int, ...], said: list[str]) -> None:
    found = list(doubts(Labelled(train=train, held=held, test=test), ("validation", "test")))
    assert len(found) == len(said), found
    for line, wanted in zip(found, said, strict=True):
        assert line.startswith(wanted)


labels = st.lists(st.integers(0, 6), min_size=1, max_size=12).map(tuple)


@given(labels, labels, labels)
def test_nothing_is_said_exactly_where_every_split_has_every_class(
    train: tuple[int, ...], held: tuple[int, ...], test: tuple[int, ...]
) -> None:
    source = Labelled(train=train, held=held, test=tuple(min(label, max(train + held)) for label in test))
    whole = all({*part} == {*range(source.classes)} for part in (source.train, source.held, source.test))
    assert (not list(doubts(source, ("validation", "test")))) == whole


def test_a_sweep_reads_no_test_label(tmp_path: Path) -> None:
    images, labels = drawn(60, (5, 4, 3), 3, 0)
    np.savez(tmp_path / "train.npz", images=images, labels=labels + 1)
    source = Npz(train=str(tmp_path / "train.npz"), test=str(tmp_path / "missing.npz"), validation=20)
    (line,) = doubts(source)
    assert line.endswith("save labels - 1")


@every("data")
def test_sources_as_they_are_published_with_every_class(cls: type[DataSource], tmp_path: Path) -> None:
    """The command says of a split what is counted in it."""
    source = cls(**made_folder(cls, tmp_path).options)
    counted = {split: np.bincount(source.load(split).labels, minlength=source.classes) for split in ("train", "test")}
    said = [line for line in checks(source) if line.startswith("warning: ") and "has no image of" in line]
    for split, counts in counted.items():
        assert any(line.startswith(f"warning: {split} ") for line in said) <= bool((counts == 0).any())


def test_a_sweep_and_a_training_begin_with_the_doubts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = drawn(90, (5, 4, 3), 3, 0)
    for name in ("train", "test"):
        np.savez(f"{name}.npz", images=images, labels=labels + 1)
    judge = {
        "data": {"name": "npz", "train": "train.npz", "test": "test.npz", "validation": 20},
        "threat": {"eps": 0.1},
    }
    options = {"batch": {"size": 30}, "model": {"name": "small_cnn", "width": 1}, "defense": "natural"}
    once = {"name": "one_cycle", "epochs": 1}
    said: list[str] = []
    sweep = Sweep.model_validate(
        {
            "name": "x",
            "judge": judge | {"trials": "none"},
            "trial": options | {"schedule": once},
            "search": {"trials": 1},
            "resources": {"cpus": 1},
        }
    )
    sweeps.run(sweep, tmp_path / "results", "local", write=said.append)
    assert [line for line in said if "class 0 of 4: do the labels begin at 1?" in line] == [said[0]]
    trained = TrialConfig.model_validate({"judge": judge, **options, "schedule": once})
    Path("trial.yaml").write_text(trained.to_yaml())
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process goes on after it
    train(Path("trial.yaml"), tmp_path / "folder", "cpu", 1)
    assert "warning: train has no image of class 0 of 4" in capsys.readouterr().out
