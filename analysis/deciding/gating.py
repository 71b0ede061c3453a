"""Whether a model is good enough: floors that its judged accuracies must keep, for a line of continuous integration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.special import ndtri

from analysis import collect, judgements, points, words
from analysis.pareto import CONFIDENCE, wilson
from robustray.errors import UserError
from robustray.files import from_json
from robustray.measures.metrics import ACCURACIES, METRICS
from robustray.verdicts import stages
from sweeps import record
from sweeps.standing import SELECTION, TEST

_PREFIX = {TEST: "test_", SELECTION: "judged_"}


@dataclass(frozen=True)
class Model:
    """One model that is held to the floors.

    Attributes:
        name: `trial 7`, or the folder of its judgement. folder: where it or its judgement lies.
        accuracies: by metric, as fractions. limits: their lower confidence limits.
        misses: in words, what it falls short of; empty where it passes. short: the largest shortfall, 0 where it passes.
    """

    name: str
    folder: str
    images: int
    judge: str
    autoattack: bool
    flags: str
    accuracies: Mapping[str, float]
    limits: Mapping[str, float]
    misses: tuple[str, ...]
    short: float

    @property
    def passed(self) -> bool:
        """Whether nothing is missed."""
        return not self.misses


@dataclass(frozen=True)
class Verdict:
    """What `gate` found: the sweep passes where one of its models passes in everything."""

    folder: str
    split: str
    floors: Mapping[str, float]
    confident: bool
    models: tuple[Model, ...]

    @property
    def passed(self) -> bool:
        """Whether one model passes."""
        return any(model.passed for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `passed`, what was asked, and `models` with their numbers, whether they pass and what they miss."""
        return {
            "passed": self.passed,
            "folder": self.folder,
            "split": self.split,
            "floors": dict(self.floors),
            "confident": self.confident,
            "models": [
                {
                    "model": model.name,
                    "folder": model.folder,
                    "passed": model.passed,
                    **{name: model.accuracies[name] for name in ACCURACIES},
                    **{f"{name}_at_least": model.limits[name] for name in ACCURACIES},
                    "images": model.images,
                    "judge": model.judge,
                    "autoattack": model.autoattack,
                    "flags": model.flags,
                    "misses": list(model.misses),
                }
                for model in self.models
            ],
        }


def gate(
    folder: Path | str,
    floors: Mapping[str, float],
    *,
    split: str = TEST,
    confident: bool = False,
    trial: int | None = None,
) -> Verdict:
    """Holds a sweep's members, or one model, to floors of accuracy. Writes nothing.

    Args:
        folder: a sweep's, whose members are looked at (before they are fixed those that would be); or a judgement, or a
            model's folder that has one on the split.
        floors: by metric, fractions: what clean and robust accuracy must be at least.
        split: `test`, or `validation` for the selection set, whose numbers flatter what was chosen by them.
        confident: whether the lower confidence limit must keep the floor too, not the estimate alone. It is the lower end of
            Wilson's score interval, one-sided, and holds for all K models looked at together with 95 % (level 1 - 0.05 / K
            each, Bonferroni). That both floors must hold asks for no more: each alone rejects a bad model.
        trial: the one trial of a sweep to look at.

    Raises:
        UserError: there is no judgement to its end, no floor, or one that is no fraction.
    """
    folder = Path(folder)
    if not floors:
        raise UserError("gate: there is no floor; give --min-clean, --min-robust or both")
    for name, floor in floors.items():
        if not 0 <= floor <= 1:
            hint = f": {floor / 100:g} for {floor:g} %" if 1 < floor <= 100 else ", between 0 and 1"
            raise UserError(f"--min-{METRICS[name].short} {floor:g}: is a fraction{hint}")
    rows = _of_sweep(folder, split, trial) if (folder / record.JOURNAL).exists() else _of_model(folder, split, trial)
    z = float(ndtri(1 - (1 - CONFIDENCE) / len(rows)))
    models = [_held(row, floors, confident=confident, z=z) for row in rows]
    return Verdict(str(folder), split, floors, confident, tuple(models))


def _of_sweep(folder: Path, split: str, trial: int | None) -> list[dict[str, Any]]:
    snapshot = record.read(folder)
    df = collect.table(snapshot)
    prefix = _PREFIX[split]
    if trial is not None:
        rows = df[df["trial"] == trial]
        if rows.empty:
            raise UserError(f"--trial {trial}: the sweep has no such trial; it has {len(df)}, counted from 0")
    else:
        rows = df[df["trial"].isin(points.leaders(df, snapshot.objectives))]
    unread = rows[f"{prefix}robust_accuracy"].isna()
    if rows.empty or unread.any():
        listed = ", ".join(str(number) for number in rows.loc[unread, "trial"]) or "any trial"
        remedy = "; the sweep's own command goes on, or try --split validation" if split == TEST else ""
        raise UserError(f"{folder}: {split} is not judged to the end for {listed}{remedy}")
    return [
        {
            "name": f"trial {row['trial']}",
            "folder": str(folder / "trials" / f"{row['trial']:04d}"),
            "images": int(row[f"{prefix}images"]),
            "judge": words.judge_name(pd.DataFrame([row])),
            "autoattack": bool(row["autoattack"]),
            "flags": row["flags"],
            **{name: float(row[f"{prefix}{name}"]) for name in ACCURACIES},
        }
        for row in points.records(rows)
    ]


def _of_model(folder: Path, split: str, trial: int | None) -> list[dict[str, Any]]:
    if trial is not None:
        raise UserError(f"--trial {trial}: {folder} is no sweep")
    found = judgements.read(judgements.find(folder, split))
    left = [stage for stage in stages(found.folder) if stage not in found.parts["stages"]]
    if left:
        raise UserError(
            f"{found.folder}: is not judged to the end, {', '.join(left)} left; the same judge command goes on"
        )
    try:
        told = from_json((found.folder / judgements.RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    version, autoattack = str(told.get("version", found.parts.get("family", ""))), told.get("autoattack") is True
    return [
        {
            "name": str(folder),
            "folder": str(found.folder),
            "images": len(found.verdicts),
            "judge": f"AutoAttack {version}" if autoattack else version,
            "autoattack": autoattack,
            "flags": ", ".join(found.flags),
            "clean_accuracy": float(found.verdicts.clean_correct.mean()),
            "robust_accuracy": float(found.verdicts.robust_correct.mean()),
        }
    ]


def _held(row: Mapping[str, Any], floors: Mapping[str, float], *, confident: bool, z: float) -> Model:
    accuracies = {name: row[name] for name in ACCURACIES}
    limits = {name: wilson(row[name] * row["images"], row["images"], z)[0] for name in ACCURACIES}
    held = limits if confident else accuracies
    misses, short = list[str](), 0.0
    for name, floor in floors.items():
        lacks = floor - held[name]
        if lacks > 1e-12:  # 0.9 of 10,000 images is 0.9
            what = f"{METRICS[name].short} {words.percent(accuracies[name])}"
            what += f", at least {words.percent(held[name])} with confidence," if confident else ""
            misses.append(f"{what} is {100 * lacks:.2g} points below {words.percent(floor)}")
            short = max(short, lacks)
    if row["flags"]:
        misses.append(f"flagged {row['flags']}: its robust accuracy may be too high")
        short = max(short, 1.0)
    about = {name: row[name] for name in ("name", "folder", "images", "judge", "autoattack", "flags")}
    return Model(**about, accuracies=accuracies, limits=limits, misses=tuple(misses), short=short)


def told(verdict: Verdict) -> list[str]:
    """A line for the verdict, and one for each model."""
    first = verdict.models[0]
    where = "test" if verdict.split == TEST else f"the {words.SELECTION_SET}"
    asked = " and ".join(f"{METRICS[name].short} >= {floor:g}" for name, floor in verdict.floors.items())
    passing = [model.name for model in verdict.models if model.passed]
    at = f"{words.count(first.images, 'image')} of {where}, {first.judge}"
    way = ", lower confidence limits" if verdict.confident else ""
    if passing:
        head = f"passes: {', '.join(passing)}: {asked} ({at}{way})"
    else:
        nearest = min(verdict.models, key=lambda model: model.short)
        count = words.count(len(verdict.models), "model")
        head = f"fails: none of {count} has {asked} ({at}{way}); the nearest is {nearest.name}"
    lines = [head]
    for model in verdict.models:
        numbers = ", ".join(
            f"{words.percent(model.accuracies[name])} {METRICS[name].short} (at least {words.percent(model.limits[name])})"
            for name in ACCURACIES
        )
        lines.append(f"  {model.name}: {numbers}: {'; '.join(model.misses) or 'passes'}")
    return lines
