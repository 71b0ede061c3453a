"""The figure of options against both accuracies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis import load
from analysis.option_figure import option_figure, varied
from tests.analysis import made as the


def test_a_row_for_each_option_and_a_column_for_each_accuracy(table: pd.DataFrame) -> None:
    figure = option_figure(table)
    assert figure is not None
    names = varied(table)
    assert [name.removeprefix("option.") for name in names] == [
        "defense.trades.beta", "schedule.lr", "schedule.epochs", "model.activation",
    ]  # fmt: skip
    assert len(figure.data) == 2 * 2 * len(names)
    for trace in figure.data:
        if trace.meta["kind"] == "leader":
            numbers = [int(text.split()[1].strip(",")) for text in trace.text]
            assert numbers == table.loc[table["member"], "trial"].tolist()
            np.testing.assert_allclose(trace.y, 100 * table.loc[numbers, f"judged_{trace.meta['metric']}"])
    assert "<script" not in figure.to_json()


def test_what_has_not_completed_or_is_flagged_is_left_out(mixed: Path) -> None:
    df = load(mixed)
    figure = option_figure(df)
    assert figure is not None
    drawn = {int(text.split()[1].strip(",")) for trace in figure.data for text in trace.text}
    assert drawn == set(df.loc[(df["status"] == "complete") & (df["flags"] == ""), "trial"])


def test_whole_numbers_have_whole_ticks_and_decades_a_logarithm(table: pd.DataFrame) -> None:
    figure = option_figure(table)
    assert figure is not None
    axes = {axis.title.text: axis for axis in figure.select_xaxes()}
    assert axes["defense.trades.beta"].type == "log"
    assert list(axes["schedule.epochs"].tickvals) == [20, 30, 40, 50, 60]
    assert axes["model.activation"].type == "category"


def test_without_options_there_is_no_figure(tmp_path: Path) -> None:
    assert option_figure(load(the.sweep(tmp_path / "s", trials=1, judge=False))) is None
