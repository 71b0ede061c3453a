"""Sweeps made for the tests: real records and verdict files, every kind of trial, and strings that want to break the page."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import yaml
from numpy.typing import ArrayLike, NDArray

from analysis.collect import table
from analysis.pareto import dominates
from analysis.standing import judged_frontier
from robustray.verdicts import CLEAN, Shard, judgement_folder, write_shard
from sweeps.record import Issued, Judged, Record, Skipped

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
SCRIPT = "<script>alert(1)</script>"
CAUSE = "loss is nan </script><img src=https://evil.example/x.png onerror=alert(2)> & \"more\" 'of' it"
VALIDATION, TEST = 1000, 10000
STOPPED, DIVERGED, FAILED, OUT_OF_MEMORY, INFEASIBLE, RUNNING = (5, 14, 18), (9,), (17,), (20,), (11,), (22, 23)
TRIALS = 24
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
FLAG = "square_beats_white_box"
SECONDS = 26.0  # of every attack on every shard


def sweep(
    folder: Path,
    *,
    trials: int = TRIALS,
    judge: bool = True,
    fix: bool = True,
    version: str = "standard",
    autoattack: bool = True,
    first: str = "number",
    flagged: Sequence[int] = (),
    replicated: Sequence[int] = (),
    derived: bool = False,
    trained: bool = False,
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
        flagged: trials whose robust accuracy is far too good, and which the judge flags.
        replicated: trials that are trained again, with two more seeds each.
        derived: whether points are made of trials: one far beyond the frontier, one far inside, one that failed.
        trained: whether complete trials have their folders, with accuracies epoch by epoch.
    """
    generator = np.random.default_rng(3)
    with Record(folder, OBJECTIVES) as record:
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
        truth = {}
        for number in range(trials):
            beta = _ask(study, record, first)
            truth[number] = _accuracies(beta, generator)
            _finish(record, number, *truth[number])
        for number in (original for original in replicated for _ in range(2)):
            again = record.issue(Issued(record.trial(number).params, origin="replicate", parents=(number,)))
            truth[again] = (truth[number][0] - 0.01, truth[number][1] - 0.01)
            _finish(record, again, *truth[again])
        if judge:
            _judge(record, truth, generator, version, autoattack, flagged)
        if derived:
            _derive(record)
        if judge and fix:
            _test(record, generator, version, autoattack)
        if trained:
            for trial in record.trials():
                if trial.outcome == "complete":
                    _epochs(record.trial_folder(trial.number), trial.metrics)
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


def _ask(study: optuna.Study, record: Record, first: str) -> float:
    trial = study.ask()
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
    params = named | options if first == "category" else options | named
    record.issue(Issued(params), trial.distributions)
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


def _epochs(folder: Path, metrics: Mapping[str, float]) -> None:
    """Accuracies that rise to where they ended; the robust one was better before."""
    folder.mkdir(parents=True, exist_ok=True)
    clean, robust = metrics["clean_accuracy"], metrics["robust_accuracy"]
    rows = [f"{at},{clean * at / 60:.4f},{robust * min(at / 50, 1.5 - at / 120):.4f}" for at in range(2, 61, 2)]
    folder.joinpath("metrics.csv").write_text("\n".join(["epoch,clean_accuracy,robust_accuracy", *rows]) + "\n")


def _judge(
    record: Record,
    truth: dict[int, tuple[float, float]],
    generator: np.random.Generator,
    version: str,
    autoattack: bool,
    flagged: Sequence[int],
) -> None:
    """Judges in the order of numbers; what an already judged trial dominates is skipped, now and then."""
    done: dict[int, tuple[int, int]] = {}
    standing = [trial.number for trial in record.trials() if trial.outcome == "complete" and trial.feasible]
    for number in standing:
        clean = int(generator.binomial(VALIDATION, truth[number][0]))
        robust = min(int(generator.binomial(VALIDATION, truth[number][1])), clean)
        better = [other for other, counts in done.items() if dominates(counts, (clean, robust + 8))]
        if number in flagged:
            _told(record, number, "validation", VALIDATION, clean, robust + 120, version, autoattack, (FLAG,))
            continue
        if better and number % 3 and number < TRIALS:
            verdicts = _verdicts(VALIDATION, clean, robust + 8, number)
            judgement(record.judgements(number), "validation", *verdicts, version=version, until=1)
            record.skip(number, Skipped(better[0], "apgd-ce", bound=robust + 8, images=VALIDATION, clean_correct=clean))
            continue
        done[number] = (clean, robust)
        _told(record, number, "validation", VALIDATION, clean, robust, version, autoattack)


SOUP_OF, BEYOND, INSIDE = (2, 3), 24, 25
BARRIER = "parents lie in different basins: loss 1.20, 0.80 above theirs <b>"
MAKING = 7.0  # seconds of a point


def _derive(record: Record) -> None:
    """Three points of one request: the second was made of a snapshot and of a model that is no trial."""
    specs = [["../0002", "../0003"], ["../0002/epoch-0010.pt", "zoo:Standard<b>"], ["../0002", "../0003"]]
    record.setting("derive planned/soup", [{"specs": each} for each in specs])
    theirs = sum(record.trial(number).metrics["cost_seconds"] for number in SOUP_OF)
    for at, places in enumerate([(0.92, 0.47), (0.7, 0.3), None]):
        parents = (SOUP_OF[0],) if at == 1 else SOUP_OF
        params = {"derived": "soup", "derived.weights": f"0.{at + 1}, 0.{9 - at}"}
        number = record.issue(Issued(params, origin="derived", parents=parents, request="soup"))
        if places is None:
            record.finish(number, "failed", metrics={}, cause="no such parent")
            continue
        cost = MAKING + (theirs if len(parents) > 1 else 5400.0)
        metrics = {"clean_accuracy": places[0], "robust_accuracy": places[1] + 0.035}
        metrics |= {"cost_seconds": cost, "cost_device_hours": cost / 3600, "cost_passes": 1.7e9}
        record.finish(number, "complete", metrics=metrics, weights="cd" * 32)
        clean, robust = (round(VALIDATION * place) for place in places)
        _told(record, number, "validation", VALIDATION, clean, robust, "standard", True)
        folder = record.trial_folder(number)
        folder.mkdir(parents=True)
        folder.joinpath("point.yaml").write_text(f"maker: {{name: soup}}\nnote: {SCRIPT}\n")
        parents_said = [{"spec": spec, "weights": "ef" * 32} for spec in specs[at]]
        folder.joinpath("made.json").write_text(json.dumps({"parents": parents_said, "found": BARRIER}))


def _test(record: Record, generator: np.random.Generator, version: str, autoattack: bool) -> None:
    members = sorted(judged_frontier(table(record.snapshot()), OBJECTIVES))
    record.fix_members(members, members)
    judged = record.snapshot().judged
    for number in members:
        found = judged[number, "validation"]
        clean = round(TEST * (found.clean_accuracy - 0.006 + generator.normal(0, 0.003)))
        robust = round(TEST * (found.robust_accuracy - 0.012 + generator.normal(0, 0.006)))
        if number == min(members):  # one that another member is sure to dominate on test
            clean, robust = round(TEST * 0.82), round(TEST * 0.37)
        _told(record, number, "test", TEST, clean, robust, version, autoattack)


def _told(
    record: Record,
    number: int,
    split: str,
    images: int,
    clean: int,
    robust: int,
    version: str,
    autoattack: bool,
    flags: tuple[str, ...] = (),
) -> None:
    """Writes verdicts that have these counts, and says so in the record."""
    verdicts = _verdicts(images, clean, robust, number)
    folder = judgement(record.judgements(number), split, *verdicts, version=version)
    where, seconds = str(folder.relative_to(record.folder)), SECONDS * (1 + len(ATTACKS))
    record.judge(number, split, Judged(images, clean, robust, version, autoattack, where, seconds, flags))


def _verdicts(images: int, clean: int, robust: int, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Verdicts with exactly these counts; images that are hard for one trial are likely to be hard for another."""
    own = np.random.default_rng(number)
    hard = np.random.default_rng(images).normal(size=images) + 0.5 * own.normal(size=images)
    right = np.zeros(images)
    right[np.argsort(hard)[:clean]] = 1
    harder = np.where(right == 1, hard + 0.5 * own.normal(size=images), np.inf)
    stands = np.zeros(images)
    stands[np.argsort(harder)[:robust]] = 1
    return right, stands


def judgement(
    root: Path,
    split: str,
    clean: ArrayLike,
    robust: ArrayLike,
    *,
    version: str = "standard",
    until: int = len(ATTACKS),
    shards: int = 1,
    parts: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
) -> Path:
    """Writes a judgement as the judge does, and returns its folder.

    Args:
        root: where the judgements of a model lie.
        split: `validation` or `test`.
        clean, robust: [N] how often an image is classified correctly, as it is and under the worst attack.
        version: of the judge.
        until: how many attacks were run.
        shards: into how many the images are cut.
        parts: what is different from others in `judgement.json`.
        flags: what the judge found at once.
    """
    right, stands = np.asarray(clean, dtype=float), np.asarray(robust, dtype=float)
    rows = np.arange(len(right), dtype=np.int64)
    told = {
        "weights": hashlib.sha256(right.tobytes() + stands.tobytes()).hexdigest(),
        "data": f"made {split}",
        "rows": hashlib.sha256(rows.tobytes()).hexdigest(),
        "split": split,
        "threat": {"norm": "linf", "eps": 8 / 255},
        "family": version,
        "attacks": list(ATTACKS),
        "extras": [],
        "dtype": "float32",
    }
    root.mkdir(parents=True, exist_ok=True)
    folder = judgement_folder(root, split, version, told | dict(parts or {}))
    for number, part in enumerate(np.array_split(rows, shards)):
        standing = part
        for attack in (CLEAN, *ATTACKS)[: 1 + until]:
            late = (standing % 10 == 0) & (attack == ATTACKS[0])  # left to the second attack
            correct = right[standing] if attack == CLEAN else np.where(late, right[standing], stands[standing])
            label = (standing % 10).astype(np.int16)
            broken = correct == 0
            info = {"seconds": SECONDS / shards, "seed": 0, "flags": list(flags)}
            predicted = np.where(broken, (label + 1) % 10, label).astype(np.int16)
            shard = Shard(
                attack, number, standing.astype(np.int32), label, predicted, broken, correct.astype(np.float32), info
            )
            write_shard(folder, shard)
            standing = standing[~broken]
    return folder
