"""How many CPU threads a judgement and a training have: told, as begun, or measured; and that results know nothing of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustray.commands.judge_run import THREADS, Asked, run
from robustray.commands.train import train
from robustray.measures import threads
from robustray.measures.threads import WORTH, best, halved, measured, timed, told
from robustray.subjects.trial import load_model
from robustray.verdicts import Verdicts
from tests.robustray.made import same, state, trial


@given(st.integers(1, 300))
def test_numbers_that_are_tried(most: int) -> None:
    tried = list(halved(most))
    assert tried[0] == most
    assert tried[-1] == 1
    assert all(a // 2 == b for a, b in pairwise(tried))


@given(st.dictionaries(st.integers(1, 64), st.floats(1e-6, 1e3), min_size=1))
def test_more_threads_only_where_they_are_worth_it(seconds: dict[int, float]) -> None:
    number = best(seconds)
    assert number in seconds
    for other, took in seconds.items():
        if other < number:
            assert seconds[number] <= took
        if other > number:
            assert took > WORTH * seconds[number], "no more threads were worth it"


@pytest.mark.parametrize(
    ("slowed", "wanted"),
    [(lambda number: 1 / number, 8), (lambda number: number, 1), (lambda number: 1.0, 1), (lambda n: 1 / min(n, 2), 2)],
)
def test_the_quickest_number_is_found(slowed: Callable[[int], float], wanted: int) -> None:
    """A pass that takes as long as the number of threads says, from perfect sharing to a core that is taken away."""
    before = torch.get_num_threads()
    seen = []

    def work(images: int) -> None:
        seen.append((torch.get_num_threads(), images))
        time.sleep(0.002 * images * slowed(torch.get_num_threads()))

    found = timed(work, 10, 8)
    assert best(found) == wanted
    assert set(found) == {1, 2, 4, 8} == {number for number, _ in seen}
    assert torch.get_num_threads() == before
    assert {images for _, images in seen} <= set(range(1, 11))


def test_a_pass_that_takes_too_long_ends_the_measurement() -> None:
    """Of one image already: what was measured counts, and nothing is measured twice."""
    seen = []

    def work(images: int) -> None:
        seen.append((torch.get_num_threads(), images))
        time.sleep(0.05)

    found = timed(work, 100, 64, seconds=0.1)
    assert {images for _, images in seen} == {1}
    assert 1 in found
    assert len(seen) <= 2 + 3 + 7


def test_a_failure_leaves_threads_as_they_were() -> None:
    before = torch.get_num_threads()

    def work(images: int) -> None:
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        timed(work, 1, 4)
    assert torch.get_num_threads() == before


def test_a_measurement_leaves_the_model_and_chance_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 10)).train()
    before, drawn = state(model), torch.get_rng_state()
    found = measured(model, torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)), most=2)
    assert found.number in (1, 2)
    assert "measured: " in str(found)
    assert same(state(model), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_what_is_told_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert str(told(3, 2)) == "3 CPU threads (--threads)"
    assert str(told(None, 2)) == "1 CPU thread (OMP_NUM_THREADS)"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert str(told(None, 2)) == "2 CPU threads (as it was begun)"
    assert told(None) is None


def test_one_core_needs_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 1)

    def failing(x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("was asked")

    class Never(nn.Module):
        forward = staticmethod(failing)

    assert measured(Never(), torch.zeros(1, 1, 2, 2)).number == 1


def test_a_judgement_says_its_threads_and_keeps_them(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verdicts do not depend on them; a later life has as many as the first, whatever would be measured then."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 2)
    verdicts, said = {}, dict[str, list[str]]()
    for name, number in (("one", 1), ("two", 2), ("measured", None), ("again", None)):
        lines = said.setdefault(name, [])
        results = tmp_path / name.replace("again", "measured")
        if name == "again":
            (folder,) = results.iterdir()
            (folder / THREADS).write_text("2")
        asked = Asked(str(trained), version="apgd-ce", images=20, devices=("cpu",), results=results, threads=number)
        run(asked, lines.append)
        (folder,) = results.iterdir()
        assert (folder / THREADS).exists() == (number is None)
        verdicts[name] = Verdicts.read(folder)
    for name, why in {
        "one": "--threads",
        "two": "--threads",
        "measured": "measured: ",
        "again": "as it was begun",
    }.items():
        (line,) = [line for line in said[name] if "CPU thread" in line]
        assert why in line
    assert "2 CPU threads (as it was begun)" in "\n".join(said["again"])
    for name in ("two", "measured"):
        np.testing.assert_array_equal(verdicts[name].robust, verdicts["one"].robust)


def test_a_training_goes_on_with_the_threads_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process goes on after it
    path = tmp_path / "trial.yaml"
    path.write_text(trial().to_yaml())
    train(path, tmp_path / "new", "cpu", None)
    assert "(measured: " in capsys.readouterr().out
    train(path, tmp_path / "folder", "cpu", 2)
    assert "2 CPU threads (--threads)" in capsys.readouterr().out
    train(path, tmp_path / "folder", "cpu", None)
    assert "2 CPU threads (as it was begun)" in capsys.readouterr().out


def test_a_trial_is_trained_again_with_the_threads_it_had_and_says_what_came_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)  # this process goes on after it
    folder = tmp_path / "trials" / "0007"
    folder.mkdir(parents=True)
    path = folder / "trial.yaml"
    path.write_text(trial().to_yaml())
    train(path, folder, "cpu", 3)
    first = capsys.readouterr().out.splitlines()[-1]
    assert first == f"its weights  SHA-256 {load_model(folder, 'cpu')[2]}"
    train(path, tmp_path / "again", "cpu", None)
    lines = capsys.readouterr().out.splitlines()
    assert "3 CPU threads (as it was begun)" in lines
    assert lines[-1] == first
    other = folder / "other.yaml"
    other.write_text(trial(seed=1).to_yaml())
    train(other, tmp_path / "other", "cpu", None)
    lines = capsys.readouterr().out.splitlines()
    assert "3 CPU threads (as it was begun)" not in lines
    assert lines[-1] != first
