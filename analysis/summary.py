"""What a sweep says, in sentences and short lists: verdict, figures of merit, gap to test, warnings. All plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import axes, outside, points, words
from analysis.device_time import DeviceTime
from analysis.pareto import wilson
from analysis.sheet import Sheet
from analysis.standing import dominated_on_test, judged_frontier, settings
from analysis.volume import largest, volume
from robustray.judging.flags import MEANING
from robustray.measures.metrics import ACCURACIES, METRICS, in_order
from sweeps.record import Snapshot
from sweeps.record.facts import UNFINISHED

_SMALL = 1000  # images; below, a 95 % interval is wider than 6 points


@dataclass(frozen=True)
class Gap:
    """Selection set minus test over the members, as fractions, each with the ends of its 95 % interval."""

    metric: str
    mean: tuple[float, float, float]  # it, low, high
    largest: tuple[float, float, float]  # by size, with its sign
    trial: int  # where it is

    @property
    def said(self) -> str:
        """The sign of the mean in words: which of the two is higher, and whether images alone may explain it."""
        mean, low, high = self.mean
        if low <= 0 <= high:
            return "no gap that the drawing of images does not explain"
        return f"the {words.SELECTION_SET} is higher" if mean > 0 else "test is higher"


def verdict(df: pd.DataFrame, objectives: Mapping[str, str]) -> str:
    """One or two sentences: how many trials are on the frontier, and from where to where it runs."""
    if df.empty:
        return "No trial has started yet."
    leading, trained = df[df["trial"].isin(points.leaders(df, objectives))], df[df["derived"].isna()]
    made = len(df) - len(trained)
    total = words.count(len(trained), "trial") + (f" and {words.count(made, 'derived point')}" if made else "")
    finished = int((~df["status"].isin(UNFINISHED)).sum())
    if points.stage(df) == "cheap":
        have = "has" if finished == 1 else "have"
        judged = "none had to be judged to the end" if points.cut(df) else "nothing is judged yet"
        sentence = f"{finished} of {total} {have} finished; {judged}."
        span = _span(leading, "", objectives)
        if closest := outside.nothing_inside(df):
            return f"{sentence} {closest}"
        return f"{sentence} By the {words.CHEAP} on validation the best so far {span}." if span else sentence
    if closest := outside.nothing_inside(df):
        return f"{finished} of {total} finished. {closest}"
    if leading.empty:
        return f"No trial of {total} is on the frontier."
    be = "is" if len(leading) == 1 else "are"
    if points.stage(df) == "judging":
        sentence = f"{len(leading)} of {total} {be} on the frontier so far; members are not fixed."
        return f"{sentence} On the {words.SELECTION_SET} it {_span(leading, 'judged_', objectives)}."
    sentence = f"{len(leading)} of {total} {be} on the frontier."
    if leading["test_clean_accuracy"].isna().any() or not set(objectives) & set(ACCURACIES):
        return f"{sentence} On the {words.SELECTION_SET} it {_span(leading, 'judged_', objectives)}."
    # Its ends on test are those that hold there: a member that another one dominates is no end of anything.
    holding = leading[~dominated_on_test(leading, objectives)]
    return f"{sentence} On {_images(leading, 'test_images')} test images it {_span(holding, 'test_', objectives)}."


def merits(df: pd.DataFrame, snapshot: Snapshot, spent: DeviceTime) -> list[tuple[str, str, str]]:
    """The few numbers at the top of the page: (value, name, remark)."""
    now = points.stage(df)
    trained, made = df[df["derived"].isna()], df[df["derived"].notna()]
    ended = trained["status"].value_counts()
    others = ", ".join(f"{n} {words.status(str(name))}" for name, n in ended.items() if name != "complete")
    leading = df[df["trial"].isin(points.leaders(df, snapshot.objectives))]
    measured = words.CHEAP if now == "cheap" else words.SELECTION_SET
    opened = sum(bool(event.opened) for event in snapshot.members)
    included = "device time, every attempt" if spent.every_attempt else "device time"
    return [
        (str(len(trained)), "trials", others or ("all complete" if len(df) else "none yet")),
        *([(str(len(made)), "derived points", "made from trials, without training")] if len(made) else []),
        (str(len(leading)), "on the frontier" if now == "members" else "on the frontier so far", measured),
        _attained(df, leading, snapshot.objectives, now, measured),
        (words.duration(spent.training), "training", included),
        *([(words.duration(spent.deriving), "deriving", included)] if len(made) else []),
        (words.duration(spent.judging), "judging", included),
        (str(opened), "reading of test" if opened == 1 else "readings of test", "members fixed first"),
    ]


def _attained(
    df: pd.DataFrame, leading: pd.DataFrame, objectives: Mapping[str, str], now: points.Stage, measured: str
) -> tuple[str, str, str]:
    """How good the frontier is in one number: what it dominates, or the best value of a single objective."""
    prefix = "" if now == "cheap" else "judged_"
    columns = {name: axes.Axis(name, mode).column(prefix) for name, mode in objectives.items()}
    means = leading.groupby(settings(leading))[list(columns.values())].mean().dropna()
    if len(objectives) == 1:
        ((name, column),) = columns.items()
        best = means[column].max() if objectives[name] == "max" else means[column].min()
        return axes.printed(name, best) or "\N{EM DASH}", f"best {axes.spoken(name)}", measured
    worst = largest(df, objectives)
    origin = " and the largest cost here" if worst else ""
    return f"{volume(means, objectives, worst, prefix):.3f}", "hypervolume", f"{measured}, from 0{origin}"


def gaps(df: pd.DataFrame) -> list[Gap]:
    """How far the selection set flatters the members, for clean and robust accuracy; empty before test is read.

    A member's interval is Newcombe's, from the Wilson intervals (l, u) of both shares p and q, with d = p - q: low is
    d - sqrt((p - l_p)^2 + (u_q - q)^2), high the other way round. Members share images, and a mean is at most as uncertain
    as its parts are on average: the mean's ends are the means of the ends.
    """
    result = []
    for name in ACCURACIES:
        known = df.loc[df["member"]].dropna(subset=[f"gap_{METRICS[name].short}"])
        if len(known):
            (p, p_low, p_high), (q, q_low, q_high) = (
                [known[f"{split}_{name}{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high")]
                for split in ("judged", "test")
            )
            ends = np.stack([p - q, p - q - np.hypot(p - p_low, q_high - q), p - q + np.hypot(p_high - p, q - q_low)])
            at, mean = int(np.abs(ends[0]).argmax()), ends.mean(axis=1)
            largest_gap = float(ends[0, at]), float(ends[1, at]), float(ends[2, at])
            trial = int(known["trial"].iloc[at])
            result.append(Gap(axes.spoken(name), (float(mean[0]), float(mean[1]), float(mean[2])), largest_gap, trial))
    return result


def seeds(snapshot: Snapshot) -> str:
    """What training seeds were varied, and what the intervals of a report therefore hold."""
    again = [trial.number for trial in snapshot.trials if trial.replicate_of is not None]
    held = "Intervals and bands hold the drawing of images, not the spread between training seeds"
    if not again:
        return f"Every setting was trained once, with one seed. {held}, which this sweep does not know."
    settings_again = {trial.replicate_of for trial in snapshot.trials if trial.replicate_of is not None}
    return (
        f"{words.count(len(settings_again), 'setting')} of {len({trial.setting for trial in snapshot.trials})} "
        f"{'was' if len(settings_again) == 1 else 'were'} trained again with other seeds of training "
        f"({words.count(len(again), 'trial')}); the images and their split, and the judge's seed, are the same for all. {held}."
    )


def warnings(df: pd.DataFrame, snapshot: Snapshot, sheet: Sheet) -> list[str]:
    """What a reader must know before using the numbers, most important first."""
    found: list[str] = []
    judge = words.judge_name(df)
    if judge and not judge.startswith("AutoAttack"):
        found.append(f"Robust accuracies are from {judge}. Do not compare them with numbers of the standard benchmark.")
    found += _flagged(df)
    found += filter(None, [outside.warning(df)])
    found += _unfinished(df, snapshot)
    if sheet.one_list:
        found.append(
            "The validation list is used for tuning and judging, because the data leave no room for two. Numbers on "
            f"it are labelled {words.SELECTION_SET}; only test numbers are free of choice."
        )
    found += _small(df)
    resumed = [trial.number for trial in snapshot.trials if not trial.exact]
    if resumed:
        found.append(
            f"Resumed, but not bit for bit (another device, version or number of threads): {_trials(resumed)}. Another run "
            "would give slightly other numbers."
        )
    dominated = df.loc[dominated_on_test(df, snapshot.objectives), "trial"].tolist()
    if dominated:
        found.append(
            f"On test, {_trials(dominated)} {'is' if len(dominated) == 1 else 'are'} dominated by another member (hollow"
            " markers). Members were fixed before test was read and are all reported."
        )
    return found


def _flagged(df: pd.DataFrame) -> list[str]:
    """A sentence for each flag that trials have, with its meaning."""
    trials: dict[str, list[int]] = {}
    for number, flags in zip(df["trial"], df["flags"], strict=True):
        for flag in filter(None, flags.split(", ")):
            trials.setdefault(flag, []).append(number)
    return [
        f"Flagged {flag}: {_trials(numbers)}"
        + (f" ({MEANING[flag]})" if flag in MEANING else "")
        + ". A flagged robust "
        "accuracy may be too high, so it is shown apart and is on no frontier."
        for flag, numbers in trials.items()
    ]


def _unfinished(df: pd.DataFrame, snapshot: Snapshot) -> list[str]:
    found = []
    unfinished, paused = int(df["status"].isin(UNFINISHED).sum()), int((df["status"] == "paused").sum())
    if unfinished:
        have = "has" if unfinished == 1 else "have"
        of_which = f", of which {paused} {'is' if paused == 1 else 'are'} paused" if paused else ""
        found.append(f"The sweep is not over: {words.count(unfinished, 'trial')} {have} not finished{of_which}.")
    if again := [trial.number for trial in snapshot.trials if trial.taken_up]:
        found.append(f"Stopped when a budget was spent, and taken up again by a larger one: {_trials(again)}.")
    members = df[df["member"]]
    waiting = members.loc[members["test_clean_accuracy"].isna(), "trial"].tolist()
    if waiting:
        found.append(f"Test is not read yet for {_trials(waiting)}.")
    if len(members) and (df["judging"] == "full").any():
        now = judged_frontier(df, snapshot.objectives)
        if now != set(members["trial"]):
            changed = sorted(now ^ set(members["trial"]))
            found.append(f"The members were fixed earlier: judged today, {_trials(changed)} would change sides.")
    return found


def _small(df: pd.DataFrame) -> list[str]:
    found = []
    for split, column in ((words.SELECTION_SET, "judged_images"), ("test set", "test_images")):
        images = df[column].dropna()
        if len(images) and images.min() < _SMALL:
            n = int(images.min())
            low, high = wilson(n // 2, n)
            found.append(
                f"The {split} has {words.count(n, 'image')}: one model's accuracy is uncertain by up to "
                f"\N{PLUS-MINUS SIGN}{50 * (high - low):.1f} points."
            )
    return found


def _span(leading: pd.DataFrame, prefix: str, objectives: Mapping[str, str]) -> str:
    """`runs from 97.5 % clean / 36.0 % robust (trial 3) to ...`, or `is ...` for a single one: best in the first first."""
    named = [axes.Axis(name, objectives[name]) for name in in_order(objectives)]
    columns = [axis.column(prefix) for axis in named]
    known = leading.dropna(subset=columns)
    if known.empty:
        return ""
    # Of equals in the first objective the worse one is further out at the first end, and nothing else can be said.
    ways = [axis.sign < 0 if at == 0 else axis.sign > 0 for at, axis in enumerate(named)]
    ordered = known.sort_values(columns, ascending=ways)
    ends = [
        " / ".join(axes.printed(axis.name, row[column]) for axis, column in zip(named, columns, strict=True))
        + f" (trial {row['trial']})"
        for row in (ordered.iloc[0], ordered.iloc[-1])
    ]
    return f"runs from {ends[0]} to {ends[1]}" if len(known) > 1 else f"is {ends[0]}"


def _images(df: pd.DataFrame, column: str) -> str:
    return " or ".join(f"{n:,}" for n in sorted(set(df[column].dropna())))


def _trials(numbers: Sequence[int]) -> str:
    """`trial 3`, `trials 3, 7 and 12`."""
    texts = [str(n) for n in numbers]
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"trial{'s' if len(texts) > 1 else ''} {listed}"
