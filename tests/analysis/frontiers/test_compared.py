"""Sweeps beside each other: what repeats what, under which conditions, what is tested how, and what is written."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from analysis import paired
from analysis.__main__ import app
from analysis.collect import load
from analysis.frontiers import compared, differing, figure, indicators, written
from analysis.frontiers.compared import Compared
from robustray.errors import UserError
from tests.analysis import made as the

RESAMPLES = 40


def _said(folder: Path, **changed: Any) -> Path:
    """Another seed, threat ... in what a sweep's sheet says."""
    told = yaml.safe_load((folder / "sweep.yaml").read_text())
    for place, value in changed.items():
        *path, last = place.split("__")
        at: dict[str, Any] = told["space"]
        for key in path:
            at = at.setdefault(key, {})
        at[last] = value
    (folder / "sweep.yaml").write_text(yaml.safe_dump(told))
    return folder


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """`a` and `a1` are one search with two seeds; `b` is another one, with fewer trials, of another network."""
    root = tmp_path_factory.mktemp("results")
    a = the.sweep(root / "a", fix=False)
    shutil.copytree(a, root / "a1")
    b = the.sweep(root / "b", fix=False, trials=8)
    _said(root / "a1", name="a1", search__seed=1)
    _said(b, trial__model={"name": "small_cnn", "width": 3})
    return {name: root / name for name in ("a", "a1", "b")}


@pytest.fixture(scope="module")
def both(sweeps: Mapping[str, Path]) -> Compared:
    return compared.compare(list(sweeps.values()), split="validation", resamples=RESAMPLES)


def test_repetitions_are_of_one_space_with_another_seed(both: Compared, sweeps: Mapping[str, Path]) -> None:
    assert both.sweeps["search"].tolist() == ["a", "a", "b"]
    assert both.pairs[["a", "b"]].drop_duplicates().to_numpy().tolist() == [["a", "b"]]
    assert set(both.pairs["test"]) == {"bootstrap of 1,000 images"}
    assert any("another seed of the search or of training may turn them" in note for note in both.notes)
    front = both.fronts[0]
    df = load(sweeps["a"]).set_index("trial")
    np.testing.assert_allclose(
        front.points, df.loc[list(front.trials), ["judged_clean_accuracy", "judged_robust_accuracy"]].to_numpy()
    )


def test_numbers_of_a_pair_are_those_of_its_sweeps(both: Compared) -> None:
    volumes = both.sweeps.set_index("sweep")["hypervolume"]
    row = both.pairs[both.pairs["indicator"] == "hypervolume"].iloc[0]
    assert row["difference"] == pytest.approx((volumes["a"] + volumes["a1"]) / 2 - volumes["b"])
    assert both.sweeps["epsilon"].min() >= 0
    assert (both.sweeps["hypervolume_at"] > 0).all()
    assert both.budget == pytest.approx(both.curves.groupby("sweep")["cost_device_hours"].max().min())


def test_what_differs_is_said_and_what_spoils_comes_first(
    both: Compared, sweeps: Mapping[str, Path], tmp_path: Path
) -> None:
    differs = both.conditions.set_index("condition")["differs"]
    assert differs["network"] == "mind it"
    assert differs["threat"] == differs["judge"] == differs["images"] == ""
    other = shutil.copytree(sweeps["b"], tmp_path / "c")
    for parts in other.glob("judgements/*/validation-*/judgement.json"):
        parts.write_text(parts.read_text().replace(str(8 / 255), str(4 / 255)))
    found = compared.compare([sweeps["a"], _said(other, name="c")], split="validation", resamples=RESAMPLES)
    assert found.notes[0] == "NOT COMPARABLE: threat differs: linf, eps 8/255 (a); linf, eps 4/255 (c)"


def test_enough_repetitions_are_tested_by_their_seeds(sweeps: Mapping[str, Path], tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        for seed in range(5):
            folders.append(shutil.copytree(sweeps[name], tmp_path / f"{name}{seed}"))
            _said(folders[-1], name=f"{name}{seed}", search__seed=seed)
    found = compared.compare(folders, split="validation", resamples=2)
    assert set(found.pairs["test"]) == {"permutation of 5 + 5 searches"}
    assert found.pairs["low"].isna().all()
    assert not found.notes or not any("repeat" in note for note in found.notes)
    assert found.pairs["p"].max() <= indicators.ALPHA or found.pairs["difference"].min() == 0
    for folder in folders[3:5]:
        _said(folder, search__seed=0)
    again = compared.compare(folders, split="validation", resamples=2)
    assert set(again.pairs["test"]) == {"bootstrap of 1,000 images"}, "the same seed twice is no repetition"
    assert any(note.startswith("a3, a4 repeat") for note in again.notes)
    assert any("(a0 3 seeds, b0 5 seeds)" in note and "with 5 sweeps of each space" in note for note in again.notes)


@pytest.mark.parametrize("searches", [2, 3, 4])
def test_as_many_sweeps_as_are_asked_for_can_show_a_difference(searches: int) -> None:
    rows = 2 * math.comb(searches, 2)
    each = indicators.enough(rows)
    least = [indicators.smallest_p(each, each)] * rows
    assert paired.holm(np.array(least)).max() <= indicators.ALPHA
    assert rows * indicators.smallest_p(each - 1, each - 1) > indicators.ALPHA


def test_what_is_written_is_whole_and_holds_the_same_numbers(both: Compared, tmp_path: Path) -> None:
    below = figure.beneath(["cifar10:linf:resnet18"])
    assert figure.elsewhere(both, below) == []
    page, _ = written.publish(both, below, tmp_path / "out", formats=(), notes=["<script>alert(1)</script>"])
    text = page.read_text()
    assert "<script>alert(1)" not in text
    assert "Under which conditions" in text
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "sweeps.csv"), both.sweeps, check_dtype=False)
    kinds = [trace.meta["kind"] for trace in figure.frontiers_figure(both, below).data]
    assert kinds.count("median") == 1
    assert kinds.count("front") == 3
    assert "published" in kinds
    assert len(figure.cost_figure(both).data) == 3


def test_published_models_of_another_threat_are_said_to_be(both: Compared) -> None:
    assert "published models beneath are of cifar10, l2" in figure.elsewhere(both, figure.beneath(["cifar10:l2"]))[0]
    with pytest.raises(UserError, match="must look like"):
        figure.beneath(["cifar10"])


def test_the_command_and_its_mistakes(sweeps: Mapping[str, Path], tmp_path: Path) -> None:
    a, b = str(sweeps["a"]), str(sweeps["b"])
    done = CliRunner().invoke(app, ["compare", a, b, "--split", "validation", "--csv", str(tmp_path / "pairs.csv")])
    assert done.exit_code == 0
    assert len(pd.read_csv(tmp_path / "pairs.csv")) == 2
    for arguments, said in (
        ([a, b], "try --split validation"),
        ([a, a], "is named twice"),
        ([a, b, str(tmp_path)], "no sweep"),
        ([a, b, "--published", "cifar10:linf"], "name a folder with --out"),
        ([a, "--out", "x"], "go with two sweeps or more"),
        ([str(tmp_path), str(tmp_path), str(tmp_path)], "compare takes sweeps alone"),
    ):
        wrong = CliRunner().invoke(app, ["compare", *arguments])
        assert isinstance(wrong.exception, UserError)
        assert said in str(wrong.exception)


def test_conditions_that_nobody_wrote_down_are_said_to_be_missing(both: Compared) -> None:
    row = {"condition": "network", "a": "", "b": "x", "differs": "mind it"}
    assert differing.notes(pd.DataFrame([row])) == ["network differs: not said (a); x (b)"]
