"""The grid of a space: every setting of it, where options without an end of values stand at a few points of their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from robustray.errors import nearest
from robustray.options.yaml import Keys
from sweeps.space import templates
from sweeps.space.distributions import Distribution, Parameter, Scalar

Points = int | Mapping[str, int]
"""How many points: of every option without steps, or by the names of numeric options."""


def points(distribution: Distribution, count: int) -> tuple[Scalar, ...]:
    """So many values of a numeric distribution, both ends included, at equal distances on its scale.

    low + i (high - low) / (count - 1), or low (high / low)^(i / (count - 1)) where the logarithm is uniform. Whole numbers and
    steps are rounded to the nearest that there is, each once: there may be fewer.

    Args:
        distribution: any but a choice. count: at least 2.
    """
    return tuple(dict.fromkeys(distribution.scaled(index / (count - 1)) for index in range(count)))


def gridded(template: Any, wanted: Points | None) -> Any:
    """A compiled template in which every number that points were wanted of is a choice of them; names stay as they are."""
    if isinstance(template, dict):
        return {key: gridded(value, wanted) for key, value in template.items()}
    if isinstance(template, list):
        return [gridded(value, wanted) for value in template]
    if not isinstance(template, templates.Searched):
        return template
    if template.branches is not None:
        return replace(template, branches={label: gridded(each, wanted) for label, each in template.branches.items()})
    parameter = template.parameter
    count = _wanted(parameter, wanted)
    if count is None:
        return template
    return templates.Searched(
        replace(parameter, distribution=Distribution("choice", choices=points(parameter.distribution, count)))
    )


def mistaken(template: Any, wanted: Points | None) -> dict[Keys, str]:
    """What keeps a template from being a grid, by the keys inside `search` where it is mended."""
    every = list(templates.parameters(template))
    numbers = [each for each in every if each.distribution.kind != "choice"]
    found: dict[Keys, str] = {}
    if isinstance(wanted, Mapping):
        names = [each.name for each in numbers]
        for name in wanted:
            if name not in names:
                choice = any(each.name == name for each in every)
                why = "is a choice, all values of which are gone through" if choice else "no such searched number"
                found["points", name] = why if choice else f"{why}; {nearest(name, names)}"
    endless = [each for each in numbers if math.isinf(each.distribution.count) and _wanted(each, wanted) is None]
    if endless and not found:
        first, more = endless[0], len(endless) - 1
        others = f", as {more} more are" if more else ""
        found["sampler",] = (
            f"grid goes through all values, but trial.{first.name} is {first.distribution}{others}; say how many points, "
            f"search.points: 5 or search.points: {{{first.name}: 5}}, or search it by choice or stepped"
        )
    return found


def _wanted(parameter: Parameter, wanted: Points | None) -> int | None:
    """How many points of a parameter stand in the grid; None for all values that there are."""
    if parameter.distribution.kind == "choice" or wanted is None:
        return None
    if isinstance(wanted, Mapping):
        return wanted.get(parameter.name)
    return wanted if math.isinf(parameter.distribution.count) else None
