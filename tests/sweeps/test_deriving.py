"""Points without training: planned once, made and judged like trials, killed at any moment, and no sampler's teacher."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import sweeps
from analysis import device_time
from robustray.derived import Nonlinear, Smoothing, Soup
from robustray.errors import UserError
from robustray.subjects.spec import in_folder
from sweeps import record
from sweeps.deriving import parents
from sweeps.deriving.parents import Standing
from sweeps.record import Judged, Record, Snapshot, TrialRecord, ledger
from sweeps.standing import frontier, trained
from tests.sweeps.small import SPACE, driver_process, facts, run_quietly, small_sweep

DERIVE = [
    {"name": "soup", "parents": "neighbours", "points": 2},
    {"name": "smoothing", "parents": ["cleanest", "most_robust"], "alpha": [0.6, 0.9]},
    {"name": "nonlinear", "parents": ["cleanest", "most_robust"], "keep": [0.9], "grid": 3, "limit": 60},
]
SOUPS = SPACE.replace(
    "{choice: [{name: trades, beta: {loguniform: [0.1, 20]}}, {name: adversarial}, natural]}",
    "{name: trades, beta: {loguniform: [0.1, 20]}}",
).replace("trials: 5", "trials: 4")
DERIVED = SOUPS + f"derive: {json.dumps(DERIVE)}\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("derived")
    assert run_quietly(small_sweep(folder, text=DERIVED), folder / "results")
    return folder / "results"


def of(folder: Path, origin: str) -> list[TrialRecord]:
    return [trial for trial in record.read(folder).trials if trial.origin == origin]


def test_points_are_judged_with_the_others_and_test_is_read_once(done: Path) -> None:
    snapshot = record.read(done)
    points = of(done, "derived")
    assert {trial.params["derived"] for trial in points} == {"soup", "smoothing", "nonlinear"}
    assert [trial.outcome for trial in points] == ["complete"] * len(points)
    assert len(snapshot.members) == 1
    tested = {number for number, split in snapshot.judged if split == "test"}
    assert tested == set(snapshot.members[0].trials) == set(snapshot.members[0].opened)
    settled = {number for number, split in snapshot.judged if split == "validation"} | set(snapshot.skipped)
    assert settled == {trial.number for trial in snapshot.trials}
    assert set(frontier(snapshot)) == set(snapshot.members[0].trials), "the exact frontier of the union"


def test_parents_stand_on_the_trained_frontier_and_costs_are_theirs_too(done: Path) -> None:
    snapshot = record.read(done)
    front = set(frontier(trained(snapshot)))
    for point in of(done, "derived"):
        assert len(point.parents) == 2
        assert set(point.parents) <= front
        theirs = [snapshot.trials[number].metrics["cost_passes"] for number in point.parents]
        assert point.metrics["cost_passes"] > sum(theirs)


def test_mixtures_are_attacked_through_their_parts(done: Path) -> None:
    snapshot = record.read(done)
    for point in of(done, "derived"):
        stages = {
            path.name.rpartition("-")[0] for path in (done / "judgements" / f"{point.number:04d}").glob("*/*.parquet")
        }
        judged = snapshot.judged.get((point.number, "validation"))
        mixture = point.params["derived"] != "soup"
        assert mixture or "parts" not in stages, point.params
        assert judged is None or not mixture or "parts" in stages, "less only where APGD showed it to be dominated"
        assert judged is None or point.weights == in_folder(done / "trials" / f"{point.number:04d}").weights


def test_what_was_found_is_told_and_kept_for_readers_without_torch(done: Path) -> None:
    lines = (done / "events.log").read_text().splitlines()
    for point in of(done, "derived"):
        folder = done / "trials" / f"{point.number:04d}"
        about = json.loads((folder / "made.json").read_text())
        assert about["weights"] == point.weights
        assert [parent["spec"] for parent in about["parents"]] == [f"../{number:04d}" for number in point.parents]
        for parent, number in zip(about["parents"], point.parents, strict=True):
            assert parent["weights"] == in_folder(done / "trials" / f"{number:04d}").weights
        said, words = about["said"], about["found"]
        match point.params["derived"]:
            case "soup":
                above = said["loss"] - max(said["loss_of_parents"])
                assert said["barrier"] == pytest.approx(above)
                assert ("different basins" in words) == (above > 0.02)
            case "nonlinear":
                assert f"s {said['s']:.3g}, p {said['p']:.3g}, c {said['c']:.3g}, alpha {said['alpha']:.3g}" in words
            case "smoothing":
                assert not words
        (line,) = [line for line in lines if f"  point {point.number:04d} (" in line]
        assert " and ".join(f"{number:04d}" for number in point.parents) in line
        assert words in line
    assert not any("trial 0004" in line for line in lines), "points are no trials"


def test_device_time_of_points_is_their_own(done: Path) -> None:
    snapshot = record.read(done)
    spent = device_time.of_sweep(done, snapshot)
    apart = ledger.read(done)
    assert apart is not None
    assert spent.deriving >= apart.by_kind["derive"] > 0
    assert spent.training == pytest.approx(apart.by_kind["train"]), "without what points take, on any machine"
    assert spent.judging_points > 0


def test_no_sampler_learns_from_points(done: Path, tmp_path: Path) -> None:
    """More trials after points are those that the sweep without points would have drawn."""
    plain = small_sweep(tmp_path / "plain", "search.trials=6", "search.sampler=tpe", text=SOUPS)
    assert run_quietly(plain, tmp_path / "plain" / "results")
    text = SOUPS + f"derive: {json.dumps(DERIVE[1:2])}\n"
    for trials in (4, 6):
        derived = small_sweep(tmp_path / "with", f"search.trials={trials}", "search.sampler=tpe", text=text)
        assert run_quietly(derived, tmp_path / "with" / "results")
    drawn = [[t.params for t in of(tmp_path / name / "results", "sampled")] for name in ("plain", "with")]
    assert drawn[0] == drawn[1]


@pytest.mark.faults
def test_killed_at_random_moments_nothing_is_lost_or_made_twice(done: Path, tmp_path: Path) -> None:
    small_sweep(tmp_path, text=DERIVED)
    chance, lives = random.Random(5), 0
    while True:
        with driver_process(tmp_path / "small.yaml", tmp_path / "results") as process:
            process.join(chance.uniform(0.5, 4) if lives < 6 else 300)
            if process.exitcode == 0:
                break
            lives += 1
        time.sleep(0.1)
    assert lives, "it was killed at least once"
    assert facts(tmp_path / "results") == facts(done)


def test_a_finished_sweep_is_extended_by_a_command(done: Path, tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, text=SOUPS)
    assert run_quietly(sweep, tmp_path / "results")
    before = record.read(tmp_path / "results")
    request = Soup(parents=(0, 1), points=1)
    for _ in range(2):  # the second time there is nothing to do
        assert sweeps.run(sweep, tmp_path / "results", "local", write=lambda line: None, derive=[request])
    after = record.read(tmp_path / "results")
    assert after.trials[: len(before.trials)] == before.trials
    assert [trial.parents for trial in after.trials[len(before.trials) :]] == [(0, 1)]
    assert [event.event for event in after.members] == list(range(1, len(after.members) + 1))
    opened = [number for event in after.members for number in event.opened]
    assert len(opened) == len(set(opened)), "each trial's test images are read for it once"


def test_snapshots_of_one_trajectory_make_a_soup(tmp_path: Path) -> None:
    """More than two parents make their mean, or what the shares say; a snapshot that was not kept is said."""
    requests = [
        {"name": "soup", "parents": ["0@1", "0@2", "0@3"]},
        {"name": "soup", "parents": ["0@1", "0@2", 0], "weights": [[0.5, 0.5, 0], [1.2, -0.2, 0]]},
        {"name": "soup", "parents": ["0@1", "0@9"]},
    ]
    lines: list[str] = []
    text = SOUPS + f"derive: {json.dumps(requests)}\n"
    sweep = small_sweep(tmp_path, "search.trials=1", "trial.checkpoints.every=1", text=text)
    assert sweeps.run(sweep, tmp_path / "results", "local", write=lines.append)
    points = of(tmp_path / "results", "derived")
    assert [(point.outcome, point.parents) for point in points] == [("complete", (0, 0, 0))] * 3
    assert any("kept no snapshot after epoch 9" in line for line in lines)
    assert len({point.weights for point in points}) == 3


def test_what_comes_to_nothing_is_said_and_the_sweep_goes_on(tmp_path: Path) -> None:
    requests = [{"name": "soup", "parents": [0, 7]}, {"name": "smoothing", "parents": [1, 1]}]
    lines: list[str] = []
    sweep = small_sweep(tmp_path, "search.trials=2", text=SOUPS + f"derive: {json.dumps(requests)}\n")
    assert sweeps.run(sweep, tmp_path / "results", "local", write=lines.append)
    assert any("trial 0007 is none that was trained" in line for line in lines)
    assert any("1 and 1 are one model" in line for line in lines)
    assert record.read(tmp_path / "results").members


@pytest.mark.parametrize(
    ("request_", "saying"),
    [
        ({"name": "smoothing", "parents": [0, 1, 2]}, "takes 2 parents, not 3"),
        ({"name": "soup", "parents": ["nowhere/last.pt", 1]}, "no such file"),
        ({"name": "soup", "parents": [0, 1], "weights": [[0.5, 0.6]]}, "sum 1"),
    ],
)
def test_wrong_requests_are_told_before_anything_is_trained(
    request_: dict[str, Any], saying: str, tmp_path: Path
) -> None:
    sweep = small_sweep(tmp_path, text=SOUPS + f"derive: {json.dumps([request_])}\n")
    with pytest.raises(UserError, match=saying):
        run_quietly(sweep, tmp_path / "results")
    assert not (tmp_path / "results").exists()


def test_foreign_parents(done: Path, tmp_path: Path) -> None:
    """A function beside the user and a checkpoint of another sweep."""
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    checkpoint = done / "trials" / "0000" / "last.pt"
    request = Smoothing(parents=(f"{tmp_path / 'net.py'}:make", str(checkpoint)), alpha=(0.8,))
    sweep = small_sweep(tmp_path, "search.trials=1", text=SOUPS)
    assert sweeps.run(sweep, tmp_path / "results", "local", write=lambda line: None, derive=[request])
    (point,) = of(tmp_path / "results", "derived")
    assert point.outcome == "complete"
    assert point.parents == ()


def judged(clean: float, robust: float) -> Judged:
    return Judged(1000, round(1000 * clean), round(1000 * robust), "standard", True, "", 1.0)


def made_up(*places: tuple[float, float]) -> Snapshot:
    trials = tuple(
        TrialRecord(number, {}, "complete", {"clean_accuracy": clean, "robust_accuracy": robust})
        for number, (clean, robust) in enumerate(places)
    )
    verdicts = {(number, "validation"): judged(*place) for number, place in enumerate(places)}
    return Snapshot({"clean_accuracy": "max", "robust_accuracy": "max"}, trials, verdicts, {}, {}, (), {})


def test_parents_by_their_places() -> None:
    snapshot = made_up((0.9, 0.3), (0.7, 0.5), (0.8, 0.4), (0.6, 0.2))
    standing = Standing.of(snapshot)
    assert list(standing.front) == [0, 2, 1]
    sweep: Any = lambda number: type("Config", (), {"model": "same", "script": None})  # noqa: E731
    pairs = parents.groups(Soup(), standing, sweep, Path())
    assert [group.numbers for group in pairs] == [(0, 2), (2, 1)]
    ends = parents.groups(Nonlinear(parents=("cleanest", "most_robust")), standing, sweep, Path())
    assert [group.specs for group in ends] == [("../0000", "../0001")]


def test_networks_of_two_kinds_make_no_soup() -> None:
    standing = Standing.of(made_up((0.9, 0.3), (0.7, 0.5)))
    with pytest.raises(UserError, match="same architecture"):
        parents.groups(Soup(), standing, lambda number: type("Config", (), {"model": number, "script": None}), Path())  # type: ignore[arg-type, return-value]


def test_a_recipe_lost_in_a_kill_is_written_again(done: Path, tmp_path: Path) -> None:
    """Between issuing a point and writing its recipe a driver may die."""
    sweep = small_sweep(tmp_path, text=DERIVED)
    shutil.copytree(done, tmp_path / "results")
    wanted = {
        path.parent.name: yaml.safe_load(path.read_text())
        for path in (tmp_path / "results").glob("trials/*/point.yaml")
    }
    from sweeps.deriving.queue import Deriving

    for path in (tmp_path / "results").glob("trials/*/point.yaml"):
        path.unlink()
    with Record(tmp_path / "results", sweep.objectives) as kept:
        queue = Deriving(sweep, kept, lambda event: None, session="s", settled=lambda: True)
        for name in wanted:
            queue._job(int(name))
    found = {
        path.parent.name: yaml.safe_load(path.read_text())
        for path in (tmp_path / "results").glob("trials/*/point.yaml")
    }
    assert found == wanted
