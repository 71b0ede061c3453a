"""How what is now is compared with what was before: machines, trials, results."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from robustray.trial import TrialConfig

Leaves = dict[str, Any]
"""A tree, flat: the value of every leaf by its path, the length of a list at `path#`."""


def machine() -> dict[str, str]:
    """What the bits of a training depend on beside the trial."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "machine": platform.machine(),
        "cpu": names[0] if names else platform.processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
    }


def described(config: TrialConfig) -> Leaves:
    """A trial with every option, its smoothing of labels apart: wherever that is written, it means the same."""
    trial = yaml.safe_load(config.to_yaml())
    said = dict[str, Any]()
    for place in (trial["batch"], trial["defense"]):
        for key in ("label_smoothing", "smoothed_onto"):
            value = place.pop(key, None)
            if value is not None:
                said.setdefault(key, value)
    onto = "others" if trial["defense"]["name"] in ("score", "score_pgd") else "all"  # where it is not said
    mass = said.get("label_smoothing", 0.0)
    trial["smoothing"] = {"mass": mass, "onto": said.get("smoothed_onto", onto) if mass else None}
    here = f"{Path.cwd()}/"  # paths of data are absolute once they are read
    return {key: value.removeprefix(here) if isinstance(value, str) else value for key, value in _leaves(trial, "")}


def _leaves(tree: object, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
    elif isinstance(tree, list):
        yield f"{path}#", len(tree)
        for number, value in enumerate(tree):
            yield from _leaves(value, f"{path}.{number}")
    else:
        yield path, tree


def missed(found: Leaves, before: Leaves) -> Leaves:
    """What was before and is not, or is otherwise. What is new has no say."""
    places = {path: _MOVED.get(path, path) for path in before if not _idle(found, path)}
    return {
        path: before[path]
        for path, now in places.items()
        if now not in found or not _same(found[now], _RENAMED.get(path, {}).get(before[path], before[path]))
    }


_MOVED = {"defense.guard": "checkpoints.collapse", "model.scales": "model.norm"}
_RENAMED = {"model.scales": {"plain": "bn", "around_one": "rebn"}}


def _idle(found: Leaves, path: str) -> bool:
    """Whether a trial without an adversary would not have looked at it: it is not written any more."""
    section = path.partition(".")[0]
    idle = found.get("defense.name") in ("natural", "tulip") and section in ("attack", "threat")
    return idle and found.get(section, "") is None


def _same(found: Any, before: Any) -> bool:
    if isinstance(found, float) and isinstance(before, float):
        return math.isclose(found, before, rel_tol=1e-12)
    return type(found) is type(before) and bool(found == before)
