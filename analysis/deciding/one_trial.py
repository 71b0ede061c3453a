"""Everything that is known of one trial in sentences: why it ended as it did, who is better, and how to have it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis import axes, collect, points, words
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES
from sweeps import frontier, record
from sweeps.record.points import derived
from sweeps.standing import TEST

_MOST = 6  # better trials that are named


def about(folder: Path | str, number: int) -> list[tuple[str, str]]:
    """What there is to say of a trial, as (subject, sentence), in the order in which things happened to it.

    Raises:
        UserError: there is no readable record in the folder, or no such trial.
    """
    folder = Path(folder)
    snapshot = record.read(folder)
    df = collect.table(snapshot)
    rows = df[df["trial"] == number]
    if rows.empty:
        raise UserError(f"trial {number}: the sweep has no such trial; it has {len(df)}, counted from 0")
    row = points.records(rows)[0]
    trial = next(each for each in snapshot.trials if each.number == number)
    options = [
        f"{words.option_name(name)} {words.value(row[name])}"
        for name in collect.options(df)
        if not words.missing(row[name])
    ]
    said = [
        ("what it is", words.made(row) or ", ".join(options) or "the space as it stands"),
        ("asked for by", _origin(trial)),
    ]
    said.append(("training", _training(trial, row)))
    if before := words.stopped_before(trial):
        said.append(("before that", f"{before} by a larger budget; the first time because {trial.stops[0].cause}"))
    said += [("at its rungs", sentence) for sentence in _rungs(snapshot, trial)]
    if misses := words.misses(row):
        said.append(("constraints", misses))
    if trial.outcome == "complete":
        said.append(("judging", _judging(row)))
    if row["flags"]:
        said.append(("flags", f"{row['flags']}: its robust accuracy may be too high, so it is on no frontier"))
    said.append(("frontier", _frontier(df, row, snapshot)))
    place = folder / "trials" / f"{number:04d}"
    said.append(("its log", str(place / "log.txt")))
    said += [("its last lines", line) for line in trial.last]
    if not derived(trial):
        said.append(("train it again", f"python -m robustray train {place / 'trial.yaml'} --folder again"))
    if trial.weights:
        said.append(("its weights", f"SHA-256 {trial.weights}"))
    return said


def _origin(trial: record.TrialRecord) -> str:
    parents = ", ".join(map(str, trial.parents))
    return {
        "sampled": "the sampler",
        "replicate": f"the search, trial {parents} with another training seed",
        "retry": f"the search, trial {parents} once more",
        "imported": "another sweep",
        "derived": f"the sweep, from trials {parents}",
        "lost": "a driver that ended before it handed it out",
    }[trial.origin]


def _training(trial: record.TrialRecord, row: dict[str, Any]) -> str:
    said = words.status(trial.state)
    if trial.trained:
        said += f" after {words.count(trial.trained, 'epoch')}"
    if trial.outcome == "stopped" and trial.cause:
        said += f", because {trial.cause}"
    elif trial.cause:
        said += f": {trial.cause}"
    elif trial.outcome is None and trial.paused:
        said += ": it waits until the policy sends it on"
    known = [axes.printed(name, row[name]) for name in ACCURACIES]
    hours = row["cost_device_hours"]
    said += f"; {' / '.join(filter(None, known))} by the {words.CHEAP}" if any(known) else ""
    return said + ("" if words.missing(hours) else f"; {words.duration(3600 * hours)} of device time")


def _rungs(snapshot: record.Snapshot, trial: record.TrialRecord) -> list[str]:
    """Where it stood among the others at the last rung before its end, if it did not come to it."""
    if trial.outcome == "complete" or not trial.rungs:
        return []
    last = trial.rungs[-1]
    there = {
        other.number: rung.metrics for other in snapshot.trials for rung in other.rungs if rung.index == last.index
    }
    better = [
        number for number, metrics in there.items() if frontier.dominates(metrics, last.metrics, snapshot.objectives)
    ]
    values = " / ".join(axes.printed(name, last.metrics[name]) for name in snapshot.objectives)
    listed = f": {', '.join(map(str, better[:_MOST]))}{' ...' if len(better) > _MOST else ''}" if better else ""
    return [
        f"epoch {last.epoch}: {values}; of {words.count(len(there), 'trial')} there "
        f"{len(better)} {'was' if len(better) == 1 else 'were'} better in everything{listed}"
    ]


def _judging(row: dict[str, Any]) -> str:
    said = words.how_judged(row)
    if row["judging"] == "full":
        said += ": " + " / ".join(axes.printed(name, row[f"judged_{name}"]) for name in ACCURACIES)
    elif row["judging"] == "skipped" and not words.missing(row["bound"]):
        said += f": robust at most {words.percent(row['bound'])}"
    if not words.missing(row["test_clean_accuracy"]):
        said += f"; on {TEST} " + " / ".join(axes.printed(name, row[f"test_{name}"]) for name in ACCURACIES)
    return f"{said}; {row['cause']}" if row["judging"] == "failed" and row["cause"] else said


def _frontier(df: Any, row: dict[str, Any], snapshot: record.Snapshot) -> str:
    leading = row["trial"] in points.leaders(df, snapshot.objectives)
    if points.stage(df) == "members":
        return "a member" if leading else "no member"
    return "on it so far" if leading else "not on it so far"
