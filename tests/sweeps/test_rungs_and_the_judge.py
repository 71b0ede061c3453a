"""How far a rung is trusted: by how it has ordered trials that were judged in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeps.agreement import audit, pairs
from sweeps.record import Issued, Judged, Record
from sweeps.search.field import Curve, Field, Resume, Rung
from sweeps.search.halving import ParetoHalving
from sweeps.search.looks import Agreement
from sweeps.search.progress import Progress
from tests.sweeps.small import SPACE, small_sweep

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
EPOCHS = 12
TEXT = SPACE.replace("epochs: 3", f"epochs: {EPOCHS}") + "stopping: {name: pareto_halving, rungs: [6]}\n"


def trained(number: int, rung: float, judged: float | None, *, epoch: int = 6) -> Curve:
    """A trial that was at a rung, and was judged; equal in robust accuracy to all others."""
    there = [Rung(0, epoch, number, {"clean_accuracy": rung, "robust_accuracy": 0.5}, 6.0)]
    done = [Rung(1, EPOCHS, 100 + number, {"clean_accuracy": 0.9, "robust_accuracy": 0.5}, 12.0)]
    exact = None if judged is None else {"clean_accuracy": judged, "robust_accuracy": judged / 2}
    return Curve(number, {}, "complete", EPOCHS, (*there, *done), 1, done[0].metrics, exact)


def agreement(curves: Sequence[Curve], objectives: Sequence[str] = ("clean_accuracy",)) -> Agreement:
    found = Agreement(dict.fromkeys(objectives, "max"), 0)
    for curve in curves:
        found.look(curve)
    return found


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20), st.floats(1.5, 5))
@settings(max_examples=60, deadline=None)
def test_the_share_that_goes_on_is_the_formula(both: list[tuple[int, int]], eta: float) -> None:
    found = agreement([trained(n, one / 10, other / 10) for n, (one, other) in enumerate(both)])
    n = next((size for size in (16, 8) if size <= len(both)), 0)
    wanted = 1 / eta
    if n:
        x, y = zip(*both[:n], strict=True)
        tau = 0.0 if len(set(x)) == 1 or len(set(y)) == 1 else float(stats.kendalltau(x, y).statistic)
        error = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
        wanted += (1 - 1 / eta) * (1 - min(max((tau + error) / 0.5, 0.0), 1.0))
    assert found.share(eta) == pytest.approx(wanted)
    assert 1 / eta <= found.share(eta) + 1e-12


def test_what_was_not_judged_or_never_stood_at_the_rung_says_nothing() -> None:
    backwards = [trained(n, 0.1 + n / 20, 0.9 - n / 20) for n in range(8)]
    assert agreement(backwards).share(3.0) > 0.9
    assert agreement([replace(curve, judged=None) for curve in backwards]).share(3.0) == pytest.approx(1 / 3)
    to_the_end = [trained(n, 0.1 + n / 20, 0.9 - n / 20, epoch=EPOCHS) for n in range(8)]
    assert agreement(to_the_end).share(3.0) == pytest.approx(1 / 3), "replicates pass rungs without a stop"
    assert agreement(backwards, ["cost_seconds"]).share(3.0) == pytest.approx(1 / 3)
    doubted = agreement(backwards)
    doubted.look(replace(backwards[3], judged=None))
    assert doubted.share(3.0) == pytest.approx(1 / 3), "a judged number that cannot be trusted leaves seven"


@pytest.mark.parametrize(("sign", "goes_on"), [(1, 4), (-1, 12)])
def test_more_go_on_where_a_rung_says_less_than_the_judge(sign: int, goes_on: int) -> None:
    """Eight were judged in the order of their rung, or in the opposite one; then four wait at it. All twelve count."""
    judged = [trained(n, 0.1 + n / 20, 0.5 + sign * n / 20) for n in range(8)]
    waiting = [replace(trained(n, 0.01 * n, None), state="paused", final=None) for n in range(8, 12)]
    waiting = [replace(curve, rungs=curve.rungs[:1]) for curve in waiting]
    policy, curves, promoted = ParetoHalving(3.0), [*judged, *waiting], 8
    while isinstance(choice := policy.choose(Field(list(curves), OBJECTIVES, rungs=(0.5, 1.0))), Resume):
        curves[choice.number] = replace(curves[choice.number], state="running")
        promoted += 1
    assert promoted == max(8, goes_on)


def test_it_is_the_tau_of_the_audit(tmp_path: Path) -> None:
    """What the record says to the policy and what `analysis audit` prints are one number; flagged trials are in neither."""
    sweep = small_sweep(tmp_path / "space", "search.sampler=random", text=TEXT)
    rng = np.random.default_rng(0)
    with Record(tmp_path / "record", sweep.objectives) as record:
        for _ in range(9):
            number = record.issue(Issued({}))
            record.send(number, 0, epoch=6, epochs=EPOCHS)
            clean, robust = rng.random(2)
            metrics = {"clean_accuracy": float(clean), "robust_accuracy": float(robust)}
            record.rung(number, 0, epoch=6, metrics=metrics, seconds=1.0)
            record.send(number, 1, epoch=EPOCHS, epochs=EPOCHS)
            record.finish(number, "complete", metrics={**metrics, "clean_accuracy": 0.9}, epoch=EPOCHS, last_rung=1)
            right, held = sorted(rng.integers(0, 60, 2).tolist(), reverse=True)
            flags = ("suspicious",) if number == 4 else ()
            record.judge(number, "validation", Judged(60, right, held, "standard", True, "x", 1.0, flags=flags))
        field = Progress(sweep, record).field()
        policy = ParetoHalving()
        policy.choose(field)
        told = [each.tau for each in audit(pairs(record.snapshot())) if each.rung == 0]
    assert [each.n for each in told] == [8, 8]
    assert policy._trust[0].tau == pytest.approx(np.mean([each.value for each in told]))
