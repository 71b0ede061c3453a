"""Sweeps made for the tests: real records with every kind of trial in them, and strings that want to break the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
import yaml

from analysis.collect import objectives_judged, table
from analysis.pareto import dominates, frontier
from sweeps.record import Judged, Record, Skipped

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
SCRIPT = "<script>alert(1)</script>"
CAUSE = "loss is nan </script><img src=https://evil.example/x.png onerror=alert(2)> & \"more\" 'of' it"
VALIDATION, TEST = 1000, 10000
STOPPED, DIVERGED, FAILED, OUT_OF_MEMORY, INFEASIBLE, RUNNING = (5, 14, 18), (9,), (17,), (20,), (11,), (22, 23)
TRIALS = 24


def sweep(
    folder: Path,
    *,
    trials: int = TRIALS,
    judge: bool = True,
    fix: bool = True,
    version: str = "standard",
    autoattack: bool = True,
    first: str = "number",
) -> Path:
    """Writes a TRADES sweep that looks like a real one, always the same.

    Args:
        folder: where; it is made.
        trials: how many are asked.
        judge: whether stage 1 was run.
        fix: whether members are fixed and test is read.
        version: of the judge.
        autoattack: whether its results may be called so.
        first: whether the first option is a "number" (beta) or a "category" (activation).
    """
    generator = np.random.default_rng(3)
    with Record(folder, OBJECTIVES) as record:
        record.study.sampler = optuna.samplers.RandomSampler(seed=5)
        truth = {}
        for number in range(trials):
            beta = _ask(record, first)
            truth[number] = _accuracies(beta, generator)
            _finish(record, number, *truth[number])
        if judge:
            _judge(record, truth, generator, version, autoattack)
        if judge and fix:
            _test(record, generator, version, autoattack)
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SHEET | {"space": SPACE | {"name": folder.name}}))
    return folder


SPACE = {
    "judge": {
        "data": {"name": "cifar10", "validation": 2000},
        "threat": {"norm": "linf", "eps": 8 / 255},
        "version": "standard",
        "images": {"validation": 1000, "test": "all"},
    },
    "trial": {"defense": {"name": "trades", "beta": {"loguniform": [0.5, 20]}}},
    "note": SCRIPT,
}
SHEET = {
    "space_hash": "9f2c51d07a34",
    "versions": {"python": "3.11.9", "torch": "2.11.0", "ray": "2.52.0", "optuna": "5.0.0"},
    "commit": "4be1f0a",
    "host": "node-07",
    "created": "2026-11-20T09:12:44+00:00",
    "command": f"python run_sweep.py search_spaces/trades_beta.yaml --note '{SCRIPT}'",
    "resumed": [{"at": "2026-11-20T13:02:11+00:00", "command": "run_sweep.py x.yaml", "host": "<b>other</b>"}],
}


def _ask(record: Record, first: str) -> float:
    trial = record.study.ask()
    kinds = ["relu", "silu", SCRIPT]
    if first == "category":
        activation = trial.suggest_categorical("model.activation", kinds)
    beta = trial.suggest_float("defense.trades.beta", 0.5, 20, log=True)
    lr = trial.suggest_float("schedule.lr", 0.02, 0.4, log=True)
    if first != "category":
        activation = trial.suggest_categorical("model.activation", kinds)
    epochs = trial.suggest_int("schedule.epochs", 20, 60, step=20)
    options = {"defense.trades.beta": beta, "schedule.lr": lr, "schedule.epochs": epochs}
    named = {"model.activation": activation}
    record.issue(trial, named | options if first == "category" else options | named)
    return beta


def _accuracies(beta: float, generator: np.random.Generator) -> tuple[float, float]:
    along = np.log(beta / 0.5) / np.log(40)
    lost = abs(generator.normal(0, 0.018))
    return float(0.945 - 0.13 * along**1.4 - lost), float(0.36 + 0.17 * along**0.7 - 1.2 * lost)


def _finish(record: Record, number: int, clean: float, robust: float) -> None:
    if number in RUNNING:
        return
    metrics = {
        "clean_accuracy": clean,
        "robust_accuracy": robust + 0.035,
        "cost_seconds": 5400.0,
        "cost_device_hours": 1.5,
        "cost_passes": 8.1e8,
    }
    if number in STOPPED:
        low = metrics | {"clean_accuracy": clean - 0.12, "robust_accuracy": robust - 0.03, "cost_device_hours": 0.2}
        record.finish(number, "stopped", metrics=low, cause="dominated at rung 5 by 3 trials", epoch=5)
    elif number in DIVERGED:
        record.finish(number, "diverged", metrics={"clean_accuracy": 0.1, "robust_accuracy": 0.0}, cause=CAUSE, epoch=3)
    elif number in FAILED:
        record.finish(number, "failed", metrics={}, cause="worker died three times")
    elif number in OUT_OF_MEMORY:
        record.finish(number, "out_of_memory", metrics={}, cause="CUDA out of memory")
    else:
        violations = {"clean_accuracy": 0.02 if number in INFEASIBLE else -0.1}
        record.finish(number, "complete", metrics=metrics, epoch=60, weights="ab" * 32, violations=violations)


def _judge(
    record: Record,
    truth: dict[int, tuple[float, float]],
    generator: np.random.Generator,
    version: str,
    autoattack: bool,
) -> None:
    """Judges in the order of numbers; what an already judged trial dominates is skipped, now and then."""
    done: dict[int, tuple[int, int]] = {}
    standing = [trial.number for trial in record.trials() if trial.outcome == "complete" and trial.feasible]
    for number in standing:
        clean = int(generator.binomial(VALIDATION, truth[number][0]))
        robust = min(int(generator.binomial(VALIDATION, truth[number][1])), clean)
        better = [other for other, counts in done.items() if dominates(counts, (clean, robust + 8))]
        if better and number % 3:
            record.skip(number, Skipped(better[0], "apgd-ce", bound=robust + 8, images=VALIDATION, clean_correct=clean))
            continue
        done[number] = (clean, robust)
        folder = f"judgements/{number:04d}/validation-{version}-0"
        record.judge(number, "validation", Judged(VALIDATION, clean, robust, version, autoattack, folder, 131.5))


def _test(record: Record, generator: np.random.Generator, version: str, autoattack: bool) -> None:
    members: Sequence[int] = frontier(table(record.snapshot()), objectives_judged(OBJECTIVES))["trial"].tolist()
    record.fix_members(members, members)
    judged = record.snapshot().judged
    for number in members:
        found = judged[number, "validation"]
        clean = round(TEST * (found.clean_accuracy - 0.006 + generator.normal(0, 0.003)))
        robust = round(TEST * (found.robust_accuracy - 0.012 + generator.normal(0, 0.006)))
        if number == min(members):  # one that another member is sure to dominate on test
            clean, robust = round(TEST * 0.82), round(TEST * 0.37)
        folder = f"judgements/{number:04d}/test-{version}-0"
        record.judge(number, "test", Judged(TEST, clean, robust, version, autoattack, folder, 1290.0))
