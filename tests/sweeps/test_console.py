"""The lines of a console, event by event."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import get_args

import pytest

from sweeps.events import (
    AttackDone,
    BudgetLeft,
    Concluded,
    Event,
    JobBegun,
    JobEnded,
    JobHeard,
    JudgingFailed,
    JudgingReached,
    JudgingResumed,
    JudgingSkipped,
    MembersFixed,
    Placed,
    PointEnded,
    Said,
    TrialEnded,
    TrialJudged,
    TrialPaused,
)
from sweeps.record import Judged, Members, Reached, Rung, Skipped, TrialRecord
from sweeps.running.nodes import (
    JobResumed,
    JobReturned,
    JobWaits,
    Node,
    NodeAvoided,
    NodeFar,
    NodeJoined,
    NodeLeaves,
    NodeLost,
)
from sweeps.running.queues import End, Job
from sweeps.view import console
from sweeps.view.console import Console, Show

JOB = Job("trial 0007", 7, {"kind": "train"})
EPOCH = {"epoch": 3, "epochs": 30, "clean_accuracy": 0.9, "robust_accuracy": 0.512}
METRICS = {"clean_accuracy": 0.9, "robust_accuracy": 0.512, "cost_seconds": 12.34}
TRIAL = TrialRecord(7, {"defense.trades.beta": 2.345}, "complete", METRICS)
RUNGS = (Rung(0, 6, 0, METRICS, 4.0), Rung(1, 14, 1, METRICS, 9.0))
DIVERGED = TrialRecord(8, {}, "diverged", cause="the loss is nan")
CODES = "\x1b[1mthe \x1b]8;;http://x\x07loss\x1b]8;;\x07\x1b[0m is\nnan\x07"  # bold, a link, and a bell
LISTED = {"schedule.boundaries.0": 12.7, "schedule.boundaries.2": 49.3, "defense.trades.beta": 2.345}
NODE = Node("0123456789abcdef", "gpu7", "10.0.0.7", 8.0, 1.0)
JUDGED = Judged(400, 360, 180, "apgd-ce", False, "folder", 40.0)
SOUP = TrialRecord(
    12, {"derived": "soup", "derived.weights": "0.33, 0.67"}, "complete", METRICS, origin="derived", parents=(3, 5)
)
MIXED = TrialRecord(
    13, {"derived": "smoothing", "derived.alpha": 0.7}, "failed", cause="no such parent", origin="derived"
)
BASINS = "parents lie in different basins: loss 1.20, 0.80 above theirs"
LINES: list[tuple[Event, str]] = [
    (Said("starting Ray ..."), "starting Ray ..."),
    (Said("it is tried again alone", timed=True), "TIME  it is tried again alone"),
    (Placed("2 at a time on Ray", 2, "http://here"), "running 2 at a time on Ray, dashboard at http://here"),
    (Placed("here", 1, None), "running here"),
    (
        TrialEnded(TRIAL, 3, 12),
        "TIME  trial 0007 complete: clean 90.0%, robust 51.2%  12.3 s  [beta 2.35]  3 of 12",
    ),
    (
        TrialEnded(TRIAL, 3, 12, 5.26, 12),
        "TIME  trial 0007 complete: clean 90.0%, robust 51.2%  12.3 s  [beta 2.35]  5.3 of 12 trainings spent",
    ),
    (
        TrialPaused(replace(TRIAL, outcome=None, rungs=RUNGS[:1]), RUNGS[0], 27),
        "TIME  trial 0007 paused at epoch 6 of 27: clean 90.0%, robust 51.2%  4.0 s  [beta 2.35]",
    ),
    (
        TrialPaused(replace(TRIAL, outcome=None, rungs=RUNGS), RUNGS[1], 27),
        "TIME  trial 0007 paused at epoch 14 of 27: clean 90.0%, robust 51.2%  9.0 s",
    ),
    (TrialEnded(DIVERGED, 4, 12), "TIME  trial 0008 diverged (the loss is nan)  []  4 of 12"),
    (
        TrialEnded(TrialRecord(8, {}, "failed", cause=CODES), 4, 12),
        "TIME  trial 0008 failed (the loss is nan )  []  4 of 12",
    ),
    (
        PointEnded(SOUP, ("3", "5"), 0.44, BASINS, 3, 7),
        "TIME  point 0012 (soup of 0003 and 0005, weights 0.33, 0.67) complete: clean 90.0%, robust 51.2%  0.4 s"
        f"  3 of 7; {BASINS}",
    ),
    (
        PointEnded(MIXED, ("3@10", "4", "zoo:Standard"), None, "", 4, 7),
        "TIME  point 0013 (smoothing of 0003@10, 0004 and zoo:Standard, alpha 0.7) failed (no such parent)  4 of 7",
    ),
    (JudgingFailed(7, "test", CODES), "TIME  judging 0007 on test failed (the loss is nan )"),
    (Said(CODES), "the loss is nan "),
    (
        TrialEnded(TrialRecord(9, LISTED, "failed"), 5, 12),
        "TIME  trial 0009 failed  [boundaries.0 12.7, boundaries.2 49.3, beta 2.35]  5 of 12",
    ),
    (
        TrialJudged(7, "validation", JUDGED),
        "TIME  judged 0007 on 400 images of the selection set: clean 90.0%, apgd-ce 45.0%  40.0 s",
    ),
    (TrialJudged(7, "test", JUDGED), "TIME  judged 0007 on 400 images of test: clean 90.0%, apgd-ce 45.0%  40.0 s"),
    (
        JudgingSkipped(7, Skipped(3, "apgd-t", 100, 360, 400)),
        "TIME  judging 0007 ends after apgd-t: at best 25.0% robust, trial 0003 is better",
    ),
    (
        JudgingSkipped(7, Skipped(3, "", 400, 400, 400)),
        "TIME  judging 0007 ends before any attack: at best 100.0% robust, trial 0003 is better",
    ),
    (
        JudgingSkipped(7, Skipped(None, "apgd-ce", 208, 360, 400, {"robust_accuracy": 0.08})),
        "TIME  judging 0007 ends after apgd-ce: at best 52.0% robust, misses robust_accuracy by 8.0 points",
    ),
    (
        TrialJudged(7, "validation", JUDGED, {"robust_accuracy": 0.15, "cost_passes": 1200.0}),
        "TIME  judged 0007 on 400 images of the selection set: clean 90.0%, apgd-ce 45.0%  40.0 s, misses robust_accuracy by "
        "15.0 points and cost_passes by 1,200",
    ),
    (
        JudgingReached(7, Reached("apgd-t", 200, 360, 400, ("dynamic",))),
        "TIME  judging 0007 waits after apgd-t: clean 90.0%, at best 50.0% robust, flagged dynamic",
    ),
    (
        TrialEnded(replace(TRIAL, feasible=False, violations={"clean_accuracy": 0.05, "robust_accuracy": -0.1}), 3, 12),
        "TIME  trial 0007 complete (misses clean_accuracy by 5.0 points): clean 90.0%, robust 51.2%  12.3 s  [beta 2.35]"
        "  3 of 12",
    ),
    (JudgingResumed(7), "TIME  judging 0007 goes on: what was better than it no longer stands"),
    (JudgingFailed(7, "validation", "clean: no file"), "TIME  judging 0007 on validation failed (clean: no file)"),
    (MembersFixed(Members(1, [3, 7], [7], "now"), 2), "TIME  frontier of 2 fixed: 0003, 0007; reading test for 1"),
    (MembersFixed(Members(1, [3, 7], [], "now"), 1), "TIME  frontier of 1 (2 trials) fixed: 0003, 0007"),
    (
        NodeAvoided(NODE, "does not see the results"),
        "TIME  node gpu7 (10.0.0.7, 01234567) gets no work: it does not see the results",
    ),
    (
        NodeFar(NODE),
        "TIME  node gpu7 (10.0.0.7, 01234567) does not see the results: its trials travel through Ray's object store",
    ),
    (NodeJoined(NODE, 4), "TIME  node gpu7 (10.0.0.7, 01234567) joins: 4 jobs at a time"),
    (
        NodeLeaves(NODE, 3),
        "TIME  node gpu7 (10.0.0.7, 01234567) is about to leave: its jobs go on elsewhere, 3 at a time",
    ),
    (NodeLost(NODE, 3), "TIME  node gpu7 (10.0.0.7, 01234567) is lost; 3 jobs at a time on the others"),
    (JobReturned(JOB, "its node was lost"), "TIME  trial 0007 goes back and waits for a place (its node was lost)"),
    (JobResumed(JOB), "TIME  trial 0007 goes on"),
    (
        JobWaits(JOB, 60.4, 2.0, 0.0, "of 4 CPUs and 0 GPUs, 1 and 0 are free"),
        "TIME  trial 0007 has waited for a worker with 2 CPUs for 60 s and goes on waiting: of 4 CPUs and 0 GPUs, 1 and 0 are "
        "free",
    ),
]
DETAILS: list[tuple[Event, str]] = [
    (JobBegun(JOB), "TIME  trial 0007 begins"),
    (JobHeard(JOB, EPOCH), "TIME  trial 0007 epoch 3/30: clean 90.0%, robust 51.2%"),
    (JobHeard(JOB, {"epoch": 1, "epochs": 2, "loss": 1.23456}), "TIME  trial 0007 epoch 1/2: loss 1.235"),
    (
        TrialEnded(replace(TRIAL, outcome="stopped", cause="others promise more"), 3, 12, 5.26, 12),
        "TIME  trial 0007 stopped (others promise more): clean 90.0%, robust 51.2%  12.3 s  [beta 2.35]  5.3 of 12 trainings "
        "spent",
    ),
    (JobEnded(JOB, End("stopped")), "TIME  trial 0007 ends: stopped"),
]
SIGNS: list[tuple[Event, str]] = [
    (
        AttackDone(7, "validation", "apgd-t", 212, 400),
        "TIME  judging 0007 on validation: 212 of 400 stand after apgd-t",
    ),
]


def _shown(event: Event, show: Show) -> list[str]:
    lines: list[str] = []
    Console(lines.append, show)(event)
    return [re.sub(r"^\d\d:\d\d:\d\d  ", "TIME  ", line) for line in lines]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda value: type(value).__name__)
def test_a_line_for_each_event(event: Event, line: str) -> None:
    assert _shown(event, "plain") == _shown(event, "verbose") == [line]
    assert _shown(event, "quiet") == []


@pytest.mark.parametrize(("event", "line"), DETAILS, ids=lambda value: type(value).__name__)
def test_jobs_are_details(event: Event, line: str) -> None:
    assert _shown(event, "verbose") == [line]
    assert _shown(event, "plain") == []


@pytest.mark.parametrize(("event", "line"), SIGNS, ids=lambda value: type(value).__name__)
def test_progress_is_shown_where_nothing_else_was_for_a_while(
    event: Event, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _shown(event, "plain") == []
    monkeypatch.setattr(console, "QUIET_SECONDS", -1.0)
    assert _shown(event, "plain") == [line]


def test_the_outcome_is_shown_in_any_case() -> None:
    for show in get_args(Show):
        assert _shown(Concluded("all done: 2 complete"), show) == ["all done: 2 complete"]


def test_what_is_left_of_a_budget_is_said_with_the_next_trial() -> None:
    lines: list[str] = []
    told = Console(lines.append, "plain")
    told(BudgetLeft("3.1 of 12 device-hours"))
    assert lines == []
    told(TrialEnded(DIVERGED, 4, 12))
    assert lines[0].endswith("4 of 12; 3.1 of 12 device-hours")


def test_every_event_has_a_line_here() -> None:
    assert {type(event) for event, _ in (*LINES, *DETAILS, *SIGNS)} | {Concluded, BudgetLeft} == set(get_args(Event))
