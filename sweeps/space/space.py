"""The search space: a YAML file becomes a `Sweep`, and every mistake in it one line with file, line, key and remedy."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray import plugins
from robustray.derived.base import Maker
from robustray.errors import UserError, nearest
from robustray.judge import Judge
from robustray.measures.base import Measure
from robustray.measures.metrics import METRICS, in_order
from robustray.moved import written
from robustray.options.mistakes import Mistakes, mistakes
from robustray.options.places import where_it_was
from robustray.options.yaml import Document, Keys, Place, dotted, show
from robustray.plugins import Names, Plugins
from robustray.registry import Options, Real, Registered, parts
from robustray.trial import TrialConfig
from sweeps.space import corners, grids, measuring, picked, stopping, templates
from sweeps.space.budget import Budget
from sweeps.space.disk import Disk
from sweeps.space.distributions import Parameter
from sweeps.space.fidelity import Fidelity
from sweeps.space.listening import Listeners, Listening
from sweeps.space.measuring import Measures, Measuring
from sweeps.space.overrides import override
from sweeps.space.resources import Resources
from sweeps.space.searching import TRIALS, Search
from sweeps.space.stopping import Stopping

SHARED = {"judge": "one judge", "plugins": "them"}
"""Options of a trial that stand beside `trial` in a space."""
NAME = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"


def _known_metric(name: str) -> str:
    if name not in METRICS:
        hint = nearest(name, [*METRICS, *parts("measure")])
        if hint.startswith("known"):  # nothing is near, and of all measures it would be a long list
            hint = f"{nearest(name, METRICS)}, or the name of one of `measures`"
        raise PydanticCustomError("metric", "is not a metric; {hint}", {"hint": hint})
    return name


Metric = Annotated[str, AfterValidator(_known_metric)]


def _by_metric(schema: dict[str, Any]) -> None:
    schema["propertyNames"] = measuring.keys_of_metrics()


Direction = Literal["max", "min"]


class Bound(Options):
    """What a feasible trial's metric must keep to; ends included."""

    min: Real | None = Field(None, description="smallest allowed value")
    max: Real | None = Field(None, description="largest allowed value")

    @model_validator(mode="after")
    def _some_range(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("needs a min, a max, or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max, but {show(self.min)} is above {show(self.max)}")
        return self


class Sweep(Options):
    """A family of trials and how to search it: one judge, one template, and the distributions of what is searched.

    Validation has built every branch of every choice, with its numbers at both ends and in between, and every two of them side
    by side: mistakes show at once.
    """

    plugins: Plugins = Names()
    name: str = Field(
        description="also the folder of the results: letters, digits, '.', '_' and '-'",
        json_schema_extra={"pattern": f"^{NAME}$"},
    )
    description: str = Field("", description="what the sweep is for, in a few words; shown on the report's page")
    judge: Judge = Field(description="what every trial is measured by; constants only")
    trial: dict[str, Any] = Field(
        {}, description="the template of a trial; any leaf may be a distribution, with a prior"
    )
    measures: Measures = Field(
        {},
        description="what is measured of models besides: a list, or a mapping by names that begin with the measure's",
    )
    measuring: Measuring = Field(Measuring(), description="of which models measures are taken, and on which images")
    objectives: dict[Metric, Direction] = Field(
        {"clean_accuracy": "max", "robust_accuracy": "max"},
        description="what to find the frontier of",
        json_schema_extra=_by_metric,
    )
    constraints: dict[Metric, Bound] = Field(
        {}, description="what a trial must keep to, to be on the frontier", json_schema_extra=_by_metric
    )
    search: Search = Field(Search(), description="how trials are chosen")
    budget: Budget = Field(Budget(), description="what ends the search besides `search.trials`")
    stopping: Stopping = Field(Stopping(), description="which trials end early")
    fidelity: Fidelity | None = Field(
        None,
        description="a first look at every setting, a training with less of what costs, by which `stopping` chooses those that "
        "are trained; null: every trial begins with its training",
    )
    resources: Resources = Field(Resources(), description="what a trial gets")
    listeners: Listening = Field(
        Listeners(), description="who else is told of what happens: a list of names, or a mapping"
    )
    disk: Disk = Field(Disk(), description="what the sweep may keep, and what it does without room")
    derive: tuple[Annotated[Maker, Registered("derive")], ...] = Field(
        (), description="points that are made from trained trials, before the frontier's members are fixed"
    )

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], *, overrides: Sequence[str] = ()) -> Sweep:
        """Reads a search space.

        Args:
            path: the YAML file.
            overrides: replacements of single values, `trial.defense.beta=3`, applied in order.

        Returns:
            The sweep, validated in full.

        Raises:
            UserError: anything is wrong. One line: `x.yaml:12: trial.defense.betta: unknown key; did you mean 'beta'?`
        """
        return cls._read(Document.read(path), overrides, Path(path).parent)

    @classmethod
    def of(cls, space: str | Mapping[str, Any], *, overrides: Sequence[str] = ()) -> Sweep:
        """A search space that stands in a script or a notebook: YAML text, or the mapping that such text is of.

        A mapping goes through the same reader, so that its mistakes are told as those of a file: `space: trial.defense.betta:
        unknown key; did you mean 'beta'?`, with the line of `space` where it is text.

        Args:
            space: all of it; plugins are named from the working directory.
            overrides: as for `from_yaml`.

        Raises:
            UserError: anything is wrong.
        """
        if isinstance(space, str):
            document = Document.of(space, "space")
        else:
            try:
                text = yaml.safe_dump(dict(space), sort_keys=False)
            except yaml.representer.RepresenterError as error:  # an array, a tuple, an object of the user's
                raise UserError(f"space: holds what YAML has no word for: {error.args[-1]!r}") from None
            document = Document.of(text, "space")
            document.places = {keys: Place(place.rank, "space") for keys, place in document.places.items()}
        return cls._read(document, overrides, Path())

    @classmethod
    def _read(cls, document: Document, overrides: Sequence[str], home: Path) -> Sweep:
        for text in overrides:
            override(document, text)
        plugins.in_document(document, home)
        try:
            sweep = cls.model_validate(document.value)
        except ValidationError as error:
            raise document.error(mistakes(error, cls)) from None
        for maker in sweep.derive:
            maker.trust()
        return sweep

    @model_validator(mode="before")
    @classmethod
    def _only_trials_vary(cls, value: Any) -> Any:
        if isinstance(value, dict):
            outside = {key: tree for key, tree in value.items() if key in cls.model_fields and key != "trial"}
            found = dict.fromkeys(_distributions(outside), "takes constants; only trial may hold a distribution")
            if found:
                raise Mistakes(found)
        return value

    @field_validator("name")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not re.fullmatch(NAME, value):
            raise ValueError(f"must be up to 100 letters, digits, '.', '_' or '-', not '.' first, not {show(value)}")
        return value

    @field_validator("trial")
    @classmethod
    def _every_corner(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for key, why in SHARED.items():
            if key in value:
                raise Mistakes({(key,): f"stands beside trial, not inside: all trials of a sweep share {why}"})
        template = templates.compile_template(value)
        found = corners.mistaken(template, info.data.get("judge"))
        if found:
            raise Mistakes(found)
        return value

    @field_validator("measures")
    @classmethod
    def _named_after_what_they_are(cls, value: dict[str, Measure]) -> dict[str, Measure]:
        if wrong := measuring.misnamed(value):
            raise Mistakes(wrong)
        return value

    @field_validator("objectives")
    @classmethod
    def _in_order(cls, value: dict[str, Direction], info: ValidationInfo) -> dict[str, Direction]:
        if not value:
            raise ValueError(f"needs at least one of {', '.join(METRICS)}")
        _measured(value, info)
        # An Optuna study knows its objectives by position: two spellings of one set must not swap them on resume.
        return {name: value[name] for name in in_order(value)}

    @field_validator("constraints")
    @classmethod
    def _measured_too(cls, value: dict[str, Bound], info: ValidationInfo) -> dict[str, Bound]:
        _measured(value, info)
        return value

    @field_validator("search")
    @classmethod
    def _finite_grid(cls, value: Search, info: ValidationInfo) -> Search:
        if value.sampler == "grid" and "trial" in info.data:
            found = grids.mistaken(templates.compile_template(info.data["trial"]), value.gridded)
            if found:
                raise Mistakes(found)
        return value

    @field_validator("stopping")
    @classmethod
    def _can_be_paused(cls, value: Stopping, info: ValidationInfo) -> Stopping:
        data = info.data
        if value.pauses and {"trial", "judge", "objectives", "search"} <= data.keys():
            shared = {"plugins": data["plugins"], "judge": data["judge"]}
            examples = list(_examples(templates.compile_template(data["trial"]), shared))
            why = stopping.obstacle(value, data["search"].sampler, data["objectives"], examples)
            if why is not None:
                raise ValueError(why)
        return value

    @field_validator("fidelity")
    @classmethod
    def _can_be_looked_at(cls, value: Fidelity | None, info: ValidationInfo) -> Fidelity | None:
        data = info.data
        if value is not None and {"trial", "judge", "search", "stopping"} <= data.keys():
            if data["stopping"].name == "none":
                raise ValueError(
                    "chooses who is trained by looks, but stopping: none trains all; write race or pareto_halving"
                )
            shared = {"plugins": data["plugins"], "judge": data["judge"]}
            why = value.objection(list(_examples(templates.compile_template(data["trial"]), shared)))
            if why is not None:
                raise ValueError(why)
        return value

    @field_validator("resources")
    @classmethod
    def _can_be_shared(cls, value: Resources, info: ValidationInfo) -> Resources:
        data = info.data
        if value.processes > 1 and {"trial", "judge"} <= data.keys():
            shared = {"plugins": data["plugins"], "judge": data["judge"]}
            for config in _examples(templates.compile_template(data["trial"]), shared):
                if (single := config.single) is not None:
                    told = f"is {value.processes}, but of trial.{dotted(single[0])}: {single[1]}"
                    raise Mistakes({("processes",): told})
        return value

    @model_validator(mode="after")
    def _waits_after_looks(self) -> Sweep:
        if self.fidelity is not None and self.stopping.name == "auto":
            examples = list(self.examples())
            why = stopping.unwanted(self.stopping, self.search.sampler, self.objectives, examples, self.wanted)
            if why is not None:
                told = f"takes looks at trials that wait, but stopping: auto comes to none ({why}); write a policy"
                raise Mistakes({("fidelity",): f"{told}, stopping: pareto_halving or race"})
        return self

    def settled(self, before: Mapping[str, Any] | None = None) -> Sweep:
        """The same, with what the space leaves to us decided: `search.sampler` and `stopping`, and its rungs.

        Args:
            before: what an earlier life wrote down of this sweep, which stays as it was; see `resolved`.
        """
        asked, sampler = self.stopping, self.search.sampler
        then = None if before is None else type(self)._as_it_was(before)
        if asked.name == "auto":
            why = stopping.unwanted(asked, sampler, self.objectives, list(self.examples()), self.wanted)
            name = then.stopping.name if then else "race" if why is None else "none"
            asked = asked.model_copy(update={"name": name})
        if asked.pauses and asked.rungs == "auto":
            asked = asked.model_copy(update={"rungs": then.stopping.rungs if then else stopping.RUNGS[asked.name]})
        if sampler == "auto" and asked.name != "race":
            sampler = then.search.sampler if then else "tpe"
        search = self.search.model_copy(update={"sampler": sampler})
        return self.model_copy(update={"search": search, "stopping": asked})

    def stops_as(self, settled: Sweep) -> str | None:
        """What was decided about stopping, in a line; None where nothing was to be decided and no trial is paused.

        Args:
            settled: this one; see there.
        """
        if settled.stopping.pauses:
            epochs = max(trial.schedule.epochs for trial in self.examples())
            sampler = "its own model" if settled.search.sampler == "auto" else settled.search.sampler
            first = "" if self.fidelity is None else f" after a look at {self.fidelity.described()}"
            return f"stopping: {stopping.described(settled.stopping, epochs)}{first}; sampler: {sampler}"
        if self.stopping.name == "auto" and "stopping" in self.model_fields_set:
            why = stopping.unwanted(
                self.stopping, self.search.sampler, self.objectives, list(self.examples()), self.wanted
            )
            return f"stopping: none, every trial runs to its end ({why or 'as the sweep was begun'})"
        return None

    @classmethod
    def _as_it_was(cls, written: Mapping[str, Any]) -> Sweep | None:
        """A sweep that an earlier life wrote down; None where it cannot be read any more."""
        try:
            return cls.model_validate(of_before(written)).settled()
        except ValidationError:
            return None

    @model_validator(mode="after")
    def _points_of_the_space(self) -> Sweep:
        found = picked.mistaken(self.template, self.search.chosen, self.completed, self.trial_config)
        if found:
            raise Mistakes({("search", "points", *keys): what for keys, what in found.items()})
        return self

    def completed(self, given: Mapping[str, object]) -> dict[str, object]:
        """A whole setting of which some options are given: every other one is its prior, else its default, else its middle.

        The default is what the option would be if the template did not name it; it counts where it is of the distribution. A
        choice without a prior is that of which an option is given, else the first branch that holds a prior, else the first.

        Args:
            given: values of some options, of branches that exist together.
        """
        return picked.completed(self.template, given, self._shared)

    @cached_property
    def template(self) -> Any:
        """The template as plain data with `Searched` leaves; not to be changed."""
        return templates.compile_template(self.trial)

    @cached_property
    def space(self) -> tuple[Parameter, ...]:
        """The searched options in template order, those of every branch right after their choice."""
        return tuple(templates.parameters(self.template))

    @cached_property
    def settings(self) -> Any:
        """The template that names the settings there are: of a grid, with a choice of points in place of every range."""
        return grids.gridded(self.template, self.search.gridded) if self.search.sampler == "grid" else self.template

    @cached_property
    def trials(self) -> int:
        """How many trials are asked for: as `search.trials` says, by default all settings of a grid."""
        if isinstance(self.search.trials, int):
            return self.search.trials
        return int(templates.count(self.settings)) if self.search.sampler == "grid" else TRIALS

    @property
    def wanted(self) -> int:
        """How many trials there will be: no more than settings, where the search ends once all of them were tried."""
        again = self.search.duplicates == "replicate" or self.search.replicates not in ("auto", 0)
        return int(min(self.trials, math.inf if again else templates.count(self.settings)))

    def states(self, worth: float | None = None, waiting: int = 0) -> int:
        """Of how many trials at most a state will come to lie on the disk: every one that is begun, where trials are paused.

        Args:
            worth: whole trainings that are left to be paid for; all by default. waiting: trials that wait already.
        """
        left = self.wanted if worth is None else min(worth, self.wanted)
        if not self.stopping.pauses:
            return math.ceil(left)
        epochs = max(trial.schedule.epochs for trial in self.examples())
        again = self.search.duplicates == "replicate" or self.search.replicates != 0
        most = math.inf if again else templates.count(self.settings)
        return int(min(stopping.most_states(self.stopping, left, epochs, waiting), most))

    @property
    def _shared(self) -> dict[str, Any]:
        """What all trials have from the sweep."""
        return {"plugins": self.plugins, "judge": self.judge}

    def examples(self) -> Iterator[TrialConfig]:
        """Trials that between them show every branch of every choice, with numbers low, high and in between."""
        yield from _examples(self.template, self._shared)

    def ask(self, suggest: Callable[[Parameter], object]) -> dict[str, object]:
        """Draws one trial, define-by-run: in template order, a branch's parameters only when that branch was chosen.

        Args:
            suggest: the value for a parameter; for a choice of sub-trees, a label.

        Returns:
            The value of every parameter that was asked for, by name, as `trial_config` takes it.

        Raises:
            UserError: a suggestion is outside its distribution.
        """
        params: dict[str, object] = {}

        def choose(searched: templates.Searched) -> object:
            value = params[searched.parameter.name] = _checked(searched.parameter, suggest(searched.parameter))
            return value

        templates.fill(self.template, choose)
        return params

    def trial_config(self, params: Mapping[str, object]) -> TrialConfig:
        """The trial with these values in the template.

        Args:
            params: the value of every parameter that is active under the choices among them.

        Returns:
            The whole description of the trial, the judge included. What the template says for all branches, and the
            chosen ones do not look at, is left out.

        Raises:
            UserError: a value is missing, outside its distribution, or belongs to no active parameter; or the values do
                not go together.
        """
        used: set[str] = set()

        def choose(searched: templates.Searched) -> object:
            name = searched.parameter.name
            if name not in params:
                raise UserError(f"{name}: the parameter has no value; it is {searched.parameter.distribution}")
            used.add(name)
            return _checked(searched.parameter, params[name])

        filled = templates.fill(self.template, choose)
        for name in params:
            if name not in used:
                inactive = [parameter for parameter in self.space if parameter.name == name]
                when = " and ".join(
                    f"{choice} is {label!r}" for parameter in inactive for choice, label in parameter.condition
                )
                raise UserError(
                    f"{name}: {f'exists only when {when}' if when else f'no such parameter; {nearest(name, used)}'}"
                )
        try:
            config = TrialConfig.loose({**self._shared, **filled})
            wrong = config.objections(self._heeded if config.ignored() else ())
        except ValidationError as error:
            wrong = mistakes(error, TrialConfig)
        for keys, what in wrong.items():
            raise UserError(f"trial.{dotted(written(keys, filled))}: {what}")
        return config.without_ignored()

    @cached_property
    def _heeded(self) -> frozenset[Keys]:
        """Options that some branch looks at, by their keys."""
        return corners.heeded(self.template, self.judge)

    def resolved(self) -> dict[str, Any]:
        """Everything as plain data for JSON or YAML, defaults outside the template written out.

        `Sweep.model_validate` reads it back: the same space, with the same hash.
        """
        written = {**self.model_dump(mode="json"), "trial": templates.plain(self.template)}
        there = {"plugins": self.plugins, "fidelity": self.fidelity, "listeners": self.listeners.named}
        return {key: value for key, value in written.items() if there.get(key, True)}  # absent is what there was before

    @property
    def measured_of_all(self) -> dict[str, Measure]:
        """Measures that are taken of every trial as its training ends, by name."""
        named = {*self.objectives, *self.constraints}
        every = self.measuring.of == "all"
        return {name: measure for name, measure in self.measures.items() if every or name in named}

    @property
    def metrics(self) -> tuple[str, ...]:
        """What training measures of a trial, by name: what is always measured, and measures of all."""
        return (*METRICS, *self.measured_of_all)

    def asked_of_all(self) -> dict[str, Any]:
        """The same as plain data, for a worker; nothing where nothing is measured of all."""
        asked = {name: measure.model_dump(mode="json") for name, measure in self.measured_of_all.items()}
        images = self.measuring.images
        return {"measures": asked, "measured_images": None if images == "all" else images} if asked else {}

    @property
    def space_hash(self) -> str:
        """SHA-256, in hex, of what must not change between runs: `trials`, `replicates`, `budget`, `resources` ... may."""
        text = json.dumps(_fixed(self.resolved()), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, other: Mapping[str, Any]) -> list[str]:
        """What sets this sweep apart from an earlier one, as far as `space_hash` sees it.

        Args:
            other: the earlier sweep's `resolved()`. What it does not have outside its template is newer than it, and had then
                what is the default now.

        Returns:
            Lines `key: old -> new`, none when the hashes are equal.
        """
        try:
            then = type(self).model_validate(of_before(other)).settled()
            known: Mapping[str, Any] = then.resolved()
            now = where_it_was(then, self.settled(other)).resolved()
        except ValidationError:  # of a version that had other options: what is there is compared
            known, now = other, self.settled().resolved()
        return changes(_fixed(known), _fixed(now))


def of_before(written: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's sweep.yaml says, and says by silence: before there was `stopping`, every trial ran to its end."""
    return {"stopping": "none", **written}


def _examples(template: Any, shared: Mapping[str, Any]) -> Iterator[TrialConfig]:
    for choose in templates.corners(template):
        yield TrialConfig.loose({**shared, **templates.fill(template, choose)}).without_ignored()


def _measured(names: Iterable[str], info: ValidationInfo) -> None:
    """Refuses metrics that neither the judge nor a measure of the space would measure."""
    names, measures = tuple(names), info.data.get("measures")  # None: with mistakes of their own
    found = measuring.unmeasured(names, names if measures is None else measures)
    for name in names:
        if name == "cost_passes" and "script" in info.data.get("trial", {}):
            found[name,] = "is not counted in a training script of your own; use cost_seconds"
        asked: Any = info.data.get("judge", ...)  # one with mistakes of its own has been told of
        for key in METRICS[name].needs:
            asked = getattr(asked, key, None) if asked is not ... else asked
        if asked is None:
            grid = ", grid: {rotations: 5, translations: 3}" if "grid" in METRICS[name].needs else ""
            remedy = f"write judge: {{spatial: {{rotation: 30, translation: 3{grid}}}}}"
            found[name,] = f"is measured only where judge.{'.'.join(METRICS[name].needs)} says how; {remedy}"
    if found:
        raise Mistakes(found)


def _checked(parameter: Parameter, value: object) -> object:
    try:
        return parameter.distribution.checked(value)
    except ValueError as error:
        raise UserError(f"{parameter.name}: {error}") from None


def _distributions(tree: object) -> list[Keys]:
    if templates.distribution_kinds(tree):
        return [()]
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(key, *below) for key, value in inside for below in _distributions(value)]


def _fixed(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What `space_hash` covers."""
    free = ("description", "budget", "resources", "disk", "derive", "measures", "measuring", "listeners")
    fixed = {key: value for key, value in resolved.items() if key not in free} | measuring.held(resolved)
    if isinstance(fixed.get("search"), dict):
        loose = ("trials", "duplicates", "replicates", "first")  # the record keeps what was to be tried first
        fixed["search"] = {key: value for key, value in fixed["search"].items() if key not in loose}
    if isinstance(fixed.get("stopping"), dict):
        fixed["stopping"] = {key: value for key, value in fixed["stopping"].items() if key != "keep_paused"}
    return fixed


_ABSENT = object()


def changes(old: Any, new: Any, keys: Keys = ()) -> list[str]:
    """Lines `key: old -> new` for what differs between two trees of plain data, of which `keys` say where they stand."""
    mappings = isinstance(old, dict) and isinstance(new, dict)
    if mappings and not templates.distribution_kinds(old) and not templates.distribution_kinds(new):
        every = [*old, *(key for key in new if key not in old)]
        return [line for key in every for line in changes(old.get(key, _ABSENT), new.get(key, _ABSENT), (*keys, key))]
    texts = ["(absent)" if value is _ABSENT else json.dumps(value, sort_keys=True) for value in (old, new)]
    return [] if texts[0] == texts[1] else [f"{dotted(keys)}: {texts[0]} -> {texts[1]}"]
