"""What the search itself costs: a decision with 10,000 trials in the record, and a frontier of 10,000 points."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _bench import Bench

from sweeps.frontier import undominated
from sweeps.record import Issued, Record
from sweeps.search import replicating, simulation
from sweeps.search.field import Curve, Field, Policy, Rung, State
from sweeps.search.regret import hypervolume
from sweeps.search.replicates import Replicates
from sweeps.space import Sweep

TRIALS, FEW = 10_000, 1000
TIMES = 9
KEPT = 300
"""Paused trials that may wait, where not all may."""
SPACE = """
name: driver
judge: {data: digits, threat: {norm: linf, eps: 0.1}}
trial:
  model: {name: small_cnn, width: 1}
  defense: {name: trades, beta: {loguniform: [0.1, 10]}}
  threat: {norm: linf, eps: {uniform: [0.02, 0.2]}}
  optimiser: {name: sgd, weight_decay: {loguniform: [0.00001, 0.01]}}
  schedule: {epochs: 27, lr: {loguniform: [0.01, 1]}}
"""


def sweep() -> Sweep:
    """A space of four numbers."""
    import yaml

    return Sweep.model_validate(yaml.safe_load(SPACE))


def crowd(space: Sweep, trials: int) -> list[Curve]:
    """Trials in all states, most of them paused or stopped, a few at work."""
    rng = np.random.default_rng(0)
    found, order = [], 0
    epochs = (6, 14, 27)
    for number in range(trials):
        shares = rng.random(len(space.space))
        params = {
            each.name: each.distribution.low * (each.distribution.high / each.distribution.low) ** share
            for each, share in zip(space.space, shares.tolist(), strict=True)
        }
        reached = int(rng.choice([0, 1, 2, 3], p=[0.001, 0.5, 0.2, 0.299]))
        clean = 0.9 - 0.2 * shares[0] ** 2 - 0.1 * (shares[3] - 0.6) ** 2
        robust = 0.4 + 0.3 * shares[0] - 0.2 * (shares[3] - 0.5) ** 2
        rungs = []
        for index in range(reached):
            grown = 1 - 0.5 * 0.6 ** (2 * index + 1)
            noise = rng.normal(0, 0.01, 2).tolist()
            metrics = {"clean_accuracy": clean * grown + noise[0], "robust_accuracy": robust * grown + noise[1]}
            rungs.append(Rung(index, epochs[index], order, metrics, 2.0 * epochs[index]))
            order += 1
        state: State = ("running", "paused", "paused", "complete")[reached]
        final = rungs[-1].metrics if state == "complete" else None
        found.append(Curve(number, params, state, 27, tuple(rungs), min(reached, 2), final))
    return found


def decision(policy: Policy, space: Sweep, curves: list[Curve]) -> float:
    """Milliseconds of the processor for a decision: the median of several, each after one more trial came to a rung.

    As the controller asks: first who is given up, then, with those stopped, what goes on.
    """
    curves, taken = list(curves), []
    for n in range(2 * TIMES + 1):
        many = len(curves) - 2 * TIMES + n

        def seen(many: int = many) -> Field:
            known = curves[:many]
            return Field(known, space.objectives, (2 / 9, 0.5, 1.0), decisions=2 * many, spent=1.0, budget=1e9)

        field, begun = seen(), time.process_time()
        given_up = policy.given_up(field)
        spent = time.process_time() - begun
        for number in given_up:
            curves[number] = replace(curves[number], state="stopped")
        field, begun = seen(), time.process_time()
        policy.choose(field)
        taken.append(1000 * (spent + time.process_time() - begun))
    return statistics.median(taken[1:])  # the first one reads all


def replicates() -> float:
    """Milliseconds of the processor for a decision about replicates, by a record of so many trials, a sixth of them replicates
    and as many stopped: the median of several, each after one more trial has ended.
    """
    rng = np.random.default_rng(0)
    space = sweep()
    memory = simulation.SHARED_MEMORY if os.access(simulation.SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, Record(Path(folder), space.objectives) as record:
        kept, taken = Replicates(record, replicating.SEEDS), []
        for number in range(TRIALS):
            first = int(rng.integers(number)) if number > TRIALS // 2 and not number % 3 else None
            settings: dict[str, Any] = (
                {} if first is None else {"origin": "replicate", "parents": (record.trial(first).setting,)}
            )
            record.issue(Issued({"x": number}, **settings))
            robust, noise = rng.random(), rng.normal(0, 0.01, 2)
            values = (0.9 - 0.3 * robust**2 - 0.2 * rng.random() + noise[0], 0.3 + 0.4 * robust + noise[1])
            stopped = first is None and not number % 6
            metrics = dict(zip(space.objectives, values, strict=True))
            record.finish(number, "stopped" if stopped else "complete", metrics=metrics)
            begun = time.process_time()
            kept.look(number)
            if number >= TRIALS - TIMES:
                kept.next(spent=3.0 * TRIALS, budget=float(TRIALS), seed=number)
            taken.append(1000 * (time.process_time() - begun))
        return statistics.median(taken[-TIMES:])


def _milliseconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(TIMES):
        begun = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begun))
    return statistics.median(taken)


def driver(bench: Bench, *, quick: bool) -> None:
    """Rows and targets of the driver's own cost."""
    from sweeps.search.halving import ParetoHalving
    from sweeps.search.race import Race

    space = sweep()
    curves = crowd(space, TRIALS)
    race = decision(Race(space.space, space.ask), space, curves)
    keeping = decision(Race(space.space, space.ask, keep_paused=KEPT), space, curves)
    halving = decision(ParetoHalving(eta=3), space, curves[:FEW])
    again = replicates()
    bench.row(f"{TRIALS} trials", "a decision of the race", race, unit="ms")
    bench.row(f"{TRIALS} trials", f"a decision of the race, keep_paused {KEPT}", keeping, unit="ms")
    bench.row(f"{TRIALS} trials", "a decision about replicates", again, unit="ms")
    bench.row(f"{FEW} trials", "a decision of Pareto halving", halving, unit="ms")
    values = np.random.default_rng(0).random((TRIALS, 2))
    front = _milliseconds(lambda: undominated(values))
    volume = _milliseconds(lambda: hypervolume(values, np.zeros(2)))
    bench.row(f"{TRIALS} points", "frontier and hypervolume", front + volume, unit="ms")
    bench.target(f"ms of a decision at {TRIALS:,} trials", race, 30)
    bench.target(f"ms of a decision at {TRIALS:,} trials, of which {KEPT} wait", keeping, 30)
    bench.target(f"ms of a decision about replicates at {TRIALS:,} trials", again, 30)
    bench.target(f"ms of a decision of Pareto halving at {FEW:,} trials", halving, 1)
    bench.target(f"ms of frontier and hypervolume at {TRIALS:,} points", front + volume, 50)
