"""What the page is made of beside its first tables: the search's way, trainings, maps, weaker attacks, endings, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import comparison, curves, endings, pictures, progress, training, weaker
from analysis.attack_map import attack_map
from analysis.collect import load
from analysis.report import publish
from analysis.standing import judged_frontier
from robustray.errors import UserError
from robustray.verdicts import CLEAN
from sweeps import record
from tests.analysis import made as the


@pytest.fixture(scope="module")
def compared(made: Path, table: pd.DataFrame) -> comparison.Comparison:
    found = comparison.of_sweep(made, record.read(made), table, "test")
    assert found is not None
    return found


def test_the_search_is_told_in_the_order_of_ends_and_never_falls(made: Path, table: pd.DataFrame) -> None:
    found = progress.progress(table, record.read(made))
    assert found is not None
    by_cost = curves.hypervolume_curve(made)
    assert found["trial"] == by_cost["trial"].tolist()
    assert np.all(np.diff(found["hypervolume"]) >= 0)
    assert np.all(np.diff(found["hours"]) >= 0)
    clean = table.set_index("trial")["clean_accuracy"]
    for number, x in zip(found["trial"], found["x"], strict=True):
        counts = number not in (*the.STOPPED, *the.DIVERGED, *the.FAILED, *the.OUT_OF_MEMORY, *the.INFEASIBLE)
        assert (x is not None) == counts
        if x is not None:
            assert x == pytest.approx(100 * clean[number], rel=1e-4)
    assert " of " in progress.said(found)


def test_the_way_shows_every_trial_but_those_far_from_the_frontier(made: Path, table: pd.DataFrame) -> None:
    def unseen(df: pd.DataFrame) -> set[int]:
        found = progress.progress(df, record.read(made))
        assert found is not None
        (left, right), (bottom, top) = (axis["range"] for axis in found["axes"])
        places = zip(found["trial"], found["x"], found["y"], strict=True)
        outside = {n for n, x, y in places if x is not None and not (left < x < right and bottom < y < top)}
        assert progress.out_of_view(found) == len(outside)
        return outside

    complete = curves.counted(table, the.OBJECTIVES)
    close = table.copy()
    close.loc[complete, "robust_accuracy"] = close.loc[complete, "robust_accuracy"].clip(lower=0.4)
    assert unseen(close) == set()
    lost = int(table["trial"][complete & ~table["member"]].iloc[0])
    chance = close.copy()
    chance.loc[chance["trial"] == lost, ["clean_accuracy", "robust_accuracy"]] = 0.1
    assert unseen(chance) == {lost}


def test_what_is_reached_is_what_all_trials_so_far_attain(made: Path, table: pd.DataFrame) -> None:
    """The volume is carried along from trial to trial; counted anew from all of them it is the same."""
    from analysis.volume import volume

    rows = curves.reached(record.read(made), table)
    known = table.set_index("trial").loc[rows["trial"]]
    fits = curves.counted(known, the.OBJECTIVES)
    for end in (1, 7, len(rows)):
        assert rows["hypervolume"].iloc[end - 1] == pytest.approx(volume(known[:end][fits[:end]], the.OBJECTIVES, {}))


def _metrics(folder: Path, number: int, robust: list[float]) -> None:
    where = folder / "trials" / f"{number:04d}"
    where.mkdir(parents=True, exist_ok=True)
    lines = [f"{epoch},0.9,{value}" for epoch, value in enumerate(robust, start=1)]
    (where / "metrics.csv").write_text("\n".join(["epoch,clean_accuracy,robust_accuracy", *lines]) + "\n")


def test_trainings_say_what_robust_overfitting_took_and_which_epoch_counts(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", trials=6)
    df, snapshot = load(folder), record.read(folder)
    member = min(judged_frontier(df, the.OBJECTIVES))
    rising = [value / 200 for value in range(1, 100)]
    _metrics(folder, member, [*rising[:59], 0.6, *rising[60:90], 0.5])  # the made trials are kept at epoch 60
    found = training.training(folder, snapshot)
    assert list(found) == [member]
    curve = found[member]
    assert curve["chosen"] == 60
    assert len(curve["epoch"]) <= 42
    assert curve["epoch"][-1] == 91
    assert curve["robust"][curve["epoch"].index(60)] == 60.0
    assert training.lost(curve) == pytest.approx(10.0)
    assert f"trial {member} most: 10.0 points" in training.said(df, the.OBJECTIVES, found)
    report = publish(folder, picture=False)
    assert report.notes == []
    (folder / "trials" / f"{member:04d}" / "metrics.csv").write_text("torn")
    with pytest.raises(UserError, match="not the metrics of a trial"):
        training.training(folder, snapshot)
    assert [note.split(":")[0] for note in publish(folder, picture=False).notes] == ["no training curves"]


def test_of_a_training_that_was_measured_once_nobody_knows_what_it_lost(tmp_path: Path) -> None:
    """With `validate_every` as long as the training there is one number: no line to draw, and no statement about a fall."""
    folder = the.sweep(tmp_path / "s", trials=6)
    df, snapshot = load(folder), record.read(folder)
    first, second, *_ = sorted(judged_frontier(df, the.OBJECTIVES))
    _metrics(folder, first, [0.5])
    found = training.training(folder, snapshot)
    assert training.lost(found[first]) is None
    assert not training.drawn(found)
    said = training.said(df, the.OBJECTIVES, found)
    assert said.startswith(
        "1 trained member was measured once, at the end: whether it had been better before is not known."
    )
    page = publish(folder, picture=False).index.read_text()
    assert said in page
    assert 'id="training"' not in page

    _metrics(folder, second, [0.3, 0.4])
    found = training.training(folder, snapshot)
    assert training.drawn(found)
    said = training.said(df, the.OBJECTIVES, found)
    assert said.startswith("None of 1 trained member that was measured more than once lost robust accuracy towards")
    assert "1 other was measured once" in said
    _metrics(folder, second, [0.4, 0.3])
    said = training.said(df, the.OBJECTIVES, training.training(folder, snapshot))
    assert said.startswith(
        f"1 of 1 trained member lost robust accuracy from the best epoch to the last one, trial {second} most: 10.0"
    )
    assert "1 other was measured once" in said
    assert 'id="training"' in publish(folder, picture=False).index.read_text()


def test_weaker_attacks_say_more_than_all_of_them_on_the_images_that_the_cheap_one_is_held_against(
    made: Path, table: pd.DataFrame
) -> None:
    chosen = comparison.of_sweep(made, record.read(made), table, "validation")
    assert chosen is not None
    found = weaker.table(chosen, table, the.OBJECTIVES)
    rows = table.set_index("trial")
    assert [int(row[0].text) for row in found.rows] == sorted(table.loc[table["member"], "trial"])
    for row in found.rows:
        trial = rows.loc[int(row[0].text)]
        broken = chosen.broken[int(row[0].text)]
        assert row[3].sort == pytest.approx(trial["judged_robust_accuracy"])
        assert row[4].sort == pytest.approx(trial["robust_accuracy"] - trial["judged_robust_accuracy"])
        alone = 1 - (broken[CLEAN] + broken[the.ATTACKS[0]]) / the.VALIDATION
        assert row[2].sort == pytest.approx(alone)
        assert row[5].sort == pytest.approx(alone - trial["judged_robust_accuracy"])
        assert isinstance(row[5].sort, float)
        assert row[5].sort >= 0
    assert found.heads[1].remark == "other validation images, %"
    assert "holds their drawing too" in weaker.said([])
    alike = weaker.table(chosen, table, the.OBJECTIVES, one_list=True)
    assert alike.heads[1].remark == "same images, %"
    assert "drawing" not in weaker.said([], one_list=True)


def test_a_page_that_has_read_test_holds_the_cheap_attack_against_the_selection_set(
    made: Path, table: pd.DataFrame
) -> None:
    rows = (made / "report" / "index.html").read_text().split('<table id="weaker"')[1].split("</table>")[0]
    shown = [re.findall(r'data-sort="([^"]+)"', row) for row in rows.split("<tr")[2:]]
    members = table[table["member"]].sort_values("trial")
    too_high = (members["robust_accuracy"] - members["judged_robust_accuracy"]).tolist()
    assert [float(row[3]) for row in shown] == pytest.approx(too_high)


def test_the_map_has_the_share_that_each_attack_broke(compared: comparison.Comparison, table: pd.DataFrame) -> None:
    assert compared.verdicts is not None
    figure = attack_map(compared.verdicts, table)
    assert figure is not None
    heat = figure.data[0]
    names = [trace.name for trace in figure.data[1:]]
    assert names == ["wrong as it is", *(f"broken by {attack}" for attack in the.ATTACKS), "stands"]
    rows = table.set_index("trial")
    for number, codes in zip(heat.y, heat.z, strict=True):
        stands = np.mean(np.asarray(codes) == len(names) - 1)
        assert stands == pytest.approx(rows.loc[int(number), "test_robust_accuracy"], abs=0.02)  # of every 25th image
    kept = (np.asarray(heat.z) == len(names) - 1).sum(axis=0)
    assert np.all(np.diff(kept) >= 0)  # the hardest images come first


def test_every_trial_that_is_on_no_frontier_has_an_ending(mixed: Path) -> None:
    df = load(mixed)
    found = endings.table(df, the.OBJECTIVES)
    counted = {(row[0].text, row[2].text): int(row[1].text) for row in found.rows}
    ended = df[~df["member"] & ~df["status"].isin(["running", "paused"])]
    assert sum(counted.values()) == len(ended)
    assert counted["stopped", "dominated at rung 5 by 3 trials"] == len(the.STOPPED)
    assert counted["failed", "worker died three times"] == len(the.FAILED)
    assert counted["diverged", the.CAUSE] == len(the.DIVERGED)
    assert sum(n for (how, _), n in counted.items() if how == "flagged") == 1
    shown = {why.split(",")[0] for how, why in counted if how == "proven dominated"}
    assert shown == {f"by trial {number}" for number in df["dominated_by"].dropna()}


def _examples(judgement: Path, attack: str, **changed: Any) -> None:
    x = np.zeros((3, 1, 8, 8), dtype=np.uint8)
    columns: dict[str, Any] = {
        "image": np.arange(3),
        "label": np.arange(3),
        "predicted": np.arange(3) + 1,
        "x": x,
        "x_adv": x + 8,
    }
    (judgement / "examples").mkdir(exist_ok=True)
    np.savez_compressed(judgement / "examples" / f"{attack}.npz", **(columns | changed))


@pytest.mark.browser
def test_a_thousand_trials_fit_eight_megabytes(tmp_path: Path) -> None:
    """By what further trials add to the page of a few. Among the browser's tests for the time it takes."""
    size = {}
    for trials in (30, 120):
        folder = the.sweep(tmp_path / str(trials), trials=trials)
        for number in range(trials):
            _metrics(folder, number, [value / 200 for value in range(1, 61)])
        size[trials] = publish(folder, picture=False).index.stat().st_size
    added = (size[120] - size[30]) / (120 - 30)
    assert size[120] + (1000 - 120) * added < 8e6


def test_kept_examples_are_pictures_and_damaged_ones_are_none(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", trials=6)
    df, snapshot = load(folder), record.read(folder)
    first, second, *_ = sorted(df.loc[df["member"], "trial"])
    at = {number: folder / snapshot.judged[number, "test"].folder for number in (first, second)}
    _examples(at[first], "apgd-ce")
    _examples(at[first], "square", label=np.array([7, 8, 9]))
    (at[second] / "examples").mkdir()
    (at[second] / "examples" / "apgd-ce.npz").write_bytes(b"PK torn")
    ((number, strips),) = pictures.of_sweep(folder, snapshot, df, "test")
    assert number == first
    assert [strip.attack for strip in strips] == ["apgd-ce"] * 3 + ["square"] * 2
    assert (strips[0].width, strips[0].height) == (208, 64)  # three squares of 8 pixels, a pixel between them
    assert strips[3].alt == f"image 0 of test, label 7, taken for 1 by trial {first} after square"
    html = publish(folder, picture=False).index.read_text(encoding="utf-8")
    assert html.count('<img src="data:image/png;base64,') == 5
    assert json.dumps(str(tmp_path))[1:-1] not in html
