"""`measures` of a sweep: of members, of all, as objectives and constraints; resumed, recorded, reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import explained, load
from analysis.report import publish
from robustray.errors import Paused, UserError
from robustray.measures.metrics import METRICS, in_order, is_share
from robustray.registry import parts
from sweeps.driver import drive
from sweeps.record import Record, measured, read
from sweeps.running.worker import open_task
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, run_quietly, small_sweep

OF_ALL = (
    SPACE.replace("{validation: 60, test: 80}", "{validation: 20, test: 20}")
    .replace("epochs: 3", "epochs: 1")
    .replace(
        "search: {sampler: random, trials: 5, seed: 3}",
        "measures: {lipschitz: {name: lipschitz, steps: 1}, lipschitz_softmax: {name: lipschitz, output: softmax, steps: 1}}\n"
        "measuring: {splits: [validation, test], images: 10}\n"
        "objectives: {clean_accuracy: max, lipschitz: min}\n"
        "search: {trials: 2, sampler: random, seed: 3}\nderive: [{name: soup, parents: [0, 1], points: 1}]",
    )
)


@pytest.mark.parametrize(
    ("override", "wrong"),
    [
        ("objectives={lipschitz: min}", r"objectives.lipschitz: is a measure, .*; write measures: \[lipschitz\]"),
        ("constraints={lipschitz_x: {max: 1}}", r"write measures: \{lipschitz_x: \{name: lipschitz\}\}"),
        ("objectives={lipshitz: min}", r"objectives.*lipshitz.*: is not a metric; did you mean 'lipschitz'"),
        ("measures=[lipschitz, {name: lipschitz, steps: 3}]", r"measures.1: lipschitz is there twice; name them"),
        ("measures={smoothness: lipschitz}", r"measures.smoothness: must be lipschitz, or begin with lipschitz_"),
        ("measures=[lipshitz]", r"there is no measure 'lipshitz'; did you mean 'lipschitz'"),
        ("measures=[3]", r"must be a name or a mapping with a name"),
        ("measuring={splits: []}", r"measuring.splits: must name one or more"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(tmp_path: Path, override: str, wrong: str) -> None:
    with pytest.raises(UserError, match=wrong) as caught:
        small_sweep(tmp_path, override)
    assert "\n" not in str(caught.value)


def test_a_measure_never_takes_a_metrics_place(tmp_path: Path) -> None:
    """One that is called as what training measures has a name of its own, in a list without being asked."""
    named = sorted({*METRICS} & {*parts("measure")})
    listed = small_sweep(tmp_path, f"measures=[{', '.join(named)}]", "measuring=all")
    assert list(listed.measured_of_all) == [f"{name}_measured" for name in named]
    for name in named:
        with pytest.raises(UserError, match=f"measures.{name}: must begin with {name}_ and no other"):
            small_sweep(tmp_path, f"measures={{{name}: {name}}}")


def test_what_a_remedy_says_is_valid(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "measures={lipschitz_x: {name: lipschitz}}", "constraints={lipschitz_x: {max: 1}}")
    assert list(sweep.measured_of_all) == ["lipschitz_x"]
    assert Sweep.model_validate(sweep.resolved()).space_hash == sweep.space_hash


def test_what_may_be_asked_for_later(tmp_path: Path) -> None:
    """Measures are no part of a search, unless objectives or constraints name them."""
    plain, bound = small_sweep(tmp_path), "constraints={lipschitz: {max: 50}}"
    assert small_sweep(tmp_path, "measures=[lipschitz]", "measuring=all").space_hash == plain.space_hash
    one, two = (small_sweep(tmp_path, f"measures=[{{name: lipschitz, steps: {n}}}]", bound) for n in (1, 2))
    assert one.space_hash != two.space_hash
    assert two.difference(one.resolved()) == ["measures.lipschitz.steps: 1 -> 2"]
    few = small_sweep(tmp_path, "measures=[{name: lipschitz, steps: 1}]", bound, "measuring.images=9")
    assert few.space_hash != one.space_hash


def test_a_measure_is_a_metric_by_its_name() -> None:
    assert METRICS["lipschitz_softmax"].direction == "min"
    assert not is_share("lipschitz")
    assert "lipschitz_softmax" in METRICS
    assert "nothing" not in METRICS
    with pytest.raises(KeyError):
        METRICS["nothing"]
    assert in_order(["lipschitz", "cost_passes", "clean_accuracy"]) == ["clean_accuracy", "cost_passes", "lipschitz"]


def test_measures_of_all_and_of_members_from_end_to_end(tmp_path: Path) -> None:
    """An objective is measured of every trial and point; members on each split; what is done is not done again."""
    sweep, folder = small_sweep(tmp_path, text=OF_ALL), tmp_path / "measured"
    assert run_quietly(sweep, folder)
    snapshot = read(folder)
    assert {trial.origin for trial in snapshot.trials} == {"sampled", "derived"}
    for trial in snapshot.trials:
        assert trial.outcome == "complete", trial.cause
        assert trial.metrics["lipschitz"] > 0
        assert "lipschitz_softmax" not in trial.metrics, "it is asked for of members alone"
    members = snapshot.members[-1].trials
    found = list(measured.found(snapshot))
    assert sorted((each.trial, each.split, each.name) for each in found) == sorted(
        (number, split, name) for number in members for split in ("test", "validation") for name in sweep.measures
    )
    for each in found:
        assert each.images == 10
        said = json.loads((folder / each.folder / "result.json").read_text())
        assert (said["value"], said["low"], said["high"]) == (each.value, each.low, each.high)
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low < each.value < each.high
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/measures/*/piece-*.npz")}
    with Record(folder, sweep.objectives) as record:
        assert drive(sweep, record, lambda: pytest.fail("nothing is left to do"))

    publish(folder, picture=False)
    df = load(folder)
    assert df["judged_lipschitz_low"].notna().tolist() == df["member"].tolist()
    members_csv = (folder / "report" / "frontier.csv").read_text().splitlines()[0].split(",")
    assert {"lipschitz", "judged_lipschitz", "test_lipschitz_softmax_high"} <= set(members_csv)
    assert "What explains the members" in (folder / "report" / "index.html").read_text()
    rows = explained.table(df, snapshot).rows
    assert len(rows) == len(members)
    shown = {row[0].text: row[1].text for row in rows}
    for each in found:
        if (each.split, each.name) == ("validation", "lipschitz"):
            assert shown[str(each.trial)] == METRICS["lipschitz"].printed(each.value or 0)

    more = small_sweep(tmp_path, "measures.lipschitz_softmax.steps=2", text=OF_ALL)
    assert run_quietly(more, folder), "a measure of members may be asked for later"
    again = list(measured.found(read(folder)))
    assert len(again) == len(found) + 2 * len(members)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in folder.glob("trials/*/measures/*/piece-*.npz")}.items()
    assert not set(found) - {replace(each) for each in again}

    work = {
        "kind": "explain", "folder": str(folder / "trials" / f"{members[0]:04d}"), "session": "one", "max_failures": 3,
        "measure": {"name": "lipschitz", "steps": 1, "restarts": 2}, "name": "lipschitz", "split": "validation", "images": 10,
        "weights": snapshot.trials[members[0]].weights, "cpus": 1, "gpus": 0,
    }  # fmt: skip
    asked = open_task(work)
    assert asked.interrupt()
    with pytest.raises(Paused):
        asked.step()
    assert open_task(work | {"session": "two"}).step()["outcome"] == "complete"
    unlike = open_task(work | {"measure": {"name": "transfer", "source": "nowhere.pt"}, "name": "transfer"}).step()
    assert unlike["outcome"] == "failed"
    assert "nowhere.pt" in unlike["cause"]
