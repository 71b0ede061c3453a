"""Which trials meet Square early, and what that changes: nothing about what the other attacks are asked."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.judging import suspicion
from robustray.judging.answers import Copies
from robustray.judging.bench import Bench
from robustray.judging.flags import found
from robustray.judging.plan import SEED, Plan
from robustray.judging.stage import broken_first, judge_shard
from robustray.training import metrics_csv
from robustray.verdicts import (
    CLEAN,
    PARTS,
    SQUARE,
    SQUARE_EARLY,
    Shard,
    Verdicts,
    before,
    in_order,
    may_be_early,
)
from tests.robustray.judged import learned, said
from tests.robustray.test_flags import masked

STANDARD = ("apgd-ce", "apgd-t", "fab-t", SQUARE)
TABLE = Path(__file__).parents[3] / "shared" / "reference" / "fastat_2026.jsonl"
ACCURACY = st.floats(0, 1)


# Who.


@given(fgsm=ACCURACY, pgd=st.none() | ACCURACY, clean=st.lists(ACCURACY, max_size=12))
def test_suspicion_is_one_of_two_bounds(fgsm: float, pgd: float | None, clean: list[float]) -> None:
    gap = pgd is not None and fgsm - pgd > suspicion.GAP
    assert bool(suspicion.of(fgsm, pgd, clean)) == (gap or suspicion.late_leap(clean) > suspicion.LEAP)


@given(st.lists(ACCURACY, max_size=12), st.floats(-1, 1))
def test_a_leap_is_a_rise_above_what_was_usual(clean: list[float], shift: float) -> None:
    leap = suspicion.late_leap(clean)
    assert 0 <= leap <= max(clean, default=0) - min(clean, default=0)
    assert suspicion.late_leap([each + shift for each in clean]) == pytest.approx(leap, abs=1e-9)
    assert suspicion.late_leap(sorted(clean, reverse=True)) == 0, "what only falls leaps nowhere"


@pytest.mark.parametrize(
    ("clean", "leap"),
    [
        ([], 0.0),
        ([0.9], 0.0),
        ([0.1, 0.7, 0.7, 0.7, 0.7, 0.7], 0.0),  # early
        ([0.7] * 9 + [0.9], 0.2),
        ([0.7] * 8 + [0.2, 0.7], 0.0),  # one bad epoch
        ([0.7] * 8 + [0.9, 0.9], 0.2),
    ],
)
def test_late_leaps(clean: list[float], leap: float) -> None:
    assert suspicion.late_leap(clean) == pytest.approx(leap)


@pytest.mark.skipif(not TABLE.is_file(), reason="the published table lies outside the repository")
def test_stated_counts() -> None:
    """Of 186 published trainings, which would have met Square early."""
    runs = [json.loads(line) for line in TABLE.read_text().splitlines()]
    runs = [run for run in runs if run["autoattack"] is not None]
    told = [bool(suspicion.of(r["val_fgsm"][-1], r["val_pgd"][-1], r["val_clean"])) for r in runs]
    overstated = [run["pgd50"] - run["autoattack"] > 8 for run in runs]
    both = sum(a and b for a, b in zip(told, overstated, strict=True))
    assert (len(runs), sum(overstated), both, sum(told) - both) == (186, 7, 6, 44)


def test_a_column_of_what_training_wrote(tmp_path: Path) -> None:
    assert metrics_csv.column(tmp_path, "clean_accuracy") == []
    metrics_csv.write(tmp_path, [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "clean_accuracy": 0.5}])
    assert metrics_csv.column(tmp_path, "clean_accuracy") == [0.5], "not every epoch is validated"
    assert metrics_csv.column(tmp_path, "other") == []
    (tmp_path / "metrics.csv").write_bytes(b"epoch,clean_accuracy\n1,\xff\n")
    assert metrics_csv.column(tmp_path, "clean_accuracy") == []
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "clean_accuracy"], [1, "none"]])
    assert metrics_csv.column(tmp_path, "clean_accuracy") == []


# In which order.


@pytest.mark.parametrize(
    ("attacks", "can"),
    [
        (STANDARD, True),
        (("apgd-dlr", "fab", SQUARE), True),
        (("apgd-ce", SQUARE), False),  # it is there already
        (("apgd-ce", "apgd-t"), False),
        (("fab", "apgd-ce", SQUARE), False),
        ((), False),
    ],
)
def test_where_square_can_be_early(attacks: tuple[str, ...], can: bool) -> None:
    assert may_be_early(attacks) is can


def test_order_of_stages() -> None:
    early = in_order((SQUARE_EARLY,), STANDARD)
    assert early == ("apgd-ce", SQUARE, "apgd-t", "fab-t")
    assert in_order(("early", PARTS, SQUARE_EARLY), STANDARD) == ("early", "apgd-ce", SQUARE, PARTS, "apgd-t", "fab-t")
    assert [before(early, stage, (SQUARE_EARLY,)) for stage in early] == [
        (),
        ("apgd-ce",),
        ("apgd-ce",),
        ("apgd-ce", "apgd-t"),
    ]
    assert before(early, "fab-t") == early[:3], "only where the plan says so"


def judged(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, attacks: tuple[str, ...], folder: Path, *, early: bool
) -> tuple[dict[str, Shard], int]:
    """Every stage's verdicts on one shard, and how many images stand by the stages' own counts."""
    folder.mkdir()
    extras = (SQUARE_EARLY,) if early else ()
    rows = np.arange(len(x), dtype=np.int64)
    plan = Plan("images", "standard", attacks, "standard", threat, rows, len(x), SEED, {}, extras)
    bench = Bench(Copies(model), plan, folder)
    shards, standing = {}, len(x)
    for stage in plan.stages:
        shards[stage] = judge_shard(bench, x, y, stage, 0)
        standing -= broken_first(plan, folder, shards[stage])
    return shards, standing


@pytest.mark.parametrize("hidden", [False, True])
def test_other_attacks_are_the_same_to_the_bit(hidden: bool, tmp_path: Path) -> None:
    """And what stands in the end is what all of them left; a model that hides its gradients is flagged in either order."""
    if hidden:
        model, x, threat = masked()
        with torch.no_grad():
            y = model(x).argmax(1)
        attacks: tuple[str, ...] = ("apgd-ce", "apgd-dlr", SQUARE)
    else:
        (model, x, y), threat = learned(), Threat(eps=0.1)
        x, y, attacks = x[:30], y[:30], ("apgd-ce", "apgd-t", SQUARE)
    others = attacks if hidden else attacks[:-1]  # 5,000 questions of Square's take their time
    listed, _ = judged(model, x, y, threat, others, tmp_path / "listed", early=False)
    early, standing = judged(model, x, y, threat, attacks, tmp_path / "early", early=True)
    assert list(early) == [CLEAN, attacks[0], SQUARE, attacks[1]]
    for stage in (CLEAN, *attacks[:-1]):
        assert said(early[stage]) == said(listed[stage])
    robust = [Verdicts.of(list(shards.values())).robust for shards in (listed, early)]
    assert int(robust[1].sum()) == standing
    assert int((robust[0] != robust[1]).sum()) <= 1, "Square draws its squares for other images beside them"
    flags = ("square_beats_white_box",) if hidden else ()
    assert found(early.values()) == found(listed.values()) == flags
