"""Which model of a sweep to take: those that meet a condition, the one that a rule picks, and what speaks for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import axes, collect, comparison, points, words
from analysis.deciding import condition, pool, rules, versus
from analysis.deciding.pool import Pool
from analysis.deciding.rules import RULES, SAID, By
from analysis.pareto import CONFIDENCE
from robustray.errors import UserError, nearest
from sweeps import record
from sweeps.standing import SELECTION, TEST

HOURS = "cost_device_hours"
_MOST = 8  # alternatives that are shown
_RULE_OF: Mapping[By, str] = {"robust": "robust_accuracy", "clean": "clean_accuracy"}


@dataclass(frozen=True)
class Wanted:
    """What a model is wanted for.

    Attributes:
        where: a condition on the columns of `analysis.load`; "" for none.
        by: the rule that picks one of those that meet it; None: `robust` where there is a condition or a budget, for these
            are floors beneath what is wanted, else `balanced`, as on the page.
        budget: device-hours that its training may have taken at most, its parents' included where it was derived.
        reference: by metric, for the rule `reference`, which it implies.
    """

    where: str = ""
    by: By | None = None
    budget: float | None = None
    reference: Mapping[str, float] = field(default_factory=dict)

    @property
    def rule(self) -> By:
        """The rule that picks."""
        if self.by is not None:
            return self.by
        if self.reference:
            return "reference"
        return "robust" if self.where or self.budget is not None else "balanced"


@dataclass(frozen=True)
class Choice:
    """One trial and why.

    Attributes:
        trial: its number. folder: its folder. rule: that picked it. split: that the alternatives are tested on.
        why: sentences, the most important first. notes: what to know before relying on it.
        table: a row for each alternative and the trial itself, indexed by trial, along the frontier: `stands` in words, the
            columns of the table, and those of `versus` where both were judged on the split.
    """

    trial: int
    folder: Path
    rule: By
    split: str
    why: list[str]
    notes: list[str]
    table: pd.DataFrame


def choose(folder: Path | str, wanted: Wanted | None = None) -> Choice:
    """Chooses a model of a finished or running sweep. Writes nothing.

    All settings that were judged in full take part, not members alone: a condition may leave out what dominates them. They
    are ranked by their numbers on the selection set, or by the cheap attack while nothing is judged. Test decides only
    where the condition names it, which is said.

    Raises:
        UserError: there is no readable record, nobody to choose from, the condition is none or nobody meets it, or the
            reference names what is no objective of the sweep.
    """
    folder, wanted = Path(folder), wanted or Wanted()
    snapshot = record.read(folder)
    df = collect.table(snapshot)
    of = pool.of_table(df, snapshot.objectives, folder)
    _check(wanted, of)
    fit, notes = _fit(wanted, of, folder)
    front = of.frontier(fit)
    chosen = _picked(wanted.rule, wanted, of, fit, front)
    if (other := _by_selection(wanted, of, chosen)) is not None:
        notes.insert(0, other)
    rows = _alternatives(of, fit, front, chosen)
    split = TEST if not words.missing(rows.loc[chosen, "test_clean_accuracy"]) else SELECTION
    tested = pd.DataFrame(columns=versus.COLUMNS)
    try:
        models = comparison.read(folder, snapshot, split)
        if models is not None:
            tested = versus.versus(models, chosen, [trial for trial in rows.index if trial != chosen], of.seeds)
    except UserError as error:
        notes.append(f"no paired test: {error}")
    table = rows.join(tested)
    table.insert(0, "stands", [_stands(trial, chosen, wanted, of, fit, front) for trial in rows.index])
    why = [_reason(wanted, of, fit, front, chosen), *_about(of, rows.loc[[chosen]]), *_apart(table, chosen, split)]
    place = folder / "trials" / f"{chosen:04d}"
    return Choice(chosen, place, wanted.rule, split, why, [*notes, *_notes(wanted, of, fit)], table)


def _check(wanted: Wanted, of: Pool) -> None:
    if wanted.rule == "reference" and not wanted.reference:
        raise UserError(
            "--by reference needs --reference clean_accuracy=0.95,robust_accuracy=0.5: where one would like to be"
        )
    if wanted.reference and wanted.rule != "reference":
        raise UserError(f"--reference goes with --by reference, not with --by {wanted.rule}")
    for name in wanted.reference:
        if name not in of.objectives:
            raise UserError(f"--reference: {name!r} is no objective of this sweep; {nearest(name, of.objectives)}")
        if condition.is_accuracy(name) and not 0 <= wanted.reference[name] <= 1:
            raise UserError(f"--reference {name}={wanted.reference[name]:g}: is a fraction, between 0 and 1")


def _fit(wanted: Wanted, of: Pool, folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The settings that meet the condition and the budget, and notes on those of which it cannot be told."""
    rows, notes = of.rows, list[str]()
    if wanted.budget is not None:
        inside = rows[rows[HOURS] <= wanted.budget]
        if inside.empty:
            least = rows.sort_values(HOURS).iloc[0]
            raise UserError(
                f"--budget {wanted.budget:g}: no training took so little; the least is {least[HOURS]:.3g} "
                f"device-hours, trial {least['trial']}"
            )
        rows = inside
    if wanted.where:
        found = condition.met(wanted.where, rows)
        unknown = int(found.unknown.sum())
        if unknown:
            missing = [name for name in found.columns if rows.loc[found.unknown, name].isna().any()]
            unread = bool(rows.loc[found.unknown, "member"].any())
            why = "test is not read to the end yet" if unread else "test is read for members alone"
            of_test = any(name.startswith("test_") for name in missing)
            why = f"; {why}, judged_ columns are there for all" if of_test else ""
            notes.append(f"{words.count(unknown, 'setting')} of {len(rows)} have no {' or '.join(missing)}{why}")
        if not found.rows.any():
            raise UserError(f"{folder}: no trial meets --where {wanted.where!r}; {_reached(rows, found, notes)}")
        rows = rows[found.rows]
    return rows, notes


def _reached(rows: pd.DataFrame, found: condition.Met, notes: list[str]) -> str:
    """How far the columns of a condition go, for who has to ask for less."""
    ranges = []
    for name in found.columns:
        values = pd.to_numeric(rows[name], errors="coerce").dropna().astype(float)
        if len(values):
            ranges.append(
                f"{name} goes from {values.min():.4g} (trial {values.idxmin()}) to {values.max():.4g} (trial {values.idxmax()})"
            )
        elif rows[name].notna().any():
            ranges.append(f"{name} is {', '.join(sorted(map(str, rows[name].dropna().unique()))[:_MOST])}")
    return "; ".join([*ranges, *notes]) or "ask for less"


def _picked(rule: By, wanted: Wanted, of: Pool, fit: pd.DataFrame, front: pd.DataFrame) -> int:
    """The trial of a rule; of equals the better one in robust, then clean accuracy, then the earlier one."""
    rows = fit if rule == "cheapest" else front
    if rule == "cheapest":
        score = -rows[HOURS].to_numpy(dtype=float)
    elif rule == "balanced":
        signs = [of.axis(name).sign for name in of.objectives]
        least = of.values(of.rows).min(axis=0)
        score = rules.attained(
            of.values(rows), [0.0 if sign > 0 else low for sign, low in zip(signs, least, strict=True)]
        )
    elif rule == "knee":
        score = rules.knee(of.values(rows))
    elif rule == "reference":
        names = list(wanted.reference)
        signs = [of.axis(name).sign for name in names]
        score = rules.achievement(
            of.values(rows, names), [s * wanted.reference[n] for s, n in zip(signs, names, strict=True)]
        )
    else:
        score = of.values(rows, [_RULE_OF[rule]])[:, 0]
    beside = [rows[of.column(name)] for name in ("robust_accuracy", "clean_accuracy")]
    order = np.lexsort([rows["trial"], *(-each.fillna(-1) for each in reversed(beside)), -np.round(score, 12)])
    return int(rows["trial"].iloc[order[0]])


def _by_selection(wanted: Wanted, of: Pool, chosen: int) -> str | None:
    """What to know where test numbers chose: they flatter what they chose. And who it would be without them."""
    judged = {f"test_{name}": f"judged_{name}" for name in ("clean_accuracy", "robust_accuracy")}
    ends = {f"{test}{end}": f"{own}{end}" for test, own in judged.items() for end in ("", "_low", "_high")}
    named = condition.met(wanted.where, of.rows).columns if wanted.where else ()
    if not any(name in ends for name in named):
        return None
    said = "the condition reads test, so test flatters what it lets through; by the selection set it"
    moved = pool.Pool(
        of.rows.assign(**{test: of.rows[own] for test, own in ends.items()}),
        of.seeds,
        of.objectives,
        of.stage,
        of.bounds,
    )
    try:
        fit, _ = _fit(wanted, moved, Path())
    except UserError:
        return f"{said} would let none through"
    other = _picked(wanted.rule, wanted, moved, fit, moved.frontier(fit))
    return f"{said} would be {'the same' if other == chosen else f'trial {other}'}"


def _alternatives(of: Pool, fit: pd.DataFrame, front: pd.DataFrame, chosen: int) -> pd.DataFrame:
    """The chosen one among the nearest along the frontier: of those that fit, and the members that do not."""
    shown = {chosen, *front["trial"], *of.rows.loc[of.rows["member"], "trial"]}
    along = axes.along(of.objectives)
    rows = of.rows[of.rows["trial"].isin(shown)]
    rows = rows.sort_values([along.column(of.prefix), "trial"], ascending=[along.sign < 0, True])
    at = rows["trial"].tolist().index(chosen)
    first = max(0, min(at - _MOST // 2, len(rows) - _MOST - 1))
    return rows.iloc[first : first + _MOST + 1]


_NAMES = {"balanced": "balanced", "robust": "most robust", "clean": "most clean", "knee": "knee"}


def _stands(trial: int, chosen: int, wanted: Wanted, of: Pool, fit: pd.DataFrame, front: pd.DataFrame) -> str:
    if trial not in set(fit["trial"]):
        return "does not meet it"
    alone = [rule for rule in RULES if rule not in ("reference", "cheapest")]
    picks = [_NAMES[rule] for rule in alone if _picked(rule, wanted, of, fit, front) == trial]
    hours = fit.set_index("trial")[HOURS]
    if hours[trial] == hours.min():
        picks += ["cheapest" if (hours == hours.min()).sum() == 1 else "as cheap as any"]
    return ", ".join([*(["chosen"] if trial == chosen else []), *picks])


def _reason(wanted: Wanted, of: Pool, fit: pd.DataFrame, front: pd.DataFrame, chosen: int) -> str:
    among = [f"meet {wanted.where}"] if wanted.where else []
    among += [f"took at most {wanted.budget:g} device-hours"] if wanted.budget is not None else []
    one = len(fit) == 1
    if one and among:
        return f"Trial {chosen} is the only one of {len(of.rows)} that {' and '.join(among).replace('meet ', 'meets ', 1)}."
    of_all = words.count(len(of.rows), "setting")
    which = f"the {len(fit)} of {of_all} that {' and '.join(among)}" if among else of_all
    said = SAID[wanted.rule]
    if wanted.rule == "reference":
        named = " / ".join(axes.printed(name, value) for name, value in wanted.reference.items())
        said = f"{said}, {named}"
    if wanted.rule == "knee" and len(front) < 3:
        said = "the more robust end of the frontier, for fewer than three points have no knee"
    return f"Trial {chosen} of {which}: {said}, by the {of.measured}."


def _about(of: Pool, row: pd.DataFrame) -> list[str]:
    trial = points.records(row)[0]
    named = " / ".join(axes.printed(name, trial[of.column(name)]) for name in of.objectives)
    said = [f"{named} by the {of.measured}"]
    if not words.missing(trial["test_clean_accuracy"]):
        ends = words.interval(trial["test_robust_accuracy_low"], trial["test_robust_accuracy_high"])
        said.append(
            f"{axes.printed('clean_accuracy', trial['test_clean_accuracy'])} / "
            f"{axes.printed('robust_accuracy', trial['test_robust_accuracy'])} [{ends}] on test"
        )
    seeds = len(of.seeds[int(trial["trial"])])
    said += [f"means over {seeds} training seeds"] if seeds > 1 else []
    said += (
        [f"{words.duration(3600 * trial[HOURS])} of training on one device"] if not words.missing(trial[HOURS]) else []
    )
    about = "; ".join(said)
    options = [
        f"{words.option_name(name)} {words.value(trial[name])}"
        for name in collect.options(row)
        if not words.missing(trial[name])
    ]
    made = words.made(trial)  # options keep their names, which --set and --where take
    of_it = f"{made[0].upper()}{made[1:]}" if made else f"Its options: {', '.join(options)}" if options else ""
    return [f"{about[0].upper()}{about[1:]}.", *([f"{of_it}."] if of_it else [])]


def _apart(table: pd.DataFrame, chosen: int, split: str) -> list[str]:
    """Whom images do not tell it apart from."""
    others = table[(table.index != chosen) & (table["stands"] != "does not meet it")].dropna(subset=["clean_p"])
    if others.empty:
        return []
    same = others[(others[["clean_p", "robust_p"]] >= 1 - CONFIDENCE).all(axis=1)].index.tolist()
    where = "test" if split == TEST else f"the {words.SELECTION_SET}"
    if not same:
        return [f"The images of {where} tell it apart from each alternative shown."]
    return [f"The images of {where} do not tell it apart from {_trials(same)}."]


def _notes(wanted: Wanted, of: Pool, fit: pd.DataFrame) -> list[str]:
    found = []
    if of.stage == "cheap":
        found.append("nothing is judged yet: these are numbers of the cheap attack, which are too high")
    elif of.stage == "judging":
        found.append("members are not fixed yet: this may change until the sweep is over")
    judge = words.judge_name(fit)
    if judge and not judge.startswith("AutoAttack"):
        found.append(f"robust accuracies are from {judge}, not from AutoAttack")
    if len(maybe := _unjudged(wanted, of)):
        listed = f"{', '.join(str(n) for n in maybe[:_MOST])}{' ...' if len(maybe) > _MOST else ''}"
        found.append(
            f"proven dominated by others, so not judged to the end, and left out here though they may meet it: {listed}"
        )
    return found


def _unjudged(wanted: Wanted, of: Pool) -> list[int]:
    """Trials that lost to others which the condition leaves out, perhaps: nobody judged them in full."""
    rows = of.bounds
    if wanted.budget is not None:
        rows = rows[rows[HOURS] <= wanted.budget]
    if wanted.where and len(rows):
        found = condition.met(wanted.where, rows)
        if all(condition.is_accuracy(name) for name in found.columns):
            return []  # their dominators are as good in whatever it asks for
        rows = rows[found.rows | found.unknown]
    return [int(number) for number in rows["trial"]] if wanted.where or wanted.budget is not None else []


def _trials(numbers: list[int]) -> str:
    texts = [str(n) for n in numbers]
    return f"trial{'s' if len(texts) > 1 else ''} {' and '.join(filter(None, [', '.join(texts[:-1]), texts[-1]]))}"
