"""What is known best of one trial, of all that a record says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sweeps.record.constraints import Limits, missed, violations
from sweeps.record.facts import Judged, Reached, Skipped, TrialRecord

Source = Literal["judged", "bound", "cheap"]
"""All attacks; what the attacks so far have left, which can only fall; the cheap attack of training."""


@dataclass(frozen=True)
class Known:
    """Numbers of one trial, or the mean of one setting's, and where they come from."""

    values: Mapping[str, float]
    source: Source


def known(
    trial: TrialRecord,
    judged: Judged | None,
    skipped: Skipped | None = None,
    reached: Reached | None = None,
    *,
    so_far: float | None = None,
) -> Known:
    """What is known best of a trial: as judged, else the bound that judging has come to, else by the cheap attack.

    Args:
        judged: on the selection set.
        skipped: why it was not judged in full.
        reached: how far judging had come when that was last written down.
        so_far: while it is being judged, the fraction of images that stand. The cheap attack's number counts where it is
            lower.
    """
    values = dict(trial.metrics)
    if judged is not None:
        values |= {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
        return Known(values, "judged")
    bound = skipped if skipped is not None and skipped.after else reached
    if bound is not None:
        values["clean_accuracy"] = bound.clean_correct / bound.images
        values["robust_accuracy"] = bound.bound / bound.images
        if skipped is not None or so_far is None:
            return Known(values, "bound")
    if so_far is not None:
        values["robust_accuracy"] = min(values.get("robust_accuracy", so_far), so_far)
        return Known(values, "bound")
    return Known(values, "cheap")


def held_to(
    trial: TrialRecord, limits: Limits, judged: Judged | None, skipped: Skipped | None, reached: Reached | None
) -> TrialRecord:
    """A complete trial held to its constraints by what is known best of it; any other as it is."""
    if not limits or trial.outcome != "complete":
        return trial
    violated = violations(known(trial, judged, skipped, reached).values, limits)
    return replace(trial, feasible=not missed(violated), violations=violated)
