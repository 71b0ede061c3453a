"""Points without training beside more trials, and what judging a mixture costs beside its parents.

    python benchmarks/derive.py [--quick] [--seeds 5] [--trials 16] [--epochs 60] [--work FOLDER]

For each seed the sweep of `derived_digits_bench.yaml` is run twice from the same trained trials. One derives points. The
other goes on with trials by the same sampler, until they have had twice the device time of the derivation. How many trials
there were before, and how long each is trained, decides who wins: points are for a sweep whose frontier is filled and whose
trials are dear, `--trials 5 --epochs 15` is the contrary. What either adds
is the growth of the hypervolume of clean and robust accuracy, from 0, on the images that the frontier is chosen on; device
time is training, making and judging there, without the reading of test. On test stand the members chosen so, before and
after.

Then a mixture of each kind is judged alone by AutoAttack, nothing known of its parts, and so are its parents, on the same
images. Beside seconds of the processor stands how many images its two networks were asked about, over how many the parents
were: that number no other work on the machine touches. With --work a run that was stopped goes on from what lies there.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from _bench import Bench, interval
from torch import Tensor, nn

import sweeps
from analysis import hypervolume
from robustray.derived import Nonlinear, Smoothing, Soup
from robustray.derived.base import Maker
from robustray.derived.mixture import Mixed
from robustray.judging.case import Case
from robustray.measures.metrics import ACCURACIES
from sweeps import record
from sweeps.record import Snapshot, ledger
from sweeps.space import Sweep
from sweeps.standing import SELECTION, TEST, frontier, members

SPACE = Path(__file__).parent / "derived_digits_bench.yaml"
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


@dataclass(frozen=True)
class Conditions:
    """What a sweep is like before anything is added to it."""

    trials: int
    epochs: int
    images: int  # judged, of each split

    def space(self, seed: int, more: int = 0) -> Sweep:
        """The sweep of a seed, with so many trials more."""
        options = {
            "search.seed": seed,
            "search.trials": self.trials + more,
            "trial.schedule.epochs": self.epochs,
            "trial.checkpoints.validate_every": self.epochs,
            "judge.images.validation": self.images,
            "judge.images.test": self.images,
        }
        return Sweep.from_yaml(SPACE, overrides=[f"{key}={value}" for key, value in options.items()])


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


def both_ways(seed: int, conditions: Conditions, work: Path) -> Gains:
    """The sweep of a seed, then with derived points, and beside it with more trials."""
    base, derived, trained = (work / f"{name}-{seed}" for name in ("base", "derived", "trained"))
    before = run(conditions.space(seed), base)
    for folder in (derived, trained):
        if not folder.exists():
            shutil.copytree(base, folder)
    after = run(conditions.space(seed), derived, REQUESTS)
    budget = BUDGET * (after.seconds - before.seconds)
    more = State.of(trained)
    while more.seconds - before.seconds < budget:
        known = sum(trial.origin == "sampled" for trial in more.snapshot.trials)
        more = run(conditions.space(seed, known + 1 - conditions.trials), trained)
    return Gains(after, more, before)


def report(bench: Bench, seed: int, gains: Gains) -> None:
    """The rows of a seed."""
    case = f"seed {seed}"
    for way, after in (("derived", gains.derived), ("more trials", gains.trained)):
        seconds, gain = gains.seconds(after), gains.of(after, SELECTION)
        count = len(after.snapshot.trials) - len(gains.before.snapshot.trials)
        bench.row(case, f"{way}: hypervolume added, in 0.01", 100 * gain, n=count, seconds=round(seconds, 1))
        bench.row(case, f"{way}: the same on test", 100 * gains.of(after, TEST), n=count)
        if seconds > 0:  # one trial may be the cleanest and the most robust: nothing is derived
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


def alone(folder: Path) -> tuple[float, int]:
    """Judges a trial or a derived point on the selection set by AutoAttack, nothing known of its parts: seconds of the
    processor (of the clock, on a GPU) and how many images each of its networks was asked about, in all.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    with tempfile.TemporaryDirectory() as root:
        case = Case.of_trial(folder, Path(root), SELECTION, shard_size=500, version="standard")
        asked = [0]

        def count(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            asked[0] += len(given[0])

        model = case.model
        networks = [model.accurate, model.robust] if isinstance(model, Mixed) else [model]
        hooks = [network.register_forward_pre_hook(count) for network in networks]
        begun = clock()
        for stage in case.plan.stages:
            for shard in range(case.plan.shards):
                case.shard(stage, shard)
        seconds = clock() - begun
        for hook in hooks:
            hook.remove()
    return seconds, asked[0]


def cost(bench: Bench, seed: int, folder: Path) -> list[float]:
    """For each kind of mixture the seconds of judging one over the sum of its parents'."""
    known: dict[int, tuple[float, int]] = {}
    ratios = []
    points = record.read(folder).trials
    for maker in MIXTURES:
        number = next(each.number for each in points if each.params.get("derived") == maker)
        wanted = (number, *points[number].parents)
        for each in wanted:
            if each not in known:
                known[each] = alone(folder / "trials" / f"{each:04d}")
        (seconds, asked), *parents = (known[each] for each in wanted)
        ratios.append(seconds / sum(each for each, _ in parents))
        passes = asked / sum(each for _, each in parents)
        words = f"judging {maker} alone over its parents'"
        bench.row(f"seed {seed}", words, ratios[-1], seconds=round(seconds, 1), passes=round(passes, 3))
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute: one seed, few cheap trials, fewer images")
    parser.add_argument("--seeds", type=int, default=5, help="how many sweeps")
    parser.add_argument("--first", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--trials", type=int, default=16, help="of each before anything is added")
    parser.add_argument("--epochs", type=int, default=60, help="that a trial is trained")
    parser.add_argument("--work", type=Path, help="where sweeps lie and stay; else in a folder that is removed")
    options = parser.parse_args()
    bench = Bench("derive", options.quick)
    conditions = Conditions(3, 10, 30) if options.quick else Conditions(options.trials, options.epochs, 100)
    kept = options.work
    work = kept or Path(tempfile.mkdtemp())
    found, ratios = [], list[float]()
    try:
        for seed in range(options.first, options.first + (1 if options.quick else options.seeds)):
            found.append(both_ways(seed, conditions, work))
            report(bench, seed, found[-1])
            if seed == options.first:
                ratios = cost(bench, seed, work / f"derived-{seed}")
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
