"""The first things a reader asks of a sweep, answered in a sentence or two each: how sure, at what cost, what to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis import points, words
from analysis.advice import Advice
from analysis.comparison import Comparison
from analysis.device_time import DeviceTime
from analysis.standing import dominated_on_test
from robustray.measures.metrics import ACCURACIES
from sweeps.record import Snapshot
from sweeps.standing import SELECTION, TEST


@dataclass(frozen=True)
class Answer:
    """One question with its answer; plain text."""

    question: str
    short: str  # in a word or a number
    sentences: list[str]
    trial: int | None = None  # whom it names


def answers(
    df: pd.DataFrame,
    snapshot: Snapshot,
    spent: DeviceTime,
    comparisons: Mapping[str, Comparison],
    advised: Advice | None,
) -> list[Answer]:
    """What to use, how sure it all is, and what it cost; what is not known yet is left out.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
        spent: device time.
        comparisons: what verdicts say, by split, where there are any.
        advised: the member to use where nothing else decides.
    """
    found = [] if advised is None else [_use(advised)]
    return [*found, *_sure(df, snapshot, comparisons), _cost(df, spent)] if len(df) else []


def _use(advised: Advice) -> Answer:
    return Answer("What to use", f"Trial {advised.trial}", [f"{advised.numbers}.", *advised.why], advised.trial)


def _sure(df: pd.DataFrame, snapshot: Snapshot, comparisons: Mapping[str, Comparison]) -> list[Answer]:
    """How far off one accuracy may be by the images drawn, and which of the members hold."""
    leading = df[df["trial"].isin(points.leaders(df, snapshot.objectives))]
    split = TEST if leading["test_clean_accuracy"].notna().any() else SELECTION
    prefix = "test_" if split == TEST else "judged_"
    known = leading.dropna(subset=[f"{prefix}{name}" for name in ACCURACIES])
    if known.empty:
        none = "No trial had to be judged to its end" if points.cut(df) else "Nothing is judged yet"
        if (df["judging"] == "full").any():
            none = "No trial that was judged keeps to the constraints"
        by = f"{none}: these are numbers of the {words.CHEAP}, which flatter."
        return [Answer("How sure", "Not yet", [by])]
    widths = [(known[f"{prefix}{name}_high"] - known[f"{prefix}{name}_low"]).max() / 2 for name in ACCURACIES]
    images = " or ".join(f"{n:,}" for n in sorted(set(known[f"{prefix}images"])))
    where = "test" if split == TEST else f"the {words.SELECTION_SET}"
    sentences = [f"95 % intervals of single accuracies, by the {images} images of {where}."]
    if split == TEST:
        beaten = int((dominated_on_test(df, snapshot.objectives) & df["member"]).sum())
        stand = len(known) - beaten
        sentences.append(
            f"{stand} of {words.count(len(known), 'member')} {'is' if stand == 1 else 'are'} not dominated there."
        )
    if split in comparisons:
        chances = comparisons[split].trials.set_index("trial")["nondominated"]
        likely = int((chances[chances.index.isin(known["trial"])] >= 0.95).sum())
        sentences.append(f"{likely} of {len(known)} would not be dominated with other images either, at 95 % and more.")
    again = sum(trial.replicate_of is not None for trial in snapshot.trials)
    sentences.append(
        f"{words.count(again, 'training')} with other seeds {'is' if again == 1 else 'are'} in this."
        if again
        else "Training seeds were not varied: their spread is not in this."
    )
    return [Answer("How sure", f"\N{PLUS-MINUS SIGN}{100 * max(widths):.1f} points", sentences)]


def _cost(df: pd.DataFrame, spent: DeviceTime) -> Answer:
    total = spent.training + spent.deriving + spent.judging
    parts = [f"{words.duration(spent.training)} of training"]
    parts += [f"{words.duration(spent.deriving)} of deriving"] if df["derived"].notna().any() else []
    parts += [f"{words.duration(spent.judging)} of judging"] if spent.judging else []
    counted = "every attempt counted" if spent.every_attempt else "what left results counted"
    sentences = [f"Device time: {', '.join(parts)}; {counted}."]
    full, skipped = int((df["judging"] == "full").sum()), int((df["judging"] == "skipped").sum())
    if skipped:
        was = "was" if skipped == 1 else "were"
        shown = f"{skipped} {was} shown to be on no frontier before that"
        sentences.append(f"{words.count(full, 'trial')} judged in full; {shown}.")
    return Answer("What it cost", words.duration(total), sentences)
