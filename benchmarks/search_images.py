"""Our search and Ray Tune's plain OptunaSearch on real images, at equal device time, judged by AutoAttack on test images.

    python benchmarks/search_images.py --data FOLDER [--minutes 2.5] [--seeds 3] [--at-once 2] [--quick]

FOLDER has CIFAR-10 (or other images of 32x32) as train.npz and test.npz; see `search_images.yaml`, which both search.

ours: `run_sweep.py` with nothing said of how: the race, which tries published settings first and pauses trials at half.
plain: `ray.tune.search.optuna.OptunaSearch` as it comes, TPE over both objectives, every trial in full, first in, first out.

Both train in one process with one thread, and have the same time: seconds of the processor for training and validation, which
what else the machine does cannot lengthen by waiting, though it can by taking caches; hence both sides of a seed run side by
side. The searchers' own time is in neither. Then, on both sides alike, trials that ended whole and that no other dominates by
validation (clean, and robust under the cheap attack of the space) are members, and AutoAttack, standard and in float32, judges
them on test images, which are read for nothing else. What was done stays in --work: the same command goes on.

Score: the area that members dominate above 10 % clean and 0 % robust accuracy: what a constant answer has clean, and nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from _bench import Bench, interval
from _image_sides import SIDES, Finished, finished_by_ours, finished_by_plain, ours, plain
from _images_figure import figure

from sweeps.frontier import undominated
from sweeps.search.regret import hypervolume
from sweeps.space import Sweep

HERE = Path(__file__).parent
OUT = HERE.parent / "docs/findings/search_images"
REFERENCE = np.array([0.1, 0.0])
"""Clean and robust accuracy that gains are counted from; chosen before anything was run."""


@dataclass(frozen=True)
class Side:
    """One search."""

    seed: int
    name: str
    folder: Path

    @property
    def finished(self) -> list[Finished]:
        """All trials that ended whole, in order."""
        return (finished_by_ours if self.name == "ours" else finished_by_plain)(self.folder)


def space(data: Path, seed: int, *, quick: bool) -> Sweep:
    """The search space of a seed."""
    found = [f"judge.data.{split}={data / split}.npz" for split in ("train", "test")]
    found += [f"search.seed={seed}", f"trial.seed={seed}"]
    if quick:
        found += [
            "judge.data.images=260",
            "judge.data.validation=60",
            "judge.images.test=20",
            "judge.version=[apgd-ce]",
        ]
    return Sweep.from_yaml(HERE / "search_images.yaml", overrides=found)


def run(side: Side, sweep: Sweep, seconds: float) -> None:
    """Searches, and judges the members on test."""
    (ours if side.name == "ours" else plain)(sweep, side.folder, seconds)
    for trial in members(side.finished):
        accuracies = judged(trial, sweep)
        print(f"{side.name}, seed {side.seed}: {trial.folder.name} on test: {accuracies}", flush=True)


def members(finished: list[Finished]) -> list[Finished]:
    """Those that no other dominates on validation; all of equals."""
    keep = undominated(-np.array([trial.seen for trial in finished]))
    return [trial for trial, kept in zip(finished, keep.tolist(), strict=True) if kept]


def judged(trial: Finished, sweep: Sweep) -> tuple[float, float]:
    """Clean and robust accuracy on the test images; read where they are there."""
    from robustray.judging.case import Case

    version = sweep.judge.version if isinstance(sweep.judge.version, str) else None
    case = Case.of_trial(trial.folder, trial.folder / "judged", "test", shard_size=500, version=version)
    total, clean, broken = len(case.plan.rows), 0, 0
    for stage in case.plan.stages:
        for shard in range(case.plan.shards):
            broken += int(case.shard(stage, shard).broken.sum())
        clean = clean or total - broken
    return clean / total, (total - broken) / total


def table(sides: list[Side], data: Path, *, quick: bool) -> pd.DataFrame:
    """A row for every trial that ended whole: seconds of its search until then, options, accuracies; members' on test."""
    rows = []
    for side in sides:
        sweep, finished = space(data, side.seed, quick=quick), side.finished
        chosen = members(finished)
        for trial in finished:
            row = {
                "seed": side.seed,
                "search": side.name,
                "trial": trial.folder.name,
                "seconds": round(trial.seconds, 1),
            }
            row |= dict(zip(("validation_clean", "validation_pgd"), trial.seen, strict=True)) | {
                "member": trial in chosen
            }
            if trial in chosen:
                row |= dict(zip(("test_clean", "test_autoattack"), judged(trial, sweep), strict=True))
            rows.append(row | {name: trial.params.get(name) for name in (each.name for each in sweep.space)})
    return pd.DataFrame(rows)


def volume(rows: pd.DataFrame, split: str) -> float:
    """The score of some trials on `validation` or on `test`."""
    names = [f"{split}_clean", "validation_pgd" if split == "validation" else "test_autoattack"]
    return hypervolume(rows[names].to_numpy(float), REFERENCE)


def report(bench: Bench, rows: pd.DataFrame) -> None:
    """Scores of all searches, and our gains."""
    gains: dict[str, list[float]] = {"validation": [], "test": []}
    for seed in sorted(set(rows.seed)):
        of_seed = rows[rows.seed == seed]
        for split, found in gains.items():
            scores = {name: volume(of_seed[of_seed.search == name], split) for name in SIDES}
            for name, score in scores.items():
                part = of_seed[of_seed.search == name]
                more = {"whole trainings": len(part), "members": int(part.member.sum())}
                bench.row(f"seed {seed} {name}", f"hypervolume on {split}", score, **more)
            found.append(scores["ours"] - scores["plain"])
    for split, found in gains.items():
        low, high = interval(found)
        bench.row(
            "ours minus plain",
            f"hypervolume on {split}, mean over seeds",
            fmean(found),
            low=round(low, 4),
            high=round(high, 4),
        )
        bench.target(f"{split}: lower end of the gain in hypervolume over OptunaSearch", low, 0.0, at_most=False)


def side_by_side(wanted: list[Side], at_once: int) -> None:
    """Runs every search in a process of its own, the two of a seed at the same time.

    Raises:
        SystemExit: one of them failed; its log says why.
    """
    command = [sys.executable, str(Path(__file__).resolve()), *sys.argv[1:]]
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for begin in range(0, len(wanted), max(2, at_once)):
        started = []
        for side in wanted[begin : begin + max(2, at_once)]:
            side.folder.mkdir(parents=True, exist_ok=True)
            log = side.folder.with_suffix(".log")
            print(f"{side.name}, seed {side.seed}: {log}", flush=True)
            with log.open("a") as file:
                own = [*command, "--only", f"{side.name}-{side.seed}"]
                process = subprocess.Popen(own, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **single})  # noqa: S603
            started.append((process, log))
        for process, log in started:
            if process.wait():
                last = log.read_text().strip().splitlines()[-1:]
                raise SystemExit(f"{log}: {' '.join(last)}; the same command goes on")


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--data", type=Path, help="folder of train.npz and test.npz")
    line.add_argument("--minutes", type=float, default=2.5, help="of the processor that each search may train for")
    line.add_argument("--seeds", type=int, default=3, help="searches of each side")
    line.add_argument("--at-once", type=int, default=2, help="searches that run at a time")
    line.add_argument(
        "--quick", action="store_true", help="one seed, few images, half a minute a side, one attack; no figure"
    )
    line.add_argument("--work", type=Path, default=HERE.parent / "build/search_images", help="where all is kept")
    line.add_argument("--only", help=argparse.SUPPRESS)
    line.add_argument(
        "--figure", action="store_true", help="search nothing: draw the figure of the table in docs/findings"
    )
    options = line.parse_args()
    if options.figure:
        figure(OUT.with_suffix(".png"), pd.read_csv(OUT.with_suffix(".csv")), options.minutes, volume)
        return
    if options.data is None:
        line.error("--data is missing: the folder of train.npz and test.npz")
    if options.quick:
        options.seeds, options.minutes, options.work = 1, min(options.minutes, 0.5), options.work / "quick"
    data = options.data.resolve()
    for split in ("train", "test"):
        if not (data / f"{split}.npz").exists():
            line.error(f"{data} has no {split}.npz")
    sides = [Side(seed, name, options.work / f"{name}-{seed}") for seed in range(options.seeds) for name in SIDES]
    if options.only:
        side = next(each for each in sides if f"{each.name}-{each.seed}" == options.only)
        run(side, space(data, side.seed, quick=options.quick), 60 * options.minutes)
        return
    side_by_side(sides, options.at_once)
    rows = table(sides, data, quick=options.quick)
    bench = Bench("search-images", options.quick)
    report(bench, rows)
    if not options.quick:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        rows.to_csv(OUT.with_suffix(".csv"), index=False, float_format="%.5g")
        figure(OUT.with_suffix(".png"), rows, options.minutes, volume)
    bench.close()


if __name__ == "__main__":
    main()
