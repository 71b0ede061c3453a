"""Options of a trial that have another place by now: the old one is still read, and mistakes are told where they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustray.options.mistakes import Mistakes
from robustray.options.yaml import Keys, dotted
from robustray.registry import Options, parts

MOVED: dict[tuple[str, str], tuple[str, str]] = {
    ("defense", "label_smoothing"): ("batch", "label_smoothing"),
    ("defense", "smoothed_onto"): ("batch", "smoothed_onto"),
    ("defense", "guard"): ("checkpoints", "collapse"),
}
"""Where options were written before -> where they are now. The first are read for good: a branch of a search space may so
have a value of its own."""


def was_of(part: str, option: str) -> bool:
    """Whether the defense of this name had an option that has moved."""
    cls = parts("defense").get(part)
    return cls is not None and option not in cls.model_fields and (option != "guard" or part == "fast")


def moved(value: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Keys, Keys]]:
    """The options with each in its place, and for those that were not where they were: place -> where.

    Raises:
        Mistakes: one is in both.
    """
    data, places, twice = dict(value), dict[Keys, Keys](), dict[Keys, str]()
    for (section, option), (other, name) in MOVED.items():
        part = data.get(section)
        if not isinstance(part, dict) or option not in part or not was_of(str(part.get("name")), option):
            continue
        data[section] = {key: each for key, each in part.items() if key != option}
        there = data.get(other, {})
        if isinstance(there, Options):
            there = {key: getattr(there, key) for key in there.model_fields_set}
        if not isinstance(there, dict):
            continue  # it has a mistake of its own
        if name in there:
            twice[section, option] = f"is {dotted((other, name))}, which is given as well; leave one of them out"
            continue
        data[other] = {**there, name: part[option]}
        places[other, name] = (section, option)
    if twice:
        raise Mistakes(twice)
    return data, places


def written(keys: Keys, data: Any) -> Keys:
    """The keys of what is there of an option: `defense.name` is `defense` where that is a bare name."""
    for count, key in enumerate(keys):
        if not isinstance(data, dict) or key not in data:
            return keys[: max(count, 1)]
        data = data[key]
    return keys
