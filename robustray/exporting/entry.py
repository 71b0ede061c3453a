"""An export's numbers as plain data: `export.json`, and an entry for the `model_info` of RobustBench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from robustray import __version__
from robustray.derived.mixture import Mixed
from robustray.exporting.programs import Compared
from robustray.judging import result
from robustray.models.noise import NoiseVote
from robustray.subjects import Classifier
from robustray.subjects.exported import FORMAT
from robustray.trial import TrialConfig

_NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
_KEPT = (
    "split", "images", "images_wanted", "threat", "version", "autoattack", "accelerated", "clean_accuracy", "clean_interval",
    "robust_accuracy", "robust_interval", "stages", "flags", "warnings", "passes_per_verdict", "packages", "fingerprint",
)  # fmt: skip


def about(
    model: Classifier,
    source: str,
    shape: Sequence[int],
    classes: int,
    judgements: Sequence[Mapping[str, Any]],
    chosen: Sequence[str],
    program: Compared | str,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What `export.json` holds: everything RobustBench's entry has no field for, intervals, flags and choices among it.

    Args:
        source: where it comes from, in words. shape: of an image [C, H, W]. chosen: by what it was chosen, in sentences.
        program: how the program compares with the network, or why there is none.
        notes: what whoever loads the program should know.
    """
    compared = {"why_not": program} if isinstance(program, str) else vars(program)
    return {
        "format": FORMAT,
        "robustray": __version__,
        "name": model.name,
        "source": source,
        "architecture": model.architecture,
        "weights": model.weights,
        "input": ["batch", *shape],
        "classes": classes,
        "judgements": [kept(each) for each in judgements],
        "chosen": list(chosen),
        "program": compared,
        "notes": list(notes),
        "judge": None if model.judge is None else model.judge.model_dump(mode="json"),
    }


def kept(told: Mapping[str, Any]) -> dict[str, Any]:
    """A judgement's result as an export keeps it: what is of use to others, and nothing of where files lie here."""
    return {**{key: told[key] for key in _KEPT if key in told}, "data": {"name": told["data"]["name"]}}


def robustbench(model: Classifier, told: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
    """An entry with exactly RobustBench's fields, and where it stands in their tree: `model_info/DATA/NORM/NAME.json`.

    What the authors alone know (link, title, names, venue) is left empty. `additional_data` is false for generated images
    too, as their leaderboard has it, with a footnote; null where the training is not known.
    """
    entry = result.entry(told) | {"number_forward_passes": passes(model.model) * told.get("passes_per_verdict", 1)}
    trial = model.trial
    if trial is not None:
        entry["additional_data"], more = _additional(trial)
        entry["footnote"] = " ".join(filter(None, [entry["footnote"], more]))
    place = Path("model_info") / entry["dataset"] / _NORMS[told["threat"]["norm"]] / f"{model.name}.json"
    return place, entry


def _additional(trial: TrialConfig) -> tuple[bool | None, str]:
    mix = trial.batch.mix
    if mix is not None and mix.pseudo:
        return True, "It uses additional images with labels of a model in training."
    if trial.model.source is not None:  # nobody knows what those weights have seen
        return None, ""
    return False, "" if mix is None else "It uses additional generated images in training."


def passes(model: nn.Module) -> int:
    """Forward passes of a network per answer: each parent's of a mixture, each copy's of a vote under noise, else one."""
    if isinstance(model, Mixed):
        return passes(model.accurate) + passes(model.robust)
    votes = [module.samples for module in model.modules() if isinstance(module, NoiseVote)]
    return max(votes, default=1)
