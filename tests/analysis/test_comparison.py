"""Comparisons of a sweep's trials and of two models: every column against what it is defined by."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis import comparison, paired
from analysis.__main__ import main as main_
from analysis.collect import load
from analysis.comparison import SHORT, Paired, compare
from analysis.pareto import wilson
from analysis.standing import judged_frontier
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES
from sweeps.record import Issued, Judged, Record, read
from tests.analysis import made as the


@pytest.fixture(scope="module")
def compared(mixed: Path) -> pd.DataFrame:
    return compare(mixed, split="validation")


def test_it_is_public_and_test_is_what_it_reads(mixed: Path) -> None:
    found = analysis.compare(mixed)
    assert set(found["split"]) == {"test"}
    assert found["trial"].tolist() == sorted(load(mixed).query("member")["trial"])


def test_a_row_per_trial_judged_in_full_with_its_intervals(mixed: Path, compared: pd.DataFrame) -> None:
    df = load(mixed)
    full = df[df["judging"] == "full"]
    assert compared["trial"].tolist() == full["trial"].tolist()
    assert compared["flags"].tolist() == full["flags"].tolist()
    for name in ACCURACIES:
        for end in ("", "_low", "_high"):
            np.testing.assert_allclose(compared[f"{name}{end}"], full[f"judged_{name}{end}"])
        p = compared[name]
        np.testing.assert_allclose(compared[f"{name}_se"], np.sqrt(p * (1 - p) / the.VALIDATION))
        assert (compared[f"{name}_band_low"] < compared[f"{name}_low"]).all()
        assert (compared[f"{name}_band_high"] > compared[f"{name}_high"]).all()


def test_the_band_has_one_critical_value_for_all(mixed: Path, compared: pd.DataFrame) -> None:
    models = comparison.read(mixed, read(mixed), "validation")
    assert models is not None
    verdicts = models.verdicts
    z = paired.simultaneous(paired.resample(verdicts), verdicts.mean(axis=-1), paired.standard_error(verdicts))
    assert z > 2.3
    for name in ACCURACIES:
        for row in compared.to_dict("records"):
            ends = wilson(row[name] * the.VALIDATION, the.VALIDATION, z)
            assert (row[f"{name}_band_low"], row[f"{name}_band_high"]) == pytest.approx(ends)


def test_flagged_trials_take_no_part_and_change_nothing_for_others(mixed: Path, compared: pd.DataFrame) -> None:
    flagged = compared["flags"] != ""
    assert compared.loc[flagged, "trial"].tolist() == [4]
    assert compared.loc[flagged, "nondominated"].isna().all()
    assert compared.loc[~flagged, "nondominated"].between(0, 1).all()
    models, df = comparison.read(mixed, read(mixed), "validation"), load(mixed)
    assert models is not None
    keep = [trial != 4 for trial in models.trials]
    without = Paired("validation", [t for t in models.trials if t != 4], models.verdicts[keep])
    found = comparison.table(without, df, the.OBJECTIVES)
    np.testing.assert_array_equal(found["nondominated"], compared.loc[~flagged, "nondominated"])


def test_the_probability_is_that_of_the_setting(mixed: Path, compared: pd.DataFrame) -> None:
    """By hand: means over seeds in every resample, moved by other seeds, and who is beaten there."""
    models = comparison.read(mixed, read(mixed), "validation")
    assert models is not None
    means = paired.resample(models.verdicts)
    fit = compared[compared["flags"] == ""]
    settings = sorted(set(fit["setting"]))
    at = [[models.trials.index(trial) for trial in fit.loc[fit["setting"] == s, "trial"]] for s in settings]
    assert max(map(len, at)) == 3
    points = np.stack([means[:, seeds].mean(axis=1) for seeds in at], axis=1)  # [B, S, 2]
    spread = paired.seed_covariance([models.verdicts[seeds] for seeds in at])
    assert spread is not None
    assert np.trace(spread) > 0
    draw = np.random.default_rng(1).multivariate_normal([0, 0], spread, size=points.shape[:2])
    points += draw / np.sqrt([[[len(seeds)] for seeds in at]])
    beats = np.all(points[:, :, None] > points[:, None], axis=-1)  # [B, S, S]
    expected = dict(zip(settings, 1 - np.any(beats, axis=1).mean(axis=0), strict=True))
    np.testing.assert_allclose(fit["nondominated"], fit["setting"].map(expected), atol=4 * 0.5 / np.sqrt(len(means)))
    assert fit["nondominated"].min() < 0.05
    assert fit["nondominated"].max() > 0.85


def test_the_order_of_rows_does_not_matter(mixed: Path, compared: pd.DataFrame) -> None:
    models = comparison.read(mixed, read(mixed), "validation")
    assert models is not None
    shuffled = load(mixed).sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(comparison.table(models, shuffled, the.OBJECTIVES), compared)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_neighbours_are_tested_one_after_the_other(mixed: Path, split: str) -> None:
    found, df = compare(mixed, split=split).set_index("trial"), load(mixed)
    models = comparison.read(mixed, read(mixed), split)
    assert models is not None
    verdicts = dict(zip(models.trials, models.verdicts, strict=True))
    members = df[df["member"]].assign(setting=df["replicate_of"].fillna(df["trial"]))
    by_setting = members.groupby("setting")["judged_clean_accuracy"].mean().sort_values(ascending=False)
    seeds = [members.loc[members["setting"] == setting, "trial"].tolist() for setting in by_setting.index]
    assert len(seeds) > 3
    assert found["next"].dropna().to_dict() == {mine[0]: theirs[0] for mine, theirs in pairwise(seeds)}
    p = []
    for mine, theirs in pairwise(seeds):
        for which, metric in enumerate(SHORT):
            a, b = (np.mean([verdicts[trial][which] for trial in trials], axis=0) for trials in (mine, theirs))
            p.append(paired.mcnemar(a, b))
            row = found.loc[mine[0]]
            assert row[f"{metric}_difference"] == pytest.approx(a.mean() - b.mean())
            assert row[f"{metric}_difference_low"] <= row[f"{metric}_difference"] <= row[f"{metric}_difference_high"]
    adjusted = [found.loc[mine[0], f"{metric}_p"] for mine, _ in pairwise(seeds) for metric in SHORT]
    np.testing.assert_allclose(adjusted, paired.holm(p))


def test_an_objective_that_is_no_accuracy_counts_as_it_was_told(tmp_path: Path) -> None:
    objectives = {**the.OBJECTIVES, "lipschitz": "min"}
    with Record(tmp_path, objectives) as record:
        for number, lipschitz in enumerate((3.0, 2.0, 2.0)):
            record.issue(Issued({}))
            record.finish(
                number, "complete", metrics={"clean_accuracy": 0.9, "robust_accuracy": 0.5, "lipschitz": lipschitz}
            )
            clean, robust = np.repeat([1.0, 0.0], [90, 10]), np.repeat([1.0, 0.0], [50, 50])
            folder = the.judgement(record.judgements(number), "validation", clean, robust)
            where = str(folder.relative_to(record.folder))
            record.judge(number, "validation", Judged(100, 90, 50, "standard", True, where, 1.0))
    assert compare(tmp_path, split="validation")["nondominated"].tolist() == [0.0, 1.0, 1.0]


def test_before_members_are_fixed_the_frontier_so_far_is_compared(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", fix=False)
    found = compare(folder, split="validation")
    expected = judged_frontier(load(folder), the.OBJECTIVES)
    steps = found.dropna(subset="next")
    assert {*steps["trial"], *steps["next"]} == expected
    with pytest.raises(UserError, match=r"no trial is judged in full on test yet.*--split validation"):
        compare(folder)


def test_seeds_are_spread_apart_from_images(mixed: Path) -> None:
    models = comparison.read(mixed, read(mixed), "validation")
    assert models is not None
    found = comparison.seeds(models, load(mixed))
    assert found["trial"].tolist() == [3, 10]
    assert found["seeds"].tolist() == [3, 3]
    trials = [models.trials.index(trial) for trial in (10, 26, 27)]
    for which, metric in enumerate(SHORT):
        verdicts, row = models.verdicts[trials, which], found.iloc[1]
        assert row[f"{metric}_mean"] == pytest.approx(verdicts.mean())
        assert row[f"{metric}_seeds"] == pytest.approx(paired.spread(verdicts))
        p = verdicts.mean(axis=1)
        assert row[f"{metric}_images"] == pytest.approx(np.sqrt(np.mean(p * (1 - p)) / the.VALIDATION))


def _pair(folder: Path) -> tuple[Path, Path]:
    """Two models that differ on 2 + 12 clean and 30 + 10 robust images of 200."""
    clean = np.ones((2, 200))
    clean[0, :12], clean[1, 12:14] = 0, 0
    robust = clean * np.repeat([1.0, 0.0], [120, 80])
    robust[1, 14:44], robust[0, 44:54] = 0, 0
    robust[1, :14] = robust[0, :14] = 0
    return (
        the.judgement(folder / "a", "test", clean[0], robust[0]),
        the.judgement(folder / "b", "test", clean[1], robust[1], shards=2),
    )


def test_two_models(tmp_path: Path) -> None:
    a, b = _pair(tmp_path)
    found = compare(a, b)
    assert found.index.tolist() == ["clean", "robust"]
    assert found[["a", "b", "difference"]].to_numpy().tolist() == pytest.approx(
        np.array([[188, 198, -10], [96, 76, 20]]) / 200
    )
    assert found[["only_a", "only_b"]].to_numpy().tolist() == [[2, 12], [30, 10]]
    for metric, (wins, losses) in zip(SHORT, ((2, 12), (30, 10)), strict=True):
        row = found.loc[metric]
        ours = [1.0] * wins + [0.0] * losses
        assert row["p"] == paired.mcnemar(ours, 1 - np.array(ours))
        error = np.sqrt((wins + losses) / 200 - row["difference"] ** 2) / np.sqrt(200)
        assert row["low"] == pytest.approx(row["difference"] - 1.96 * error, abs=0.3 * error)
        assert row["high"] == pytest.approx(row["difference"] + 1.96 * error, abs=0.3 * error)
    assert set(found["attacks"]) == {"+".join(the.ATTACKS)}
    back = compare(b, a)
    np.testing.assert_allclose(back["low"], -found["high"])
    np.testing.assert_array_equal(back["p"], found["p"])


def test_randomised_models_are_compared_by_their_means(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    clean = generator.integers(10, 21, size=(2, 300)) / 20
    robust = clean * np.array([[0.5], [0.45]])
    folders = [the.judgement(tmp_path / str(i), "test", clean[i], robust[i], version="rand") for i in range(2)]
    found = compare(*folders)
    np.testing.assert_allclose(
        found["difference"], [clean[0].mean() - clean[1].mean(), robust[0].mean() - robust[1].mean()], atol=1e-6
    )
    assert float(found["p"].iloc[1]) < 0.05


def test_a_flagged_model_is_compared_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = _pair(tmp_path)
    b = the.judgement(tmp_path / "c", "test", np.ones(200), np.ones(200), flags=("dynamic", "probabilities"))
    found = compare(a, b)
    assert set(found["flags_a"]) == {""}
    assert set(found["flags_b"]) == {"dynamic, probabilities"}
    assert _run(monkeypatch, a, b) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "flagged" in line] == [
        "b is flagged, its robust accuracy may be too high: dynamic, probabilities"
    ]


def test_what_cannot_be_compared_says_why(made: Path, tmp_path: Path) -> None:
    a, b = _pair(tmp_path)
    other = the.judgement(
        tmp_path / "c", "test", np.ones(200), np.ones(200), parts={"threat": {"norm": "l2", "eps": 0.5}}
    )
    with pytest.raises(UserError, match=r"they differ in threat: linf, eps 8/255 and l2, eps 0\.5"):
        compare(a, other)
    with pytest.raises(UserError, match="is a sweep; compare takes one sweep alone"):
        compare(made, b)
    with pytest.raises(UserError, match="is compared with itself"):
        compare(a, a)
    with pytest.raises(UserError, match="is the judgement of one model; name another"):
        compare(a)
    with pytest.raises(UserError, match="neither a sweep nor a judgement on test"):
        compare(tmp_path / "nothing")
    with pytest.raises(UserError, match="did you mean 'validation'"):
        compare(made, split="validaton")
    with pytest.raises(UserError, match="0 resamples"):
        compare(made, resamples=0)


def test_the_seed_decides_the_resamples(made: Path) -> None:
    one, same, other = (compare(made, resamples=50, seed=seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, same)
    assert not one["nondominated"].equals(other["nondominated"])


def _run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["analysis", "compare", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main_()
    return int(left.value.code or 0)


def test_the_command_on_a_sweep(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    assert _run(monkeypatch, mixed, "--split", "validation", "--csv", path) == 0
    said = capsys.readouterr().out
    back = pd.read_csv(path)
    lines = [line.split() for line in said.splitlines()]
    assert [int(line[0]) for line in lines if line and line[0].isdigit()] == (
        back.sort_values(["clean_accuracy", "trial"], ascending=[False, True])["trial"].tolist()
    )
    assert next(line for line in lines if line[:1] == ["4"])[1] == "flagged"
    assert "1,000 images of the selection set, AutoAttack standard" in said
    assert "p (Holm) clean" in said
    assert "p (Holm) robust" in said
    assert len(back) == len(compare(mixed, split="validation"))


def test_the_command_on_two_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = _pair(tmp_path)
    assert _run(monkeypatch, a, b) == 0
    said = capsys.readouterr().out
    assert "200 images, apgd-ce+apgd-t+fab-t+square" in said
    (robust,) = [line.split() for line in said.splitlines() if line.split()[:1] == ["robust"]]
    assert robust[1:4] == ["48.0", "38.0", "+10.0"]
    assert robust[-3:] == ["30", "10", "0.002"]
    assert _run(monkeypatch, a, tmp_path) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("error: ")
    assert "\n" not in told
