"""Clean and robust accuracy of all models of a table by one protocol: numbers of two attacks are never mixed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import words
from analysis.papers.estimates import of_share
from analysis.papers.sources import Note, part
from robustray.measures.metrics import ACCURACIES


def by_one_protocol(models: pd.DataFrame, note: Note) -> pd.DataFrame:
    """The best protocol that every model has: judged on test, judged on validation, else the cheap attack of training.

    Args:
        models: as `sources.trials` gives them.

    Returns:
        Columns `clean`, `robust` (fractions), `clean_se`, `robust_se` (over images, sqrt(p (1 - p) / n)), `protocol` (in
        words), by the rows of `models`.
    """
    found = pd.DataFrame(index=models.index)
    for prefix, where in (("test", "test"), ("judged", words.SELECTION_SET)):
        columns = [f"{prefix}_{name}" for name in ACCURACIES]
        if models[columns].notna().all(axis=None):
            images = models[f"{prefix}_images"].astype(float)
            most, least = int(images.max()), int(images.min())
            count = f"{most:,}" if most == least else f"{least:,} to {most:,}"
            protocol = f"{words.judge_name(models)}, {count} images of {where}"
            break
    else:
        columns, known = list(ACCURACIES), models["config"].map(_tuned_on).astype(float)
        images = known.fillna(known.groupby(models["sweep"]).transform("max"))  # points have no options of their own
        protocol = f"{words.CHEAP} of training, validation"
        if models["judged_robust_accuracy"].notna().any():
            note(
                "not every model is judged in full, so all have the numbers of the cheap attack; --set judge.trials=all and "
                "the same run_sweep.py command judge the others"
            )
    for key, column in zip(("clean", "robust"), columns, strict=True):
        shares = models[column].astype(float)
        found[key] = shares
        found[f"{key}_se"] = [of_share(p, n) for p, n in zip(shares, images, strict=True)]
    return found.assign(protocol=protocol)


def _tuned_on(config: Mapping[str, Any]) -> float:
    """How many validation images the cheap attack saw: those that the judge was not given; nan where it is not known."""
    judge = part(config, "judge")
    held_out, judged = part(judge, "data").get("validation"), part(judge, "images").get("validation")
    if isinstance(held_out, int) and isinstance(judged, int) and held_out > judged:
        return float(held_out - judged)
    return math.nan
