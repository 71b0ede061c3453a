"""Derived points in figure, tables, cards and sentences: told apart, with their parents, and what they add."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import derivation, load, report, summary, tables, words
from analysis.cards import cards
from analysis.comparison import read as verdicts_of
from analysis.curves import hypervolume_curve
from analysis.device_time import of_sweep
from analysis.figures import frontier_figure
from analysis.option_figure import option_figure
from analysis.pareto import hypervolume
from sweeps.record import read
from sweeps.record.ledger import Ledger
from sweeps.standing import frontier, trained
from tests.analysis import made as the


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with derived points, and its report. Not to be written to."""
    folder = the.sweep(tmp_path_factory.mktemp("results") / "derived", derived=True)
    report.publish(folder, picture=False)
    return folder


@pytest.fixture(scope="module")
def df(folder: Path) -> pd.DataFrame:
    return load(folder)


def test_parents_are_named_as_they_were_given(df: pd.DataFrame) -> None:
    assert df.set_index("trial").loc[[24, 25, 26], "parents"].tolist() == ["2, 3", "2@10, zoo:Standard<b>", "2, 3"]
    rows = df.to_dict("records")
    assert words.made(rows[24]) == "soup of 2 and 3, weights 0.1, 0.9"  # type: ignore[arg-type]
    assert words.made(rows[0]) == ""  # type: ignore[arg-type]


def test_the_trained_frontier_is_that_of_the_sweep_without_points(folder: Path, df: pd.DataFrame) -> None:
    assert derivation.trained_frontier(df, the.OBJECTIVES) == set(frontier(trained(read(folder))))
    assert the.BEYOND not in derivation.trained_frontier(df, the.OBJECTIVES)


def test_what_is_added_is_the_difference_of_two_hypervolumes(folder: Path, df: pd.DataFrame) -> None:
    judged = df[(df["judging"] == "full") & df["feasible"] & (df["flags"] == "")]
    both = judged[["judged_clean_accuracy", "judged_robust_accuracy"]]
    found = derivation.added(df, the.OBJECTIVES, verdicts_of(folder, read(folder), "validation"))
    assert found.union == pytest.approx(hypervolume(both.to_numpy(), [0, 0]))
    assert found.trained == pytest.approx(hypervolume(both[judged["derived"].isna()].to_numpy(), [0, 0]))
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.gain < found.high


def test_points_that_are_nowhere_better_add_nothing(folder: Path, df: pd.DataFrame) -> None:
    verdicts = verdicts_of(folder, read(folder), "validation")
    assert verdicts is not None
    kept = [at for at, number in enumerate(verdicts.trials) if number != the.BEYOND]
    fewer = replace(verdicts, trials=[verdicts.trials[at] for at in kept], verdicts=verdicts.verdicts[kept])
    without = df[df["trial"] != the.BEYOND].assign(member=False)
    found = derivation.added(without, the.OBJECTIVES, fewer)
    assert (found.gain, found.low, found.high) == (0, 0, 0)


def test_what_it_took_is_told_apart_from_the_parents_training(folder: Path) -> None:
    spent = of_sweep(folder, read(folder))
    assert spent.deriving == pytest.approx(2 * the.MAKING)
    plain = 3600 * load(folder).query("derived.isna()")["cost_device_hours"].sum()
    assert spent.training == pytest.approx(plain)
    assert 0 < spent.judging_points < spent.judging


def test_the_ledger_knows_attempts_at_points(folder: Path, tmp_path: Path) -> None:
    other = the.sweep(tmp_path / "ledger", derived=True)
    with Ledger(other) as ledger:
        ledger.add({"kind": "derive"}, "point 0024", 24, "complete", 30.0)
        ledger.add({"kind": "derive"}, "point 0026", 26, "failed", 5.0)
        ledger.add({"kind": "judge"}, "judge 0024", 24, "complete", 9000.0)
    spent, before = of_sweep(other, read(other)), of_sweep(folder, read(folder))
    assert spent.deriving == pytest.approx(30 + the.MAKING + 5)
    assert spent.training == pytest.approx(before.training)
    assert spent.judging_points == 9000


def test_the_curve_counts_no_training_twice(folder: Path) -> None:
    curve = hypervolume_curve(folder)
    steps = dict(zip(curve["trial"], np.diff(curve["cost_seconds"], prepend=0), strict=True))
    assert steps[the.BEYOND] == pytest.approx(the.MAKING)


def test_figure(df: pd.DataFrame) -> None:
    figure = frontier_figure(df)
    stars = [trace for trace in figure.data if (trace.meta or {}).get("derived")]
    assert {number for trace in stars for number in trace.customdata} == {the.BEYOND, the.INSIDE}
    assert all("star" in trace.marker.symbol for trace in stars)
    assert not any("star" in trace.marker.symbol for trace in figure.data if (trace.meta or {}).get("derived") is False)
    names = [trace.name for trace in figure.data if trace.showlegend is not False]
    assert len(names) == len(set(names)), "an entry of the legend for each look"
    assert "frontier of training alone" in names
    hovers = " ".join(text for trace in stars for text in trace.hovertext)
    assert "<b>point 24</b>" in hovers
    assert "soup of 2 and 3, weights 0.1, 0.9, without training" in hovers
    assert "zoo:Standard&lt;b&gt;" in hovers


def test_without_points_nothing_of_them_is_seen(table: pd.DataFrame) -> None:
    names = [trace.name for trace in frontier_figure(table).data]
    assert not any("derived" in name or "alone" in name for name in names)
    assert "made from" not in [head.text for head in tables.members(table, the.OBJECTIVES, {}).heads]


def test_options_are_those_of_trials(df: pd.DataFrame) -> None:
    figure = option_figure(df)
    assert figure is not None
    shown = {text for trace in figure.data for text in trace.text}
    assert shown
    assert not any(f"trial {number}" in text for number in (24, 25) for text in shown)


def test_tables_name_the_parents(df: pd.DataFrame) -> None:
    for table in (tables.members(df, the.OBJECTIVES, {}), tables.trials(df, the.OBJECTIVES)):
        at = [head.text for head in table.heads].index("made from")
        assert all(len(row) == len(table.heads) for row in table.rows)
        by_trial = {row[0].text: row[at].text for row in table.rows}
        assert by_trial["24"] == "soup of 2 and 3, weights 0.1, 0.9"
        assert {by_trial[number] for number in by_trial if int(number) < 24} == {""}


def test_card_of_a_point(folder: Path, df: pd.DataFrame) -> None:
    (card,) = [card for card in cards(df, read(folder), folder) if card.trial == the.BEYOND]
    assert card.found == the.BARRIER
    assert card.parents == [("../0002", "ef" * 32), ("../0003", "ef" * 32)]
    assert "name: soup" in card.options
    assert not any("train" in command.replace("trials/", "") for _, command in card.commands)


def test_a_torn_note_costs_no_card(folder: Path, df: pd.DataFrame, tmp_path: Path) -> None:
    for text in ("{", json.dumps([1])):
        place = tmp_path / "trials" / f"{the.BEYOND:04d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "made.json").write_text(text)
        assert the.BEYOND in [card.trial for card in cards(df, read(folder), tmp_path)]


def test_page_and_tables_on_disk(folder: Path) -> None:
    page = (folder / "report" / "index.html").read_text()
    assert "derived without training; it adds 0." in page
    assert "Trained alone the frontier has" in page
    assert the.SCRIPT not in page
    assert "zoo:Standard<b>" not in page
    assert "above theirs &lt;b&gt;" in page
    for name in ("frontier.csv", "trials.csv"):
        assert {"derived", "parents"} <= set(pd.read_csv(folder / "report" / name).columns)


def test_sentences(folder: Path, df: pd.DataFrame) -> None:
    assert summary.verdict(df, the.OBJECTIVES).startswith(f"{df['member'].sum()} of 24 trials and 3 derived points are")
    spent = of_sweep(folder, read(folder))
    first, second = derivation.sentences(df, the.OBJECTIVES, spent, verdicts_of(folder, read(folder), "validation"))
    assert first.startswith(f"1 of {df['member'].sum()} members was derived without training; it adds 0.")
    assert "95 % interval over images" in first
    assert "for 14 s of device time and" in first
    assert second.startswith("Trained alone the frontier has")
    merits = {name: value for value, name, _ in summary.merits(df, read(folder), spent)}
    assert (merits["trials"], merits["derived points"], merits["deriving"]) == ("24", "3", "14 s")
    left = df[(df["trial"] != the.BEYOND)]
    (none,) = derivation.sentences(left, the.OBJECTIVES, spent, None)
    assert none.endswith("none is on the frontier.")
    assert derivation.sentences(df[df["derived"].isna()], the.OBJECTIVES, spent, None) == []
