"""Settings picked by hand, and how a setting is completed of which only some options are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from robustray.errors import UserError, nearest
from robustray.options.yaml import Keys, show
from robustray.trial import TrialConfig
from sweeps.space import templates
from sweeps.space.distributions import UNKNOWN, Parameter, Scalar, Unknown
from sweeps.space.templates import Searched

Point = dict[str, Any]
"""Values of some searched options, by name."""
_ABSENT: Any = object()


def no_points(items: Sequence[object]) -> dict[Keys, str]:
    """What is wrong with the items of a list that should hold points, whatever the space."""
    found: dict[Keys, str] = {}
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            found[index,] = f"must be a mapping of searched options to values, not {show(item)}"
            continue
        for name, value in item.items():
            if isinstance(value, dict | list):
                found[index, str(name)] = f"must be a value, not {show(value)}"
    return found


def mistaken(
    template: Any,
    points: Sequence[Point],
    complete: Callable[[Mapping[str, object]], dict[str, object]],
    build: Callable[[Mapping[str, object]], TrialConfig],
) -> dict[Keys, str]:
    """What is wrong with points, by index and option.

    Args:
        template: as compiled. complete, build: as `Sweep.completed` and `Sweep.trial_config`.
    """
    space = {each.name: each for each in templates.parameters(template)} if points else {}
    found: dict[Keys, str] = {}
    whole: dict[int, dict[str, object]] = {}
    for index, point in enumerate(points):
        wrong: dict[Keys, str] = {
            (index, name): what for name, value in point.items() if (what := _wrong(space, point, name, value))
        }
        found |= wrong
        if wrong:
            continue
        setting = complete(point)
        twin = next((other for other, known in whole.items() if known == setting), None)
        if twin is not None:
            found[index,] = f"is the setting of points.{twin} again"
        try:
            build(setting)
        except UserError as error:
            found[index,] = f"makes no trial: {error}"
        whole[index] = setting
    return found


def _wrong(space: Mapping[str, Parameter], point: Point, name: str, value: object) -> str:
    """What is wrong with one option of a point; "" for nothing."""
    parameter = space.get(name)
    if parameter is None:
        return f"no such searched option; {nearest(name, space)}"
    try:
        parameter.distribution.read(value)
    except ValueError as error:
        return str(error)
    for choice, label in parameter.condition:
        if choice in point and str(point[choice]) != label:
            return f"exists only when {choice} is {label!r}, and the point has {show(point[choice])}"
        others = [other for other in point if other != name and dict(space[other].condition if other in space else ())]
        for other in others:
            taken = dict(space[other].condition).get(choice, label)
            if taken != label:
                return f"exists only when {choice} is {label!r}, and {other} when it is {taken!r}"
    return ""


def completed(template: Any, given: Mapping[str, object], shared: Mapping[str, Any]) -> dict[str, object]:
    """See `Sweep.completed`. Args: shared: what all trials have besides the template."""
    every = list(templates.parameters(template))
    chosen = _chosen(every, given)
    params: dict[str, object] = {}

    def choose(searched: Searched) -> Any:
        parameter = searched.parameter
        params[parameter.name] = _own(parameter, chosen) if parameter.name in chosen else _middle(parameter)
        return params[parameter.name]

    templates.fill(template, choose)
    for parameter in every:
        if parameter.name in params and parameter.name not in chosen:
            default = _default(template, parameter, params, shared)
            params[parameter.name] = params[parameter.name] if default is UNKNOWN else default
    return params


def _chosen(every: Sequence[Parameter], given: Mapping[str, object]) -> dict[str, object]:
    """What is said of a setting: as given, by branches that hold what is given, by priors, by branches that hold priors."""
    said = dict(given)
    for parameter in every:
        if parameter.name in given:
            said |= parameter.condition
    for parameter in every:
        if parameter.distribution.prior is not UNKNOWN:
            said.setdefault(parameter.name, parameter.distribution.prior)
    for parameter in every:
        if parameter.distribution.prior is not UNKNOWN and all(
            said.get(name, label) == label for name, label in parameter.condition
        ):
            for name, label in parameter.condition:
                said.setdefault(name, label)
    return said


def _own(parameter: Parameter, chosen: Mapping[str, object]) -> Scalar:
    return parameter.distribution.read(chosen[parameter.name])


def _middle(parameter: Parameter) -> Scalar:
    distribution = parameter.distribution
    return distribution.choices[0] if distribution.kind == "choice" else distribution.scaled(0.5)


def _default(
    template: Any, parameter: Parameter, params: Mapping[str, object], shared: Mapping[str, Any]
) -> Scalar | Unknown:
    """What an option is where a trial does not name it; `UNKNOWN` where it must be named, or the default is not searched."""

    def choose(searched: Searched) -> Any:
        absent = searched.parameter.name == parameter.name and searched.branches is None
        return _ABSENT if absent else params[searched.parameter.name]

    filled = templates.fill(template, choose)
    keys = _removed(filled)
    if keys is None:
        return UNKNOWN
    try:
        found: Any = TrialConfig.loose({**shared, **filled})
        for key in keys:
            found = found[key] if isinstance(key, int) else getattr(found, key)
        return parameter.distribution.read(found)
    except (ValidationError, ValueError, AttributeError, LookupError, TypeError):
        return UNKNOWN


def _removed(tree: Any) -> Keys | None:
    """Takes the absent value out of the mapping that holds it; where it stood, None where no mapping does."""
    for key, value in list(
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        if value is _ABSENT:
            return (key,) if isinstance(tree, dict) and tree.pop(key) is _ABSENT else None
        if (below := _removed(value)) is not None:
            return (key, *below)
    return None
