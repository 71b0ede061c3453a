"""Trains the trials that the claims of `_claims.py` are about, tests the claims, and writes docs/findings.md.

    python benchmarks/findings.py [--quick] [--workers 2] [--figure]

12 seeds of 19 settings on scikit-learn's digits: about half an hour on 2 CPU cores. Rows are appended as they come, so the
same command goes on where it was stopped; a row belongs to its setting's options and is trained again when they change.
Test images are read by every trial: nothing is chosen here, settings and tests were fixed before.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from _claims import ANGLE, BASE, CLAIMS, SEEDS, settings, verdicts
from _findings_page import draw, publish
from rich.progress import track

from robustray.trial import TrialConfig

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
RUNS = DOCS / "findings/runs.csv"
TURNS = 10


@dataclass(frozen=True)
class Run:
    """One trial of the study."""

    setting: str
    seed: int

    @property
    def options(self) -> dict[str, Any]:
        """Its options, as in a trial's YAML."""
        return {**BASE, **settings()[self.setting], "seed": self.seed}

    @property
    def key(self) -> str:
        """Of all its options: a row of another study is not this run's."""
        return hashlib.sha256(json.dumps(self.options, sort_keys=True).encode()).hexdigest()[:12]


def measure(run: Run) -> dict[str, Any]:
    """Trains one trial and measures it; runs in a worker."""
    import torch

    from robustray.attacks import autoattack
    from robustray.data import affine
    from robustray.data.device import DeviceImages
    from robustray.measures.accuracy import accuracies
    from robustray.subjects.trial import load_model
    from robustray.training import Trainer

    config = TrialConfig.model_validate(run.options)
    folder = Path(tempfile.mkdtemp())
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        Trainer(config, folder, device="cpu", threads=1).run()
        _, model, weights = load_model(folder, "cpu")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    judge = config.judge
    train, test = (DeviceImages(judge.data.load(split), torch.device("cpu")) for split in ("train", "test"))
    cheap = judge.cheap.bind(judge.threat)
    _, train_robust = accuracies(model, train, cheap)
    clean, pgd_robust = accuracies(model, test, cheap)

    x, y = test.batch(slice(None))
    with torch.no_grad():
        standing = model(x).argmax(1) == y
        for attack in ("apgd-ce", "apgd-t"):
            rows = standing.nonzero()[:, 0]
            if len(rows):
                x_adv, _ = autoattack.run(attack, model, x[rows], y[rows], judge.threat, seed=0)
                standing[rows] = model(x_adv).argmax(1) == y[rows]
        generator = torch.Generator().manual_seed(0)  # the same turns for every trial
        still = x.new_zeros(len(x), 2)
        right = [
            model(affine.turned(x, affine.uniform(x, ANGLE, (), generator), still, "bilinear", "zeros")).argmax(1) == y
            for _ in range(TURNS)
        ]
    return {
        "setting": run.setting,
        "seed": run.seed,
        "clean": clean,
        "robust": float(standing.float().mean()),
        "spatial": float(torch.stack(right).float().mean()),
        "train_robust": train_robust,
        "pgd_robust": pgd_robust,
        "weights": weights[:12],
        "key": run.key,
    }


def known(path: Path) -> pd.DataFrame:
    """Rows of earlier runs that are still those of the study."""
    if not path.exists():
        return pd.DataFrame()
    rows = pd.read_csv(path)
    names = settings()
    good = [
        s in names and Run(s, int(seed)).key == key
        for s, seed, key in zip(rows.setting, rows.seed, rows.key, strict=True)
    ]
    return rows[good]


def trained(runs: list[Run], workers: int) -> Iterator[dict[str, Any]]:
    """Rows as they come, from so many processes of one thread each."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(measure, run) for run in runs]
        for future in track(as_completed(futures), "trials", total=len(runs)):
            yield future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="one seed, into a folder of its own: no claim can be tested"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--figure", action="store_true", help="train nothing: draw the figures of runs.csv as it is")
    options = parser.parse_args()
    if options.figure:
        draw(DOCS, pd.read_csv(RUNS))
        return
    docs = Path(tempfile.mkdtemp()) if options.quick else DOCS
    path = docs / RUNS.relative_to(DOCS)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = known(path)
    done = set(zip(rows.setting, rows.seed, strict=True)) if len(rows) else set()
    wanted = [Run(setting, seed) for seed in range(1 if options.quick else SEEDS) for setting in settings()]
    kept: list[Any] = rows.to_dict("records")
    for row in trained([run for run in wanted if (run.setting, run.seed) not in done], options.workers):
        kept.append(row)
        pd.DataFrame(kept).sort_values(["setting", "seed"]).round(5).to_csv(path, index=False)
    found = verdicts(pd.DataFrame(kept), CLAIMS)
    publish(docs, pd.DataFrame(kept), found)
    print(f"\n{docs / 'findings.md'}")
    for verdict in found:
        print(f"{verdict.claim.name:16} {verdict.positive:3} for, {verdict.negative:3} against   {verdict.says}")


if __name__ == "__main__":
    main()
