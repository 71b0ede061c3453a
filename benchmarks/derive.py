"""Points without training beside more trials, and what judging a mixture costs beside its parents.

    python benchmarks/derive.py [--quick] [--seeds 5] [--work FOLDER]

For each seed the sweep of `derived_digits.yaml` is run twice from the same trained trials. One derives points. The other goes
on with trials by the same sampler, until they have had twice the device time of the derivation. What either adds is the growth
of the hypervolume of clean and robust accuracy, from 0, on the images that the frontier is chosen on; device time is training,
making and judging there, without the reading of test. On test stand the members chosen so, before and after.

Then each kind of mixture is judged alone by the whole of AutoAttack, nothing known of its parts, and so are its parents, on
the same images. With --work a run that was stopped goes on from what lies in the folder.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from _bench import Bench
from judge import ours
from scipy import stats

import sweeps
from analysis import hypervolume
from robustray import subjects
from robustray.derived import Nonlinear, Smoothing, Soup
from robustray.derived.base import Maker
from robustray.judging.workers import Order
from robustray.measures.metrics import ACCURACIES
from sweeps import record
from sweeps.record import Snapshot, ledger
from sweeps.space import Sweep
from sweeps.standing import SELECTION, TEST, frontier, members

SPACE = Path(__file__).parent / "derived_digits.yaml"
ENDS = ("cleanest", "most_robust")
REQUESTS: Sequence[Maker] = (
    Soup(points=1),
    Smoothing(parents=ENDS, alpha=(0.6, 0.8)),
    Nonlinear(parents=ENDS, keep=(0.95,)),
)
BUDGET = 2.0  # times the device time of the derivation, for the trials beside it
COST = 2.2  # times the sum of its parents', for a mixture's judging
MIXTURES = ("smoothing", "nonlinear")


@dataclass(frozen=True)
class State:
    """A sweep at one moment: what its frontier is worth, and the device-seconds it took."""

    snapshot: Snapshot
    seconds: float

    @classmethod
    def of(cls, folder: Path) -> State:
        """As the folder says."""
        snapshot, spent = record.read(folder), ledger.read(folder)
        assert spent is not None
        testing = sum(judged.seconds for (_, split), judged in snapshot.judged.items() if split == TEST)
        return cls(snapshot, spent.total - testing)

    def volume(self, split: str) -> float:
        """Hypervolume of the frontier chosen on the selection set, by the accuracies on a split."""
        if split == SELECTION:
            points = [[place.values[name] for name in ACCURACIES] for place in frontier(self.snapshot).values()]
        else:
            judged = [self.snapshot.judged[number, split] for number in members(self.snapshot)]
            points = [[each.clean_accuracy, each.robust_accuracy] for each in judged]
        return hypervolume(np.array(points))


def run(sweep: Sweep, folder: Path, requests: Sequence[Maker] = ()) -> State:
    """Runs a sweep to its end, one job after another.

    Raises:
        KeyboardInterrupt: it was stopped, in its own way.
    """
    if not sweeps.run(sweep, folder, "local", write=lambda line: None, derive=requests):
        raise KeyboardInterrupt
    return State.of(folder)


def space(seed: int, trials: int, *, quick: bool) -> Sweep:
    """The sweep with a seed and so many trials."""
    fewer = ["judge.images.validation=50", "judge.images.test=50", "trial.schedule.epochs=10"] if quick else []
    return Sweep.from_yaml(SPACE, overrides=[f"search.seed={seed}", f"search.trials={trials}", *fewer])


@dataclass(frozen=True)
class Gains:
    """What derivation and trials added: by split, and in which time."""

    derived: State
    trained: State
    before: State

    def of(self, after: State, split: str) -> float:
        """Growth of the hypervolume."""
        return after.volume(split) - self.before.volume(split)

    def seconds(self, after: State) -> float:
        """Device time of it."""
        return after.seconds - self.before.seconds


def both_ways(seed: int, trials: int, work: Path, *, quick: bool) -> Gains:
    """The sweep of a seed, then with derived points, and beside it with more trials."""
    base, derived, trained = (work / f"{name}-{seed}" for name in ("base", "derived", "trained"))
    before = run(space(seed, trials, quick=quick), base)
    for folder in (derived, trained):
        if not folder.exists():
            shutil.copytree(base, folder)
    after = run(space(seed, trials, quick=quick), derived, REQUESTS)
    budget = BUDGET * (after.seconds - before.seconds)
    more = State.of(trained)
    while more.seconds - before.seconds < budget:
        known = sum(trial.origin == "sampled" for trial in more.snapshot.trials)
        more = run(space(seed, known + 1, quick=quick), trained)
    return Gains(after, more, before)


def report(bench: Bench, seed: int, gains: Gains) -> None:
    """The rows of a seed."""
    case = f"seed {seed}"
    for way, after in (("derived", gains.derived), ("more trials", gains.trained)):
        seconds, gain = gains.seconds(after), gains.of(after, SELECTION)
        count = len(after.snapshot.trials) - len(gains.before.snapshot.trials)
        bench.row(case, f"{way}: hypervolume added, in 0.01", 100 * gain, n=count, seconds=round(seconds, 1))
        bench.row(case, f"{way}: the same on test", 100 * gains.of(after, TEST), n=count)
        bench.row(case, f"{way}: 1e-6 of hypervolume per device-second", 1e6 * gain / seconds)


def summary(bench: Bench, found: Sequence[Gains]) -> None:
    """Means over seeds with 95 % intervals of Student's t, and the target."""
    for split in (SELECTION, TEST):
        derived = [100 * each.of(each.derived, split) for each in found]
        trained = [100 * each.of(each.trained, split) for each in found]
        over = [ours - theirs for ours, theirs in zip(derived, trained, strict=True)]
        for words, values in (("derived", derived), ("more trials", trained), ("derived minus more trials", over)):
            low, high = interval(values)
            ends = {"low": round(low, 4), "high": round(high, 4), "n": len(values)}
            bench.row(split, f"{words}: hypervolume added, in 0.01", fmean(values), **ends)
        if split == SELECTION:
            bench.target("derived-minus-trials-of-twice-its-time", fmean(over), 0.0, at_most=False)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a mean by Student's t; of a single value, nothing is known."""
    if len(values) < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(stats.sem(values))
    return fmean(values) - half, fmean(values) + half


def cost(bench: Bench, seed: int, folder: Path, sweep: Sweep) -> list[float]:
    """A mixture's judging over the sum of its parents', for each kind of mixture."""
    judge, trials, ratios = sweep.judge.model_copy(update={"version": "standard"}), record.read(folder).trials, []
    known: dict[int, float] = {}

    def seconds(number: int) -> float:
        if number not in known:
            spec = str(folder / "trials" / f"{number:04d}")
            found = subjects.load(spec, data=judge.data, norm=judge.threat.norm)
            with tempfile.TemporaryDirectory() as root:
                order = Order(spec, None, found.weights, judge, "validation", Path(root), 500, {}, {}, False)
                known[number], verdicts = ours(order, ["cpu"], Path(root) / "judgements")
            bench.row(f"seed {seed}", f"judging {number:04d} alone", known[number], robust=int(verdicts.robust.sum()))
        return known[number]

    for maker in MIXTURES:
        for trial in (each for each in trials if each.params.get("derived") == maker and each.outcome == "complete"):
            ratios.append(seconds(trial.number) / sum(map(seconds, trial.parents)))
            bench.row(f"seed {seed}", f"judging {maker} over the sum of its parents'", ratios[-1])
            break
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute: one seed, three trials, fewer images")
    parser.add_argument("--seeds", type=int, default=5, help="how many sweeps")
    parser.add_argument("--first", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--work", type=Path, help="where sweeps lie and stay; else in a folder that is removed")
    options = parser.parse_args()
    bench = Bench("derive", options.quick)
    trials = 3 if options.quick else 5
    kept = options.work
    work = kept or Path(tempfile.mkdtemp())
    found, ratios = [], list[float]()
    try:
        for seed in range(options.first, options.first + (1 if options.quick else options.seeds)):
            found.append(both_ways(seed, trials, work, quick=options.quick))
            report(bench, seed, found[-1])
            if seed == options.first:
                sweep = space(seed, trials, quick=options.quick)
                ratios = cost(bench, seed, work / f"derived-{seed}", sweep)
    except KeyboardInterrupt:
        print("stopped; what was measured until now:")
    finally:
        if kept is None:
            shutil.rmtree(work, ignore_errors=True)
    if found:
        summary(bench, found)
    if ratios:
        bench.target("mixture-judging-over-parents", max(ratios), COST)
    bench.close()


if __name__ == "__main__":
    main()
