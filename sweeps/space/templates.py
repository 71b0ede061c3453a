"""The template of a search space: plain data in which some leaves are searched."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from robustray.options.mistakes import Mistakes
from robustray.options.yaml import Keys, dotted, show
from sweeps.space.distributions import KINDS, PRIOR, Distribution, Kind, Parameter, Scalar, scalar


@dataclass(frozen=True)
class Searched:
    """A searched place of a template: one parameter, and for a choice of sub-trees what each label stands for."""

    parameter: Parameter
    branches: Mapping[str, Any] | None = None


Choose = Callable[[Searched], Any]
"""What decides the value of a searched place: for a choice, one of its values or labels."""
_FRACTIONS = (0.0, 1.0, 0.381)
"""How far along their ranges numbers are tried. In between: a whole number at both ends need not be one there."""


def compile_template(tree: object) -> Any:
    """The template with `Searched` in place of every distribution.

    Args:
        tree: plain data as read from YAML.

    Raises:
        Mistakes: a distribution is malformed; all of them are in it, by their keys in `tree`.
    """
    compiler = _Compiler()
    template = compiler.node(tree, (), (), ())
    if isinstance(template, Searched):
        compiler.found[()] = "must be a mapping of options, not a distribution"
    if compiler.found:
        raise Mistakes(compiler.found)
    return template


def distribution_kinds(tree: object) -> list[Kind]:
    """The distribution names among the keys of a mapping: [] for whatever is no distribution."""
    return [kind for kind in KINDS if kind in tree] if isinstance(tree, dict) else []


def fill(template: Any, choose: Choose) -> Any:
    """The template with a value in every searched place. Places are decided in order, those of other branches never."""
    if isinstance(template, dict):
        return {key: fill(value, choose) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, choose) for value in template]
    if isinstance(template, Searched):
        value = choose(template)
        return value if template.branches is None else fill(template.branches[value], choose)
    return template


def source_keys(template: Any, filled: Keys, choose: Choose) -> tuple[Keys, Distribution | None]:
    """Where a value of a filled template was written.

    Args:
        template: the compiled template.
        filled: the keys of the value in `fill(template, choose)`; the last may not exist.
        choose: what it was filled with.

    Returns:
        The keys in the tree that was compiled (branches have indices there), and the distribution that stands there.
    """
    if isinstance(template, Searched):
        if template.branches is None:
            return (), template.parameter.distribution
        label = choose(template)
        below, distribution = source_keys(template.branches[label], filled, choose)
        return ("choice", list(template.branches).index(label), *below), distribution
    if not filled:
        return (), None
    key = filled[0]
    inside = isinstance(template, dict) and key in template
    if inside or (isinstance(template, list) and isinstance(key, int) and key < len(template)):
        below, distribution = source_keys(template[key], filled[1:], choose)
        return (key, *below), distribution
    return filled, None


def parameters(template: Any) -> Iterator[Parameter]:
    """All parameters in template order, those of every branch right after their choice."""
    if isinstance(template, Searched):
        yield template.parameter
        inside = list((template.branches or {}).values())
    elif isinstance(template, dict | list):
        inside = list(template.values() if isinstance(template, dict) else template)
    else:
        return
    for each in inside:
        yield from parameters(each)


def corners(template: Any) -> Iterator[Choose]:
    """Ways to fill a template that between them show every branch, each with its numbers low, high and in between."""
    choices = [each for each in parameters(template) if each.distribution.kind == "choice"]
    forced: list[dict[str, Any]] = [{}]
    forced += [{**dict(each.condition), each.name: value} for each in choices for value in each.distribution.choices]
    for picks in forced:
        for fraction in _FRACTIONS:
            yield _corner(picks, fraction)


def pairs(template: Any) -> Iterator[tuple[Choose, dict[str, Any]]]:
    """Ways to fill a template that between them put every two branches, and every two ends of numbers, side by side.

    `corners` shows each branch beside the first of every other choice, and all numbers low or high together: two branches
    that do not go together, or ranges that overlap, show only here.

    Yields:
        How to fill it, and the two parameters that are beside each other, by name.
    """
    every = list(parameters(template))
    choices = [each for each in every if each.distribution.kind == "choice"]
    numbers = [each for each in every if each.distribution.kind != "choice"]
    for a, b in combinations(choices, 2):
        for one in a.distribution.choices:
            for other in b.distribution.choices:
                picks = _together(a, one, b, other)
                if picks is not None:
                    for fraction in _FRACTIONS:
                        yield _corner(picks, fraction), {a.name: one, b.name: other}
    for a, b in combinations(numbers, 2):
        for one, other in ((0.0, 1.0), (1.0, 0.0)):
            ends = {a.name: a.distribution.at(one), b.name: b.distribution.at(other)}
            picks = _together(a, ends[a.name], b, ends[b.name])
            if picks is not None:
                for fraction in _FRACTIONS:
                    yield _corner(picks, fraction), ends


def _together(a: Parameter, one: object, b: Parameter, other: object) -> dict[str, Any] | None:
    """What to pick for a and b to have these values, None where no trial has both: they are of branches apart."""
    picks: dict[str, Any] = {**dict(a.condition), a.name: one}
    for name, value in (*b.condition, (b.name, other)):
        if picks.setdefault(name, value) != value:
            return None
    return picks


def count(template: Any) -> float:
    """In how many ways a template can be filled; inf where a number is searched that is not in steps."""
    if isinstance(template, dict | list):
        return math.prod(map(count, template.values() if isinstance(template, dict) else template))
    if isinstance(template, Searched):
        distribution, branches = template.parameter.distribution, template.branches
        return distribution.count if branches is None else sum(map(count, branches.values()))
    return 1


def nth(template: Any, index: int) -> dict[str, Any]:
    """The parameters of the index-th way to fill a template, of `count(template)` ways, as `Sweep.ask` gives them."""
    if isinstance(template, dict | list):
        found: dict[str, Any] = {}
        for inside in template.values() if isinstance(template, dict) else template:
            index, own = divmod(index, int(count(inside)))
            found |= nth(inside, own)
        return found
    if not isinstance(template, Searched):
        return {}
    parameter = template.parameter
    if template.branches is None:
        return {parameter.name: parameter.distribution.nth(index)}
    for label, branch in template.branches.items():
        if index < count(branch):
            return {parameter.name: label, **nth(branch, index)}
        index -= int(count(branch))
    raise IndexError(f"{parameter.name}: there are not so many ways")


def plain(template: Any) -> Any:
    """The template as plain data again, with every distribution in one spelling."""
    if isinstance(template, dict):
        return {key: plain(value) for key, value in template.items()}
    if isinstance(template, list):
        return [plain(value) for value in template]
    if isinstance(template, Searched):
        if template.branches is None:
            return template.parameter.distribution.plain()
        branches = [_plain_branch(label, branch) for label, branch in template.branches.items()]
        return template.parameter.distribution.plain() | {"choice": branches}
    return template


def _plain_branch(label: str, branch: Any) -> Any:
    unsaid = isinstance(branch, dict) and branch.get("name") != label
    return {"label": label, **plain(branch)} if unsaid else plain(branch)


def _corner(picks: Mapping[str, Any], fraction: float) -> Choose:
    def choose(searched: Searched) -> Any:
        parameter = searched.parameter
        if parameter.distribution.kind != "choice" and parameter.name not in picks:
            return parameter.distribution.at(fraction)
        return picks[parameter.name] if parameter.name in picks else parameter.distribution.choices[0]

    return choose


class _Compiler:
    """One pass over a tree that goes on after a mistake, so that all of them are found.

    `keys` say where something stands in the tree, `path` what it is called as a parameter: in a choice, the label of
    the branch instead of `choice` and an index.
    """

    def __init__(self) -> None:
        self.found: dict[Keys, str] = {}

    def node(self, tree: object, keys: Keys, path: Keys, condition: tuple[tuple[str, str], ...]) -> Any:
        if isinstance(tree, list):
            return [self.node(item, (*keys, i), (*path, i), condition) for i, item in enumerate(tree)]
        if not isinstance(tree, dict):
            return tree
        kinds = distribution_kinds(tree)
        if not kinds:
            return {key: self.node(value, (*keys, key), (*path, key), condition) for key, value in tree.items()}
        others = ", ".join(repr(key) for key in tree if key not in (kinds[0], PRIOR))
        if others:
            self.found[(*keys, kinds[0])] = (
                f"a distribution must be the only key of its mapping but for {PRIOR}, not beside {others}"
            )
            return None
        if kinds[0] == "choice":
            return self.choice(tree, keys, path, condition)
        try:
            distribution = Distribution.parse(kinds[0], tree[kinds[0]])
        except ValueError as error:
            self.found[keys] = str(error)
            return None
        return Searched(Parameter(dotted(path), self.likely(distribution, tree, keys), condition))

    def likely(self, distribution: Distribution, tree: Mapping[str, object], keys: Keys) -> Distribution:
        """The distribution with the prior that stands beside it."""
        try:
            return distribution.likely(tree[PRIOR]) if PRIOR in tree else distribution
        except ValueError as error:
            self.found[*keys, PRIOR] = str(error)
            return distribution

    def choice(self, tree: Mapping[str, object], keys: Keys, path: Keys, condition: tuple[tuple[str, str], ...]) -> Any:
        options = tree["choice"]
        if not isinstance(options, list) or not options:
            self.found[keys] = f"choice needs a list of values or branches, not {show(options)}"
            return None
        places = [(*keys, "choice", i) for i in range(len(options))]
        wrong = {place: what for place, option in zip(places, options, strict=True) if (what := _not_a_branch(option))}
        if wrong:
            self.found |= wrong
            return None
        nested = any(isinstance(option, dict) for option in options)
        names = [_label(option) if nested else scalar(option) for option in options]
        taken: set[Scalar] = set()
        for place, option, name in zip(places, options, names, strict=True):
            if nested and name is None:
                self.found[place] = "this branch needs a label of letters, digits, _ and -, because it has no such name"
            elif name in taken:
                remedy = "; give one of them a label" if isinstance(option, dict) else ""
                remedy = f"; to the search it is {show(int(name))}" if isinstance(name, bool) else remedy
                self.found[place] = f"{show(name)} is in the choice twice{remedy}"
            taken.add(name)
        distribution = self.likely(Distribution("choice", choices=tuple(names)), tree, keys)
        parameter = Parameter(dotted(path), distribution, condition)
        if not nested:
            return Searched(parameter)
        branches = {
            label: self.node(_unlabelled(option), place, (*path, label), (*condition, (parameter.name, label)))
            for label, option, place in zip(map(str, names), options, places, strict=True)
        }
        return Searched(parameter, branches)


def _not_a_branch(option: object) -> str:
    if isinstance(option, list):
        return "must be a value, a name or a mapping, not a list"
    if distribution_kinds(option):
        return "must be a value, a name or a mapping, not a distribution"
    if isinstance(option, float) and not math.isfinite(option):
        return f"must be a finite number, not {show(option)}"
    return ""


def _unlabelled(option: Any) -> Any:
    return {key: value for key, value in option.items() if key != "label"} if isinstance(option, dict) else option


def _label(option: Any) -> str | None:
    """What a branch is called in parameter names, None where nothing in it can be its name."""
    if not isinstance(option, dict):
        return "none" if option is None else option if isinstance(option, str) else show(option)
    name = option.get("label", option.get("name"))
    return name if isinstance(name, str) and re.fullmatch("[A-Za-z0-9_-]+", name) else None
