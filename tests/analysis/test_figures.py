"""The frontier figure: what is drawn as what, what it is called, and that strings of the sweep stay strings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis import compare, load, palette
from analysis.figures import frontier_figure, out_of_view
from analysis.points import band, hover, leaders, points_on_test, selection_points, stage, staircase
from robustray.judging.flags import MEANING
from tests.analysis import made as the


def _traces(figure: go.Figure) -> dict[str, Any]:
    return {trace.meta["kind"]: trace for trace in figure.data if trace.meta}


def _text(figure: go.Figure) -> str:
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


def test_kinds(table: pd.DataFrame) -> None:
    kinds = selection_points(table).groupby("kind")["trial"].apply(tuple)
    assert set(kinds["leader"]) == set(table.loc[table["member"], "trial"])
    assert set(kinds["bound"]) == set(table.loc[table["judging"] == "skipped", "trial"])
    assert kinds["infeasible"] == the.INFEASIBLE
    assert kinds["stopped"] == the.STOPPED
    assert kinds["diverged"] == the.DIVERGED
    assert not {*the.FAILED, *the.RUNNING} & set(selection_points(table)["trial"])  # they have no numbers


def test_a_bound_is_drawn_at_the_bound_and_a_judged_trial_at_its_judged_numbers(table: pd.DataFrame) -> None:
    drawn = selection_points(table).set_index("trial")
    skipped = table[table["judging"] == "skipped"].set_index("trial")
    np.testing.assert_allclose(drawn.loc[skipped.index, "y"], 100 * skipped["bound"])
    np.testing.assert_allclose(drawn.loc[skipped.index, "x"], 100 * skipped["judged_clean_accuracy"])
    full = table[table["judging"] == "full"].set_index("trial")
    np.testing.assert_allclose(drawn.loc[full.index, "x"], 100 * full["judged_clean_accuracy"])
    np.testing.assert_allclose(drawn.loc[full.index, "y"], 100 * full["judged_robust_accuracy"])


def test_test_results_carry_both_intervals_and_hollow_marks(table: pd.DataFrame) -> None:
    tested = points_on_test(table)
    assert set(tested["kind"]) == {"test", "test_dominated"}
    traces = _traces(frontier_figure(table))
    for kind in ("test", "test_dominated"):
        part = tested[tested["kind"] == kind]
        np.testing.assert_allclose(traces[kind].error_x.array, part["x_high"] - part["x"])
        np.testing.assert_allclose(traces[kind].error_y.arrayminus, part["y"] - part["y_low"])
        assert list(traces[kind].customdata) == part["trial"].tolist()
    assert traces["test_dominated"].marker.color == palette.THEMES["light"].paper
    assert traces["test"].marker.color != palette.THEMES["light"].paper


def test_staircase_is_the_edge_of_what_is_attained() -> None:
    members = pd.DataFrame({"x": [90.0, 80.0, 85.0], "y": [30.0, 50.0, 45.0]})
    xs, ys = staircase(members)
    assert list(zip(xs, ys, strict=True)) == [(80, 50), (80, 45), (85, 45), (85, 30), (90, 30)]
    for x, y in zip(xs, ys, strict=True):
        assert ((members["x"] >= x) & (members["y"] >= y)).any()


def test_staircase_survives_one_point_and_copies() -> None:
    assert staircase(pd.DataFrame({"x": [1.0], "y": [2.0]})) == ([1.0], [2.0])
    assert staircase(pd.DataFrame({"x": [1.0, 1.0], "y": [2.0, 2.0]})) == ([1.0], [2.0])


def test_the_axis_and_the_legend_say_what_judged(table: pd.DataFrame, tmp_path: Path) -> None:
    standard = frontier_figure(table, threat="linf, eps 8/255")
    assert "AutoAttack standard, linf, eps 8/255" in standard.layout.yaxis.title.text
    other = frontier_figure(load(the.sweep(tmp_path / "s", version="apgd", autoattack=False)))
    assert "(apgd)" in other.layout.yaxis.title.text
    assert any("apgd" in (trace.name or "") for trace in other.data)
    assert "AutoAttack" not in _text(other)


def test_before_any_judging_the_cheap_numbers_are_drawn_and_said_to_be(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", judge=False))
    assert stage(df) == "cheap"
    figure = frontier_figure(df)
    assert "cheap attack, not judged" in figure.layout.yaxis.title.text
    assert "cheap attack, not judged" in figure.layout.xaxis.title.text
    assert {"leader", "cheap"} <= set(_traces(figure))
    assert "AutoAttack" not in _text(figure)
    assert leaders(df)


def test_before_members_are_fixed_the_frontier_is_so_far(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", fix=False))
    assert stage(df) == "judging"
    names = {trace.name for trace in frontier_figure(df).data}
    assert {"frontier so far", "frontier so far, selection set"} <= names
    assert "attained frontier" not in names


def test_hover_tells_the_whole_trial(table: pd.DataFrame) -> None:
    said = selection_points(table).set_index("trial")["hover"]
    skipped = table.loc[table["judging"] == "skipped"].iloc[0]
    assert f"dominated by trial {skipped['dominated_by']}" in said[skipped["trial"]]
    assert "bound after apgd-ce" in said[skipped["trial"]]
    member = table.loc[table["member"], "trial"].iloc[-1]
    assert "AutoAttack standard on 1,000 validation images" in said[member]
    assert "10,000 images, read once" in said[member]
    assert f"<b>trial {member}</b>" in said[member]
    assert "schedule.lr = <b>" in said[member]
    assert "cheap attack only" in said[the.INFEASIBLE[0]]


def test_strings_of_the_sweep_stay_strings(table: pd.DataFrame) -> None:
    text = _text(frontier_figure(table, title=f"a {the.SCRIPT}", threat=the.SCRIPT))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_flagged_trial_has_a_mark_of_its_own_and_leads_nothing(mixed: Path) -> None:
    df = load(mixed)
    drawn = selection_points(df).set_index("trial")
    leading = drawn[drawn["kind"] == "leader"]
    assert drawn.loc[4, "kind"] == "flagged"
    assert (
        (leading["x"] <= drawn.loc[4, "x"]) & (leading["y"] <= drawn.loc[4, "y"])
    ).any()  # it would have beaten some
    assert 4 not in leaders(df)
    figure = frontier_figure(df)
    traces = _traces(figure)
    mark = traces["flagged"].marker.symbol
    assert mark.endswith("-open")
    assert mark not in {trace.marker.symbol for kind, trace in traces.items() if kind != "flagged"}
    (line,) = [trace for trace in figure.data if trace.name == "attained frontier" and trace.showlegend is not False]
    assert max(line.y) < drawn.loc[4, "y"]
    said = str(drawn.loc[4, "hover"])
    assert f"<b>flagged</b> {the.FLAG}: " in said
    assert "<br>" in said.split("flagged</b>")[1]  # a sentence is broken into lines
    assert MEANING[the.FLAG] in " ".join(said.replace("<br>", " ").split())
    assert "<b>flagged</b> unheard_of" in hover(df.assign(flags="unheard_of").to_dict("records")[4], [])  # type: ignore[arg-type]  # columns are strings


def test_a_flag_raised_on_test_shows_there_too(table: pd.DataFrame) -> None:
    member = table.loc[table["member"], "trial"].iloc[-1]
    df = table.assign(flags=table["flags"].mask(table["trial"] == member, "outside"))
    df["member"] &= df["flags"] == ""
    tested = points_on_test(df).set_index("trial")
    assert tested.loc[member, "kind"] == "test_flagged"
    assert set(tested["kind"]) == {"test", "test_dominated", "test_flagged"}
    assert {"flagged", "test_flagged"} <= set(_traces(frontier_figure(df)))


def test_a_flagged_trial_far_above_does_not_squeeze_the_frontier(mixed: Path) -> None:
    df = load(mixed)
    df.loc[4, "judged_robust_accuracy"] = 0.9
    assert frontier_figure(df).layout.yaxis.range[1] < 70
    assert out_of_view(df) == out_of_view(load(mixed)) + 1


def test_the_staircase_runs_through_means_over_seeds(mixed: Path) -> None:
    df = load(mixed)
    df["member"] = df["trial"].isin((10, 26, 27))
    (line,) = [trace for trace in frontier_figure(df).data if trace.name == "attained frontier" and trace.line.width]
    mean = 100 * df.loc[df["member"], ["judged_clean_accuracy", "judged_robust_accuracy"]].mean()
    assert (line.x[1], line.y[1]) == pytest.approx(tuple(mean))


def _ends(**ends: list[float]) -> pd.DataFrame:
    columns = {
        f"{name}_accuracy_band_{end}": ends[f"{name}_{end}"] for name in ("clean", "robust") for end in ("low", "high")
    }
    return pd.DataFrame(columns).assign(trial=range(len(ends["clean_low"])), setting=range(len(ends["clean_low"])))


def test_the_band_lies_between_the_staircases_of_both_ends() -> None:
    two = _ends(clean_low=[0.7, 0.8], clean_high=[0.8, 0.9], robust_low=[0.5, 0.3], robust_high=[0.6, 0.4])
    xs, ys = band(two, {0, 1}, left=60, bottom=20)
    upper = [(60, 60), (80, 60), (80, 40), (90, 40), (90, 20)]
    lower = [(60, 50), (70, 50), (70, 30), (80, 30), (80, 20)]
    np.testing.assert_allclose(list(zip(xs, ys, strict=True)), [*upper, *lower[::-1]])
    xs, ys = band(two.iloc[::-1], {0}, left=75, bottom=20)
    np.testing.assert_allclose((xs[0], ys[0]), (70, 60))  # no low end is left out
    assert band(two, set()) == ([], [])
    seeds = band(two.assign(setting=0), {0, 1}, left=0)
    np.testing.assert_allclose((max(seeds[0]), max(seeds[1])), (85, 50))  # of the mean over two seeds


def test_the_band_is_drawn_beneath_and_can_be_hidden(table: pd.DataFrame, made: Path) -> None:
    for split, where in (("test", "test"), ("validation", "selection set")):
        figure = frontier_figure(table, compared=compare(made, split=split))
        drawn = figure.data[0]
        assert drawn.meta["kind"] == "band"
        assert drawn.name.endswith(f"band of the frontier, {where}")
        assert drawn.showlegend is not False
        assert drawn.hoverinfo == "skip"
    assert "band" not in _traces(frontier_figure(table))


def test_colour_is_log_scaled_over_more_than_a_decade(table: pd.DataFrame) -> None:
    bar = frontier_figure(table).layout.coloraxis.colorbar
    assert bar.title.text == "defense.trades.beta"
    assert list(bar.ticktext) == ["1", "2", "5", "10"]
    assert list(bar.tickvals) == pytest.approx([0, np.log10(2), np.log10(5), 1])


def test_colour_of_categories_has_a_legend_of_its_own(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", first="category"))
    figure = frontier_figure(df)
    names = [trace.name for trace in figure.data if trace.legend == "legend2"]
    assert names == ["&lt;script&gt;alert(1)&lt;/script&gt;", "relu", "silu"]
    assert "model.activation" in figure.layout.legend2.title.text
    assert figure.layout.coloraxis.colorbar.title.text is None


def test_colour_falls_back_where_no_option_varies(table: pd.DataFrame) -> None:
    theme = palette.THEMES["dark"]
    assert palette.colours(table, [], theme).values == [theme.plain] * len(table)
    constant = table.assign(**{"option.a": 1.0})
    assert palette.colours(constant, ["option.a"], theme).option is None
    many = table.assign(**{"option.a": [f"v{i}" for i in range(len(table))]})
    assert palette.colours(many, ["option.a"], theme).option is None


def test_a_linear_range_keeps_plotlys_ticks(table: pd.DataFrame) -> None:
    colours = palette.colours(
        table.assign(**{"option.a": np.linspace(-1, 1, len(table))}), ["option.a"], palette.THEMES["light"]
    )
    assert colours.axis is not None
    assert "tickvals" not in colours.axis["colorbar"]
    assert colours.axis["cmin"] == -1


def test_far_trials_are_counted_not_shown(table: pd.DataFrame) -> None:
    assert out_of_view(table) >= 1  # the diverged one at 10 % / 0 %
    low, _ = frontier_figure(table).layout.xaxis.range
    assert low > 50


def test_an_empty_table_is_drawn_and_says_so(tmp_path: Path) -> None:
    df = load(the.sweep(tmp_path / "s", trials=0))
    figure = frontier_figure(df)
    assert figure.layout.annotations[0].text == "no trial has finished yet"
    assert out_of_view(df) == 0
