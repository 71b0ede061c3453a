"""What a sweep's page takes: seconds to build and megabytes, by the number of trials.

    python benchmarks/report_page.py [--quick] [--trials 100,300,1000]

The records are synthetic and as long as real ones: 60 epochs a trial, one trial in five judged in full on 1,000 images by four
attacks, the others left after the first. Limits: 20 s and 8 MB at 1,000 trials.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from _bench import Bench

from analysis.report import publish
from robustray.verdicts import CLEAN, Shard, judgement_folder, write_shard
from sweeps.record import Issued, Judged, Record, Skipped

IMAGES, EPOCHS, EVERY = 1000, 60, 5
MOST, SECONDS, MEGABYTES = 1000, 20.0, 8.0
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")


def written(folder: Path, trials: int) -> Path:
    """A record of so many complete trials of two options, with metrics of their epochs and verdicts."""
    generator, study = np.random.default_rng(0), optuna.create_study()
    with Record(folder, {"clean_accuracy": "max", "robust_accuracy": "max"}) as record:
        for number in range(trials):
            trial = study.ask()
            beta = trial.suggest_float("defense.beta", 0.5, 20, log=True)
            lr = trial.suggest_float("schedule.lr", 0.02, 0.4, log=True)
            record.issue(Issued({"defense.beta": beta, "schedule.lr": lr}), trial.distributions)
            along, lost = np.log(beta / 0.5) / np.log(40), abs(generator.normal(0, 0.02))
            clean, robust = 0.95 - 0.13 * along**1.4 - lost, 0.36 + 0.17 * along**0.7 - lost
            metrics = {"clean_accuracy": clean, "robust_accuracy": robust + 0.03, "cost_device_hours": 1.5}
            record.finish(number, "complete", metrics=metrics, epoch=EPOCHS, weights="ab" * 32)
            epochs(record.trial_folder(number), clean, robust + 0.03)
            judged(record, number, clean, robust, generator)
    return folder


def epochs(folder: Path, clean: float, robust: float) -> None:
    """metrics.csv of a trial, rising to these accuracies."""
    folder.mkdir(parents=True, exist_ok=True)
    risen = 1 - np.exp(-np.arange(1, EPOCHS + 1) / 12)
    rows = [f"{at},{clean * share:.4f},{robust * share:.4f}" for at, share in enumerate(risen, start=1)]
    (folder / "metrics.csv").write_text("\n".join(["epoch,clean_accuracy,robust_accuracy", *rows]) + "\n")


def judged(record: Record, number: int, clean: float, robust: float, generator: np.random.Generator) -> None:
    """Verdicts of one trial: every fifth to the end, the others to the first attack."""
    full = number % EVERY == 0
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


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="a few seconds: 30 trials")
    line.add_argument("--trials", default="100,300,1000", help="how many, separated by commas")
    options = line.parse_args()
    bench = Bench("report_page", options.quick)
    for trials in [30] if options.quick else [int(each) for each in options.trials.split(",")]:
        with tempfile.TemporaryDirectory() as results:
            folder = written(Path(results) / "sweep", trials)
            began = time.process_time()
            page = publish(folder, picture=False).index
            taken = time.process_time() - began
            bench.row(f"{trials} trials", "seconds to build", taken)
            size = page.stat().st_size / 1e6
            bench.row(f"{trials} trials", "megabytes", size)
        if trials == MOST:
            bench.target("seconds to build the page", taken, SECONDS)
            bench.target("megabytes of the page", size, MEGABYTES)
    bench.close()


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
