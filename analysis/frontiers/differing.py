"""Under which conditions sweeps came to their numbers, and which of them are not the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import words
from analysis.frontiers.fronts import Front, other_objectives
from analysis.sheet import threat_in_words

SERIOUS = "NOT COMPARABLE: "
"""What a note begins with that is about more than a difference to have in mind."""
_SPOILS = "not comparable"
_MIND = "mind it"


def table(fronts: Sequence[Front]) -> pd.DataFrame:
    """A row for each condition: `condition`, what it is of each sweep in a column of its name, and `differs`.

    `differs` is "" where all are the same, `not comparable` for what makes accuracies mean something else (data, images,
    threat, judge), `mind it` for what may explain a difference (network, epochs, seeds, versions ...).
    """
    rows = []
    for condition, serious, of in _CONDITIONS:
        values = [of(front) for front in fronts]
        differs = len(set(values)) > 1
        row = {"condition": condition} | dict(zip([front.name for front in fronts], values, strict=True))
        rows.append(row | {"differs": (_SPOILS if serious else _MIND) if differs else ""})
    return pd.DataFrame(rows)


def notes(found: pd.DataFrame) -> list[str]:
    """A sentence for each condition that differs, the serious ones first."""
    differing = found[found["differs"] != ""]
    said = []
    for row in differing.sort_values("differs", key=lambda each: each != _SPOILS, kind="stable").to_dict("records"):
        of: dict[str, list[str]] = {}
        for name, value in row.items():
            if name not in ("condition", "differs"):
                of.setdefault(str(value), []).append(str(name))
        listed = "; ".join(f"{value or 'not said'} ({', '.join(names)})" for value, names in of.items())
        head = SERIOUS if row["differs"] == _SPOILS else ""
        said.append(f"{head}{row['condition']} differs: {listed}")
    return said


def same_images(a: Front, b: Front) -> bool:
    """Whether verdicts of two sweeps can be paired."""
    alike = all(a.parts.get(part) == b.parts.get(part) for part in ("data", "split", "rows"))
    return alike and np.array_equal(a.images, b.images)


def _of_space(*path: str) -> Callable[[Front], str]:
    def value(front: Front) -> str:
        at: Any = front.about.space
        for key in path:
            at = at.get(key) if isinstance(at, Mapping) else None
        return _said(at)

    return value


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        name = str(value.get("name", ""))
        rest = ", ".join(
            f"{key} {_said(of)}" for key, of in value.items() if key != "name" and not isinstance(of, Mapping)
        )
        return " ".join(filter(None, [name, rest]))
    return words.value(value)


def _images(front: Front) -> str:
    rows = str(front.parts.get("rows", ""))[:8]
    return f"{len(front.images):,} of {front.parts.get('split')} (list {rows})"


def _judge(front: Front) -> str:
    return words.judge_name(front.df[front.df["trial"].isin(front.trials)])


def _seeds(front: Front) -> str:
    most = front.df["replicate_of"].value_counts()
    return "1" if most.empty else f"up to {1 + int(most.max())}"


def _objectives(front: Front) -> str:
    return ", ".join(front.snapshot.objectives) if other_objectives(front) else "clean and robust accuracy"


def _trials(front: Front) -> str:
    return str(int(front.df["derived"].isna().sum()))


def _versions(front: Front) -> str:
    of = front.about.versions
    return ", ".join(f"{name} {of[name]}" for name in ("robustray", "torch") if name in of)


_CONDITIONS: tuple[tuple[str, bool, Callable[[Front], str]], ...] = (
    ("data", True, lambda front: str(front.parts.get("data"))),
    ("images", True, _images),
    ("threat", True, lambda front: threat_in_words(front.parts.get("threat") or {})),
    ("judge", True, _judge),
    ("accelerated judging", True, lambda front: "yes" if "early" in front.parts.get("extras", ()) else "no"),
    ("precision of judging", False, lambda front: str(front.parts.get("dtype"))),
    ("selection images", False, _of_space("judge", "images")),
    ("cheap attack", False, _of_space("judge", "cheap")),
    ("objectives", False, _objectives),
    ("constraints", False, _of_space("constraints")),
    ("network", False, _of_space("trial", "model")),
    ("schedule", False, _of_space("trial", "schedule", "epochs")),
    ("training seeds of a setting", False, _seeds),
    ("trials", False, _trials),
    ("versions", False, _versions),
    ("machine", False, lambda front: words.value(front.about.rest.get("host"))),
)
