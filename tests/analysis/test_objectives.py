"""Everything drawn and said follows the sweep's objectives: one, two or three, accuracies or costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import axes, hypervolume_curve, load, palette, summary, tables, words
from analysis.device_time import of_sweep
from analysis.figures import frontier_figure
from analysis.points import band, points_on_test, selection_points, staircase
from analysis.report import publish
from analysis.volume import largest, volume
from sweeps.record import Issued, Judged, Record, read

TRADE = {"robust_accuracy": "max", "cost_passes": "min"}
THREE = {"clean_accuracy": "max", "robust_accuracy": "max", "cost_passes": "min"}
ONE = {"robust_accuracy": "max"}
NUMBERS = {0: (0.8, 0.30, 1000.0), 1: (0.7, 0.50, 2000.0), 2: (0.9, 0.45, 4000.0), 3: (0.6, 0.10, 1500.0)}
"""By trial: clean and robust accuracy, and passes."""


def _made(folder: Path, objectives: Mapping[str, str], members: list[int]) -> Path:
    with Record(folder, dict(objectives)) as record:
        for number, (clean, robust, passes) in NUMBERS.items():
            record.issue(Issued({"model.depth": 1 + number}))
            cheap = {"clean_accuracy": clean, "robust_accuracy": robust + 0.05, "cost_passes": passes}
            record.finish(number, "complete", metrics=cheap | {"cost_device_hours": 0.5, "cost_seconds": 1800.0})
            for split, less in (("validation", 0.0), ("test", 0.02)):
                if split == "validation" or number in members:
                    told = Judged(1000, 1000 * clean, 1000 * (robust - less), "standard", True, "none", 1.0)
                    record.judge(number, split, told)
        record.fix_members(members, members)
    return folder


@pytest.fixture
def trade(tmp_path: Path) -> Path:
    """A sweep of robust accuracy against passes: trials 0 and 1 are its frontier, though 2 has the best clean accuracy."""
    return _made(tmp_path / "trade", TRADE, [0, 1])


def test_axes_by_objectives() -> None:
    assert [axis.title for axis in axes.plane(axes.USUAL)] == ["clean accuracy, %", "robust accuracy, %"]
    assert [axis.title for axis in axes.plane(TRADE)] == ["training cost, passes", "robust accuracy, %"]
    assert [axis.title for axis in axes.plane(ONE)] == ["rank", "robust accuracy, %"]
    assert [axis.name for axis in axes.plane(THREE)] == ["clean_accuracy", "robust_accuracy"]
    other = axes.third(THREE)
    assert other is not None
    assert (other.name, other.mode) == ("cost_passes", "min")
    assert axes.third(TRADE) is axes.third(ONE) is None
    both = {"cost_seconds": "min", "cost_passes": "min"}
    assert [axis.name for axis in axes.plane(both)] == ["cost_passes", "cost_seconds"]
    assert axes.subject(TRADE) == "robust accuracy and training cost in passes"
    assert axes.subject(ONE) == "robust accuracy"


def test_a_cost_is_an_axis_in_its_own_unit(trade: Path) -> None:
    df = load(trade)
    drawn = selection_points(df, TRADE).set_index("trial")
    assert drawn["x"].to_dict() == {number: passes for number, (_, _, passes) in NUMBERS.items()}
    np.testing.assert_allclose(drawn["y"], [100 * robust for _, robust, _ in NUMBERS.values()])
    assert set(drawn.index[drawn["kind"] == "leader"]) == {0, 1}
    tested = points_on_test(df, TRADE).set_index("trial")
    assert (tested["x_low"] == tested["x"]).all()
    assert tested["x"].to_dict() == {0: 1000, 1: 2000}
    assert (tested["y_low"] < tested["y"]).all()
    figure = frontier_figure(df, objectives=TRADE)
    assert figure.layout.xaxis.title.text == "training cost, passes"
    assert "clean" not in figure.layout.xaxis.title.text + figure.layout.yaxis.title.text


def test_the_staircase_of_a_cost_runs_the_other_way(trade: Path) -> None:
    plane = axes.plane(TRADE)
    points = pd.DataFrame({"x": [1000.0, 2000.0, 1500.0], "y": [30.0, 50.0, 10.0]})
    xs, ys = staircase(points, plane)
    assert list(zip(xs, ys, strict=True)) == [(2000, 50), (2000, 30), (1000, 30)]
    for x, y in zip(xs, ys, strict=True):
        assert ((points["x"] <= x) & (points["y"] >= y)).any()
    (line,) = [
        trace
        for trace in frontier_figure(load(trade), objectives=TRADE).data
        if trace.name == "attained frontier" and trace.showlegend is not False
    ]
    assert line.x[0] > 2000  # what costs more is attained too
    assert line.y[-1] < 30


def test_the_staircase_is_that_of_mirrored_axes() -> None:
    points = pd.DataFrame(np.random.default_rng(0).uniform(0, 100, (30, 2)), columns=["x", "y"])
    usual = staircase(points)
    mirrored = staircase(points.assign(x=-points["x"]), (axes.Axis("cost_passes", "min"), axes.plane(TRADE)[1]))
    np.testing.assert_allclose(mirrored[0], -np.array(usual[0]))
    np.testing.assert_allclose(mirrored[1], usual[1])


def test_the_band_has_no_width_along_a_cost() -> None:
    one = pd.DataFrame({"trial": [0], "setting": [0], "cost_passes": [1000.0]})
    compared = one.assign(robust_accuracy_band_low=0.4, robust_accuracy_band_high=0.6)
    xs, ys = band(compared, {0}, axes.plane(TRADE), left=3000, bottom=20)
    assert list(zip(xs, ys, strict=True)) == [
        (3000, 60), (1000, 60), (1000, 20), (1000, 20), (1000, 40), (3000, 40)
    ]  # fmt: skip


def test_shares_of_images_are_drawn_and_measured_as_accuracies_are() -> None:
    """From 0 to 1 in any sweep, in percent, and gained where more is better; whatever the largest here is."""
    spatial = {"clean_accuracy": "max", "robust_accuracy": "max", "spatial_accuracy": "max"}
    fooling = {"robust_accuracy": "max", "spatial_fooling_rate": "min"}
    assert axes.subject(spatial) == "clean accuracy, robust accuracy and spatial accuracy"
    assert axes.printed("spatial_accuracy", 0.5) == f"{words.percent(0.5)} spatial"
    rows = pd.DataFrame(
        {
            "status": "complete",
            "clean_accuracy": [0.5],
            "robust_accuracy": [0.5],
            "spatial_accuracy": [0.5],
            "spatial_fooling_rate": [0.25],
        }
    )
    assert largest(rows, spatial) == largest(rows, fooling) == {}
    assert volume(rows, spatial, {}) == pytest.approx(0.5**3)
    assert volume(rows, fooling, {}) == pytest.approx(0.5 * 0.75)


def test_the_verdict_and_the_hypervolume_follow(trade: Path) -> None:
    df, snapshot = load(trade), read(trade)
    said = summary.verdict(df, TRADE).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert said.endswith(
        "it runs from 48.0 % robust / 2,000 passes (trial 1) to 28.0 % robust / 1,000 passes (trial 0)."
    )
    # The box ends at 4,000 passes: 0 attains .3 from a quarter of it on, and 1 adds .2 from its half on.
    attained = 0.3 * 0.75 + 0.2 * 0.5
    merits = {name: (value, remark) for value, name, remark in summary.merits(df, snapshot, of_sweep(trade, snapshot))}
    assert merits["hypervolume"] == (f"{attained:.3f}", "selection set, from 0 and the largest cost here")
    assert largest(df, TRADE) == {"cost_passes": 4000}
    assert volume(df.iloc[:0], TRADE, {"cost_passes": 4000}) == 0
    curve = hypervolume_curve(trade)["hypervolume"]
    assert (curve.diff().dropna() >= 0).all()
    assert curve.iloc[-1] == pytest.approx(0.35 * 0.75 + 0.2 * 0.5)


def test_tables_go_along_the_first_objective_and_show_the_cost(trade: Path) -> None:
    df = load(trade)
    table = tables.members(df, TRADE, {})
    assert [row[0].text for row in table.rows] == ["1", "0"]
    (at,) = [at for at, head in enumerate(table.heads) if head.remark == "passes"]
    assert [row[at].text for row in table.rows] == ["2,000", "1,000"]
    assert [head.text for head in tables.trials(df, TRADE).heads].count("training") == 2


def test_durations_are_said_as_everywhere_and_sorted_by_length(trade: Path) -> None:
    """7 s and 24.6 h are no 0.00194 and 24.6 device hours."""
    df = load(trade)
    hours = [7 / 3600, 245 / 3600, 24.6, 0.5]
    table = tables.trials(df.assign(cost_device_hours=hours[: len(df)]), TRADE)
    (at,) = [at for at, head in enumerate(table.heads) if head.remark == "device time"]
    cells = [row[at] for row in table.rows]
    assert [cell.text for cell in cells] == ["7 s", "4 min 5 s", "24.6 h", "30 min 0 s"][: len(df)]
    assert [cell.sort for cell in cells] == hours[: len(df)]
    assert axes.in_column("cost_device_hours", -245 / 3600) == "\N{MINUS SIGN}4 min 5 s"
    assert axes.in_column("cost_passes", -12300) == "\N{MINUS SIGN}12,300"


def test_a_third_objective_is_the_colour(tmp_path: Path) -> None:
    df = load(_made(tmp_path / "three", THREE, [0, 1, 2]))
    figure = frontier_figure(df, objectives=THREE)
    assert figure.layout.xaxis.title.text.startswith("clean accuracy, %")
    assert figure.layout.coloraxis.colorbar.title.text == "training cost, passes"
    other = axes.third(THREE)
    assert other is not None
    assert palette.objective(df, other, palette.THEMES["light"]).values == [1000, 2000, 4000, 1500]
    html = publish(tmp_path / "three", picture=False).index.read_text(encoding="utf-8")
    assert "Colour is the third objective, training cost, passes" in html


def test_a_single_objective_is_a_ranking(tmp_path: Path) -> None:
    df = load(_made(tmp_path / "one", ONE, [1]))
    drawn = selection_points(df, ONE).set_index("trial")
    assert drawn["x"].to_dict() == {0: 3, 1: 1, 2: 2, 3: 4}
    assert points_on_test(df, ONE)[["trial", "x", "y"]].to_numpy().tolist() == [[1, 1, 48]]
    figure = frontier_figure(df, objectives=ONE)
    assert figure.layout.xaxis.title.text == "rank"
    assert list(figure.layout.xaxis.tickvals) == [1, 2, 3, 4]
    assert not [trace for trace in figure.data if trace.name == "attained frontier"]
    said = summary.verdict(df, ONE).replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert said == "1 of 4 trials is on the frontier. On 1,000 test images it is 48.0 % robust (trial 1)."
    merits = summary.merits(df, read(tmp_path / "one"), of_sweep(tmp_path / "one", read(tmp_path / "one")))
    assert merits[2][1] == "best robust accuracy"


@pytest.mark.parametrize("objectives", [TRADE, THREE, ONE, {"cost_seconds": "min", "cost_passes": "min"}])
@pytest.mark.parametrize("members", [[], [1]])
def test_every_page_is_whole(tmp_path: Path, objectives: dict[str, str], members: list[int]) -> None:
    folder = _made(tmp_path / "s", objectives, members)
    html = publish(folder, picture=False).index.read_text(encoding="utf-8")
    subject = axes.subject(objectives)
    assert f'<p class="kicker">{subject[0].upper()}{subject[1:]}' in html


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 3, [1, 2, 3]),
        (3, 3, [3]),
        (20, 60, [20, 30, 40, 50, 60]),
        (1, 8, list(range(1, 9))),
        (7, 29, [10, 15, 20, 25]),
    ],
)
def test_whole_numbers_have_whole_ticks(low: int, high: int, ticks: list[int]) -> None:
    assert palette.whole_ticks(low, high) == ticks
    column = pd.DataFrame({"option.model.depth": pd.Series([low, high], dtype="Int64")})
    bar = palette.colours(column, ["option.model.depth"], palette.THEMES["light"]).axis
    assert bar is None or all(tick == int(tick) for tick in bar["colorbar"]["tickvals"])
