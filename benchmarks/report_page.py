"""What a sweep's page takes, by the number of trials: to build, to load, to click, and to renew while it is watched.

    python benchmarks/report_page.py [--quick] [--trials 100,300,1000] [--every 5] [--live]

The records are synthetic and as long as real ones: 60 epochs a trial, every trial judged in full on 1,000 images by four
attacks; with `--every 5` one in five, the others left after the first. Limits at 1,000 trials: 20 s and 8 MB, shown within 3 s.
`--live` lets one more trial end while the page is watched, three times, and keeps the worst of each: within 100 ms a click must
find somebody.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from _bench import Bench
from _page_watched import read, watched

from analysis.report import publish
from robustray.verdicts import CLEAN, Shard, judgement_folder, write_shard
from sweeps.record import Issued, Judged, Record, Skipped

IMAGES, EPOCHS = 1000, 60
MOST, SECONDS, MEGABYTES, LOADED, ANSWERED = 1000, 20.0, 8.0, 3.0, 100.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")


def written(folder: Path, trials: int, every: int) -> Path:
    """A record of so many complete trials of two options, with metrics of their epochs and verdicts."""
    generator = np.random.default_rng(0)
    with Record(folder, {"clean_accuracy": "max", "robust_accuracy": "max"}) as record:
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


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="a minute: 30 trials")
    line.add_argument("--trials", default="100,300,1000", help="how many, separated by commas")
    line.add_argument("--every", type=int, default=1, help="which share is judged in full: one trial in so many")
    line.add_argument("--live", action="store_true", help="also how a page renews that is watched")
    options = line.parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit("what the page takes is measured in Chromium, and there is none on this machine")
    bench = Bench("report_page" + ("-live" if options.live else ""), options.quick)
    for trials in [30] if options.quick else [int(each) for each in options.trials.split(",")]:
        with tempfile.TemporaryDirectory() as results:
            folder = written(Path(results) / "sweep", trials, options.every)
            began = time.process_time()
            page = publish(folder, picture=False).index
            found = {"seconds to build": time.process_time() - began, "megabytes": page.stat().st_size / 1e6}
            found |= {f"seconds, {name}": value for name, value in read(browser, page).items()}
            if options.live:
                with Record(folder, {"clean_accuracy": "max", "robust_accuracy": "max"}) as record:
                    generator = np.random.default_rng(1)
                    told = watched(browser, folder, lambda: ended(record, generator, options.every))  # noqa: B023
                found |= {f"renewed: {name}": value for name, value in told.items()}
        for name, value in found.items():
            bench.row(f"{trials} trials", name, value)
        if trials == MOST:
            bench.target("seconds to build the page", found["seconds to build"], SECONDS)
            bench.target("megabytes of the page", found["megabytes"], MEGABYTES)
            bench.target("seconds until the page is loaded", found["seconds, load"], LOADED)
            if options.live:
                bench.target("ms of the longest task of a renewal", found["renewed: longest task, ms"], ANSWERED)
    bench.close()


if __name__ == "__main__":
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    main()
