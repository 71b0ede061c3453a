"""A record of as many trials as a long search has, each as long as a real one: epochs of training, verdicts of judging."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna

from robustray.verdicts import CLEAN, Shard, judgement_folder, write_shard
from sweeps.record import Issued, Judged, Record, Skipped

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
IMAGES, EPOCHS = 1000, 60
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")


def written(folder: Path, trials: int, every: int) -> Path:
    """A record of so many complete trials of two options, with metrics of their epochs and verdicts.

    Args:
        every: one trial in so many is judged in full, the others were left after the first attack.
    """
    generator = np.random.default_rng(0)
    with Record(folder, OBJECTIVES) as record:
        for _ in range(trials):
            ended(record, generator, every)
    return folder


def ended(record: Record, generator: np.random.Generator, every: int) -> None:
    """One more trial."""
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=int(generator.integers(2**31)))).ask()
    beta = trial.suggest_float("defense.beta", 0.5, 20, log=True)
    lr = trial.suggest_float("schedule.lr", 0.02, 0.4, log=True)
    number = record.issue(Issued({"defense.beta": beta, "schedule.lr": lr}), trial.distributions)
    along, lost = np.log(beta / 0.5) / np.log(40), abs(generator.normal(0, 0.02))
    clean, robust = 0.95 - 0.13 * along**1.4 - lost, 0.36 + 0.17 * along**0.7 - lost
    metrics = {"clean_accuracy": clean, "robust_accuracy": robust + 0.03, "cost_device_hours": 1.5}
    record.finish(number, "complete", metrics=metrics, epoch=EPOCHS, weights="ab" * 32)
    epochs(record.trial_folder(number), clean, robust + 0.03)
    judged(record, number, clean, robust, generator, full=number % every == 0)


def epochs(folder: Path, clean: float, robust: float) -> None:
    """metrics.csv of a trial, rising to these accuracies."""
    folder.mkdir(parents=True, exist_ok=True)
    risen = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 12)
    rows = [f"{at},{clean * share:.4f},{robust * share:.4f}" for at, share in enumerate(risen, start=1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,clean_accuracy,robust_accuracy", *rows]) + "\n")


def judged(
    record: Record, number: int, clean: float, robust: float, generator: np.random.Generator, *, full: bool
) -> None:
    """Verdicts of one trial: to the end, or to the first attack."""
    parts = {
        "attacks": list(ATTACKS),
        "split": "validation",
        "threat": {"norm": "linf", "eps": 8 / 255},
        "number": number,
    }
    folder = judgement_folder(record.judgements(number), "validation", "standard", parts)
    standing, right = np.arange(IMAGES, dtype=np.int32), generator.random(IMAGES)
    for attack, share in zip(
        (CLEAN, *ATTACKS)[: None if full else 2], (clean, robust, robust, robust, robust), strict=False
    ):
        broken, label = right[standing] >= share, (standing % 10).astype(np.int16)
        predicted = np.where(broken, (label + 1) % 10, label).astype(np.int16)
        correct = (~broken).astype(np.float32)
        write_shard(folder, Shard(attack, 0, standing, label, predicted, broken, correct, {"seconds": 20.0, "seed": 0}))
        standing = standing[~broken]
    stands, correctly = len(standing), int((right < clean).sum())
    if full:
        where = str(folder.relative_to(record.folder))
        record.judge(number, "validation", Judged(IMAGES, correctly, stands, "standard", True, where, 100.0))
    else:
        record.skip(number, Skipped(0, ATTACKS[0], bound=stands, images=IMAGES, clean_correct=correctly))
