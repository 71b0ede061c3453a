"""The sentences of a report, and what the sheet of a sweep is read as."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from analysis import load, sheet, summary, words
from analysis.device_time import DeviceTime, of_sweep
from analysis.pareto import wilson
from robustray.judging.flags import MEANING
from sweeps.record import Issued, Judged, Record, read
from sweeps.record.ledger import Ledger
from tests.analysis import made as the


def _plain(text: str) -> str:
    return text.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_verdict_of_a_finished_sweep(table: pd.DataFrame) -> None:
    n = int(table["member"].sum())
    said = _plain(summary.verdict(table, the.OBJECTIVES))
    assert said.startswith(f"{n} of 24 trials are on the frontier. On 10,000 test images it runs from ")
    best = table.sort_values("test_clean_accuracy").dropna(subset="test_clean_accuracy").iloc[-1]
    assert f"{100 * best['test_clean_accuracy']:.1f} % clean" in said
    assert f"(trial {best['trial']})" in said
    # The made sweep's first member fell on test: a dominated member is no end of the frontier.
    assert f"(trial {table.loc[table['member'], 'trial'].min()})" not in said


def test_verdicts_on_the_way(tmp_path: Path) -> None:
    cheap = _plain(summary.verdict(load(the.sweep(tmp_path / "a", judge=False)), the.OBJECTIVES))
    assert cheap.startswith("22 of 24 trials have finished; nothing is judged yet. By the cheap attack")
    judging = _plain(summary.verdict(load(the.sweep(tmp_path / "b", fix=False)), the.OBJECTIVES))
    assert "on the frontier so far; members are not fixed. On the selection set it runs from" in judging
    assert summary.verdict(load(the.sweep(tmp_path / "c", trials=0)), the.OBJECTIVES) == "No trial has started yet."


def test_one_member_reads_as_one(tmp_path: Path) -> None:
    with Record(tmp_path, the.OBJECTIVES) as record:
        record.issue(Issued({}))
        record.finish(0, "complete", metrics={"clean_accuracy": 0.9, "robust_accuracy": 0.5})
        record.judge(0, "validation", Judged(360, 324, 180, "standard", True, "judgements/0000/v", 1.0))
        record.fix_members([0], [0])
    df = load(tmp_path)
    said = _plain(summary.verdict(df, the.OBJECTIVES))
    assert said == "1 of 1 trial is on the frontier. On the selection set it is 90.0 % clean / 50.0 % robust (trial 0)."
    found = " ".join(summary.warnings(df, read(tmp_path), sheet.Sheet()))
    assert "Test is not read yet for trial 0." in found
    assert "360 images" in found


def test_warnings_name_what_is_unfinished_or_weak(made: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    found = " ".join(summary.warnings(table, read(made), sheet.read(made)))
    assert "2 trials have not finished" in found
    assert "dominated by another member" in found
    assert "used for tuning and judging" not in found
    other = the.sweep(tmp_path / "s", version="apgd", autoattack=False)
    assert "from apgd" in summary.warnings(load(other), read(other), sheet.Sheet())[0]


def test_members_fixed_before_a_better_trial_was_judged_are_told(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s")
    with Record(folder, the.OBJECTIVES) as record:
        record.finish(22, "complete", metrics={"clean_accuracy": 0.99, "robust_accuracy": 0.9})
        record.judge(22, "validation", Judged(1000, 990, 900, "standard", True, "judgements/0022/v", 1.0))
    found = " ".join(summary.warnings(load(folder), read(folder), sheet.Sheet()))
    assert "The members were fixed earlier" in found
    assert "22" in found


def test_flags_are_explained_and_counted_nowhere(mixed: Path) -> None:
    df = load(mixed)
    (said, *_) = summary.warnings(df, read(mixed), sheet.Sheet())
    assert said.startswith(f"Flagged {the.FLAG}: trial 4 ({MEANING[the.FLAG]}).")
    assert "on no frontier" in said
    two = df.assign(flags=df["flags"].mask(df["trial"].isin((4, 6)), f"{the.FLAG}, unheard_of"))
    more = summary.warnings(two, read(mixed), sheet.Sheet())
    assert more[0].startswith(f"Flagged {the.FLAG}: trials 4 and 6 (")
    assert more[1].startswith("Flagged unheard_of: trials 4 and 6. ")
    assert "would change sides" not in " ".join(more)
    assert f"{int(df['member'].sum())} of 28 trials are on the frontier." in summary.verdict(df, the.OBJECTIVES)


def test_a_flagged_trial_judged_by_another_version_does_not_rename_the_others(mixed: Path) -> None:
    def others(*trials: int) -> pd.DataFrame:
        df, rand = load(mixed), load(mixed)["trial"].isin(trials)
        return df.assign(
            judge_version=df["judge_version"].mask(rand, "rand"), autoattack=df["autoattack"].mask(rand, False)
        )

    assert words.judge_name(others(4)) == "AutoAttack standard"
    assert words.judge_name(others(4).loc[[4]]) == "rand"
    assert words.judge_name(others(6)) == "standard and rand"


def test_device_time_of_judging_is_that_of_all_shards(made: Path, table: pd.DataFrame) -> None:
    shards = len(list(made.glob("judgements/*/*/*.parquet")))
    merits = summary.merits(table, read(made), of_sweep(made, read(made)))
    assert (words.duration(shards * the.SECONDS), "judging", "device time") in merits
    assert (words.duration(3600 * table["cost_device_hours"].sum()), "training", "device time") in merits


def test_with_a_ledger_every_attempt_is_device_time(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", fix=False)
    before, failed, running = of_sweep(folder, read(folder)), the.FAILED[0], the.RUNNING[0]
    with Ledger(folder) as ledger:
        ledger.add({"kind": "train"}, "trial", failed, "failed", 1000.0)
        ledger.add({"kind": "train"}, "trial", running, "interrupted", 200.0)
        ledger.add({"kind": "train"}, "trial", 0, "complete", 30.0)  # most of it was spent before there was a ledger
        ledger.add({"kind": "judge"}, "judge", 0, "complete", before.judging + 50.0)
        ledger.add({"kind": "probe"}, "probe", 0, "complete", 5.0)
    spent = of_sweep(folder, read(folder))
    assert spent.training == pytest.approx(before.training + 1200.0)
    assert spent.judging == pytest.approx(before.judging + 55.0)
    assert spent.by_split == before.by_split
    merits = summary.merits(load(folder), read(folder), spent)
    assert {remark for _, name, remark in merits if name in ("training", "judging")} == {"device time, every attempt"}


def test_a_ledger_that_began_late_takes_nothing_away(tmp_path: Path) -> None:
    folder = the.sweep(tmp_path / "s", fix=False)
    before = of_sweep(folder, read(folder))
    with Ledger(folder):
        pass
    spent = of_sweep(folder, read(folder))
    assert spent.training == pytest.approx(before.training)
    assert spent.judging == pytest.approx(before.judging)


def test_the_hypervolume_is_that_of_means_over_seeds(mixed: Path) -> None:
    df = load(mixed)
    df["member"] = df["trial"].isin((10, 26, 27))
    (volume,) = [
        value
        for value, name, _ in summary.merits(df, read(mixed), DeviceTime(0.0, 0.0, {}, every_attempt=False))
        if name == "hypervolume"
    ]
    clean, robust = df.loc[df["member"], ["judged_clean_accuracy", "judged_robust_accuracy"]].mean()
    assert float(volume) == pytest.approx(clean * robust, abs=6e-4)


def test_gaps(table: pd.DataFrame) -> None:
    clean, robust = summary.gaps(table)
    assert (clean.metric, robust.metric) == ("clean accuracy", "robust accuracy")
    assert clean.mean[0] == pytest.approx(table["gap_clean"].mean())
    assert abs(robust.largest[0]) == pytest.approx(table["gap_robust"].abs().max())
    assert table.loc[robust.trial, "gap_robust"] == pytest.approx(robust.largest[0])
    for value, low, high in (clean.mean, clean.largest, robust.mean, robust.largest):
        assert low < value < high


def test_the_sign_of_a_gap_is_said_where_images_do_not_explain_it(table: pd.DataFrame) -> None:
    def said(judged: float, test: float) -> str:
        one = table[table["member"]].head(1).copy()
        for split, p in (("judged", judged), ("test", test)):
            one[f"{split}_clean_accuracy"] = p
            one[f"{split}_clean_accuracy_low"], one[f"{split}_clean_accuracy_high"] = wilson(1000 * p, 1000)
        return summary.gaps(one.assign(gap_clean=judged - test))[0].said

    assert said(0.9, 0.8) == "the selection set is higher"
    assert said(0.8, 0.9) == "test is higher"
    assert said(0.9, 0.899) == "no gap that the drawing of images does not explain"


def test_an_interval_of_a_gap_is_newcombes(table: pd.DataFrame) -> None:
    one = table[table["member"]].head(1).copy()
    for split, k, n in (("judged", 56, 70), ("test", 48, 80)):
        one[f"{split}_clean_accuracy"] = k / n
        one[f"{split}_clean_accuracy_low"], one[f"{split}_clean_accuracy_high"] = wilson(k, n)
    clean, _ = summary.gaps(one.assign(gap_clean=0.2))
    assert clean.mean == pytest.approx(
        (0.2, 0.0524, 0.3339), abs=5e-5
    )  # method 10 of Newcombe (1998), his first example


def test_seeds_that_were_varied_are_told(made: Path, mixed: Path) -> None:
    assert summary.seeds(read(made)).startswith("Every setting was trained once, with one seed.")
    assert summary.seeds(read(mixed)).startswith(
        "2 settings of 24 were trained again with other seeds of training (4 trials); "
    )


def test_one_validation_list_is_recognised() -> None:
    def one(validation: object, images: object) -> bool:
        return sheet.Sheet(space={"judge": {"data": {"validation": validation}, "images": images}}).one_list

    assert one(360, {"validation": 360})
    assert one(360, {"validation": "all"})
    assert not one(2000, {"validation": 1000})
    assert not sheet.Sheet().one_list


def test_the_threat_is_written_as_papers_do() -> None:
    assert sheet.Sheet(space={"judge": {"threat": {"norm": "linf", "eps": 8 / 255}}}).threat == "linf, eps 8/255"
    assert sheet.Sheet(space={"judge": {"threat": {"norm": "l2", "eps": 0.5}}}).threat == "l2, eps 0.5"
    assert sheet.Sheet().threat == ""


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2", "space: 3\nversions: []\nresumed: x", "", "\x00"])
def test_a_damaged_sheet_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.yaml").write_text(content)
    found = sheet.read(tmp_path)
    assert found.space == {}
    assert found.name(tmp_path) == tmp_path.name


def test_words() -> None:
    assert _plain(words.percent(0.975)) == "97.5 %"
    assert words.percent(float("nan")) == ""
    assert words.interval(0.9, 0.95) == "90.0\N{EN DASH}95.0"
    assert [words.duration(s) for s in (12, 245, 88560)] == ["12 s", "4 min 5 s", "24.6 h"]
    assert [words.value(v) for v in (0.031415926, 6, True, "x", None, [1, 2])] == [
        "0.03142",
        "6",
        "true",
        "x",
        "",
        "[1, 2]",
    ]
    assert [words.probability(p) for p in (0.0, 0.004, 0.034, 0.5, 0.996, 1.0, None)] == [
        "<0.01", "<0.01", "0.03", "0.50", ">0.99", ">0.99", "",
    ]  # fmt: skip
    assert [words.p_value(p) for p in (1e-9, 0.0421, 1.0, None)] == ["<0.001", "0.042", "1.000", ""]
    assert [words.points(d) for d in (0.024, -0.1)] == ["+2.4", "\N{MINUS SIGN}10.0"]
    assert words.time("2026-11-20T12:45:04+00:00") == "2026-11-20 12:45 UTC"
    assert words.time("yesterday") == "yesterday"
    assert words.time(words.value(datetime(2026, 11, 20, 12, 45, tzinfo=UTC))) == "2026-11-20 12:45 UTC"
