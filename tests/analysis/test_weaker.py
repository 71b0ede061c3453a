"""What a PGD that `measures` ran would have said, beside the judge on the same images; measures of all; lines that derive."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import comparison, derivation, measured, picking, tables, weaker
from analysis.collect import load
from analysis.option_figure import measure_figure
from analysis.pareto import wilson
from robustray.verdicts import CLEAN
from sweeps.record import Record, read
from sweeps.record import measured as of_record
from sweeps.record.points import ASKED, name_of
from tests.analysis import made as the

SHARED = 600  # of the judge's images, that the weaker attack ran on


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep whose members a PGD was run on, which breaks four images of five that the judge breaks; measured besides."""
    found = the.sweep(tmp_path_factory.mktemp("results") / "weaker", trials=8, derived=True)
    snapshot = read(found)
    df = load(found)
    with Record(found, the.OBJECTIVES) as record:
        models = comparison.read(found, snapshot, "validation")
        assert models is not None
        assert models.images is not None
        for trial in df.loc[df["member"], "trial"].tolist():
            right, stands = models.verdicts[models.trials.index(trial), :, :SHARED]
            stood = np.where((right == 1) & (models.images[:SHARED] % 5 == 0), 1, stands)
            where = record.trial_folder(trial) / "measures" / "validation-robust_accuracy-0123"
            where.mkdir(parents=True)
            about = {"measure": "robust_accuracy", "settings": {"attack": {"name": "pgd", "steps": 20}}}
            (where / "result.json").write_text(json.dumps(about))
            rows = {
                "image": models.images[:SHARED],
                "label": 0,
                "clean": right.astype(int),
                "robust": stood.astype(int),
            }
            pd.DataFrame(rows).to_csv(where / "images.csv", index=False)
            said = of_record.Measured(
                trial, "validation", "pgd_here", float(stood.mean()), None, None, "fraction", SHARED,
                str(where.relative_to(found)),
            )  # fmt: skip
            record.setting(of_record.key(trial, "validation", "pgd_here", {}), of_record.plain(said))
    return found


def test_a_weaker_attack_stands_beside_the_judge_on_the_images_of_both(folder: Path) -> None:
    df, snapshot = load(folder), read(folder)
    found = comparison.of_sweep(folder, snapshot, df, "validation")
    assert found is not None
    assert found.verdicts is not None
    taken = weaker.taken(folder, snapshot, "validation")
    assert [each.name for each in taken] == ["pgd, 20 steps"]
    assert weaker.taken(folder, snapshot, "test") == []
    shown = weaker.table(found, df, the.OBJECTIVES, taken)
    for row in shown.rows:
        trial = int(row[0].text)
        judge = found.verdicts.verdicts[found.verdicts.trials.index(trial), 1]
        stood = np.array(list(taken[0].stands[trial].values()), dtype=float)
        assert row[6].sort == pytest.approx(stood.mean())
        assert row[6].remark == f"of {SHARED}"
        assert row[7].sort == pytest.approx((stood - judge[:SHARED]).mean())
        broken, n = found.broken[trial], len(judge)
        later = sum(broken.values()) - broken[CLEAN] - broken[the.ATTACKS[0]]
        low, high = wilson(later, n)
        assert row[5].sort == pytest.approx(later / n)
        assert low <= later / n <= high
        assert row[5].remark.count(" to ") == row[7].remark.count(" to ") == 1
    assert "paired bootstrap" in weaker.said(taken)
    assert "takes measures: [robust_accuracy]" in weaker.said([])


def test_what_cannot_be_read_of_a_weaker_attack_is_left_out(folder: Path, tmp_path: Path) -> None:
    assert weaker.taken(tmp_path, read(folder), "validation") == []


def test_measures_of_all_trials_are_a_column_and_a_figure(folder: Path) -> None:
    df = load(folder)
    assert measured.of_all(df) == []
    assert measure_figure(df) is None
    df = df.assign(lipschitz=np.linspace(1, 300, len(df)), judged_lipschitz=1.0)
    assert measured.of_all(df) == ["lipschitz"]
    shown = tables.trials(df, the.OBJECTIVES)
    at = [head.text for head in shown.heads].index("lipschitz")
    assert [row[at].sort for row in shown.rows] == pytest.approx(df["lipschitz"].tolist())
    figure = measure_figure(df, theme="dark")
    assert figure is not None
    complete = df[(df["status"] == "complete") & (df["flags"] == "")]
    drawn = {trial for trace in figure.data for trial in trace.customdata}
    assert drawn == set(complete["trial"])
    assert figure.layout.xaxis.title.text == "lipschitz"


def test_a_derived_point_has_the_line_that_makes_it(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "it's", trials=8, derived=True)
    request = {"name": "soup", "parents": ["cleanest", 3]}
    snapshot = read(folder)
    assert derivation.lines(snapshot, {}, folder) == {}, "its request is not in the record"
    settings = {ASKED + "soup": request} | dict(snapshot.settings)
    made = [trial.number for trial in snapshot.trials if trial.request]
    trials = [trial if not trial.request else replace(trial, request=name_of(request)) for trial in snapshot.trials]
    asked = replace(snapshot, trials=trials, settings=settings)
    found = derivation.lines(asked, {}, folder)
    assert list(found) == made
    *_, where, told = shlex.split(found[made[0]])
    assert where == "../it's"
    assert json.loads(told) == request
    assert derivation.lines(replace(snapshot, trials=trials), {"derive": [request]}, folder) == found
    assert picking.facts(load(folder), the.OBJECTIVES, found)["requests"] == found
