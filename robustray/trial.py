"""TrialConfig: the whole description of one trial, how it is measured included. Loads without torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from robustray import plugins
from robustray._later import nn
from robustray.attacks.base import Attack
from robustray.attacks.threats import Threat
from robustray.data.augment import Augmentation
from robustray.data.mix import Mix
from robustray.defenses.base import Defense
from robustray.defenses.trades import Trades
from robustray.judge import Judge
from robustray.models.base import Architecture
from robustray.models.small_cnn import SmallCnn
from robustray.moved import MOVED, moved, was_of, written
from robustray.options.mistakes import Mistakes, mistakes
from robustray.options.recorded import recorded
from robustray.options.yaml import Document, Keys
from robustray.plugins import Names, Plugins
from robustray.registry import Count, Options, Real, Registered, parts
from robustray.script import Script
from robustray.training.averaging import Averaging, Ema
from robustray.training.curricula import Curriculum
from robustray.training.optimisers import Optimiser, Sgd
from robustray.training.schedules import OneCycle, Schedule
from robustray.training.updates import Plain, Update

_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # a fifth of the time, where PyYAML was built with libyaml


class Batch(Options):
    """Batches of training images."""

    size: Count = Field(128, ge=1, description="images per optimiser step")
    images: Real | None = Field(
        None,
        gt=0,
        description="training images that are drawn from, classes in proportion, the same whatever the seed: below 1 a share, "
        "from 1 on a number; null: all",
    )
    accumulate: Count = Field(
        1,
        ge=1,
        description="parts of a batch that go through the network one after the other, for less memory; batch norm "
        "takes its statistics over a part",
    )
    augment: tuple[Annotated[Augmentation, Registered("augmentation")], ...] = Field(
        (), description="augmentations in order, each drawn per image"
    )
    mix: Annotated[Mix, Registered("mix")] | None = Field(
        None, description="images of a file that a fraction of every batch is drawn from; null: none"
    )
    label_noise: Real = Field(
        0.0, ge=0, le=1, description="share of labels that the loss sees replaced by a random class; attacks see none"
    )
    label_smoothing: Real = Field(
        0.0, ge=0, lt=1, description="mass s that the loss moves off the true class; attacks see labels as they are"
    )
    smoothed_onto: Literal["all", "others"] | None = Field(
        None,
        description="who shares that mass: all K classes (the true one keeps 1 - s + s/K), or the K - 1 others; "
        "null: as the defense's paper has it",
    )

    @property
    def part(self) -> int:
        """Images that go through the network at once."""
        return self.size // self.accumulate

    def among(self, total: int) -> int:
        """Training images that are drawn from, of so many; more than there are where more are asked for."""
        if self.images is None:
            return total
        return max(1, round(self.images * total)) if self.images < 1 else int(self.images)

    @model_validator(mode="after")
    def _enough_images(self) -> Batch:
        if (
            self.images is not None
            and self.images >= 1
            and (self.images != int(self.images) or self.images < self.size)
        ):
            raise PydanticCustomError(
                "images",
                "takes a share below 1, or a whole number of images from size on, which is {size}, not {images}",
                {"size": self.size, "images": self.images, "key": "images"},
            )
        return self

    @model_validator(mode="after")
    def _whole_parts(self) -> Batch:
        if self.size % self.accumulate:
            raise PydanticCustomError(
                "accumulate",
                "must divide size, which is {size}, into parts of one size, not {accumulate}",
                {"size": self.size, "accumulate": self.accumulate, "key": "accumulate"},
            )
        return self

    @model_validator(mode="after")
    def _both_kinds(self) -> Batch:
        if self.mix is not None and not self.mix.drawn(self.size):
            raise PydanticCustomError(
                "mix",
                "a fraction of {fraction} of {size} images is none; use a larger one, or no mix",
                {"fraction": self.mix.fraction, "size": self.size, "key": "mix"},
            )
        return self


class Checkpoints(Options):
    """Which checkpoint counts, and when one is written."""

    select: Literal["last", "best_robust"] = Field(
        "last", description="the checkpoint that counts: the last, or the one with the best robust accuracy on tune"
    )
    validate_every: Count = Field(1, ge=1, description="epochs between validations; the last epoch always has one")
    every: Count | None = Field(
        None, ge=1, description="epochs between averages that are kept for good, as epoch-<epoch>.pt; null: none are"
    )
    collapse: Real | None = Field(
        None,
        ge=0,
        le=1,
        description="fall of PGD accuracy on training images within an epoch at which training ends, with the weights of "
        "the epoch before; 1: it never does; null: as the defense's paper has it",
    )
    minutes: Real = Field(
        10, gt=0, description="a checkpoint inside an epoch at least this often; every epoch ends in one"
    )


class TrialConfig(Options):
    """One trial: everything that training it and measuring it depends on."""

    plugins: Plugins = Names()
    judge: Judge
    seed: Count = Field(0, ge=0, le=2**53, description="every random draw of the trial derives from it")
    batch: Batch = Batch()
    model: Annotated[Architecture, Registered("model")] = SmallCnn()
    threat: Threat | None = Field(
        None,
        description="what is trained against; default: judge.threat, or its norm where only eps is given, and its eps where "
        "only that norm is",
    )
    attack: Annotated[Attack, Registered("attack")] | None = Field(
        None, description="the training attack; what is not said is the defense's published attack"
    )
    defense: Annotated[Defense, Registered("defense")] = Trades()
    update: Annotated[Update, Registered("update")] = Plain()
    averaging: Annotated[Averaging, Registered("averaging")] = Ema()
    optimiser: Annotated[Optimiser, Registered("optimiser")] = Sgd()
    schedule: Annotated[Schedule, Registered("schedule")] = OneCycle()
    curriculum: Annotated[Curriculum, Registered("curriculum")] | None = Field(
        None,
        description="what changes in the course of training: eps, step, beta, rotation, translation; null: nothing",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="precision inside the network; pixels and losses are fp32. tf32: fp32 whose products are rounded on CUDA",
    )
    compile: Literal["off", "default", "max"] = Field(
        "off",
        description="torch.compile of the network in attacks and training; max tunes kernels for minutes, and uses CUDA graphs",
    )
    deterministic: bool = Field(
        False, description="the same bits on every run also on CUDA, by slower kernels; the CPU needs it not"
    )
    checkpoints: Checkpoints = Checkpoints()
    script: Script | None = Field(
        None, description="a training function of your own in place of all else but judge and seed; null: our trainer"
    )

    @field_validator("threat", mode="before")
    @classmethod
    def _as_judged(cls, value: Any, info: ValidationInfo) -> Any:
        """What a training threat does not name is the judge's: the norm, and the radius where the norm is the judge's."""
        judge = info.data.get("judge")
        if isinstance(value, dict) and judge is not None:
            norm, eps = judge.threat.norm, judge.threat.eps
            return {"norm": norm, **({"eps": eps} if value.get("norm", norm) == norm else {}), **value}
        return value

    @field_validator("compile", mode="before")
    @classmethod
    def _off(cls, value: Any, info: ValidationInfo) -> Any:
        """In YAML `off` is false."""
        return "off" if value is False else value

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: object) -> object:
        if not isinstance(value, dict | cls):
            raise PydanticCustomError("no_mapping", "must be a mapping with a key 'judge'")
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Reads options where they were before, and sees that all of them go together."""
        if not isinstance(value, dict):
            return handler(value)
        data, places = moved(value)
        try:
            config = handler(data)
        except ValidationError as error:
            if not places:
                raise
            raise Mistakes({places.get(keys, keys): what for keys, what in mistakes(error, cls).items()}) from None
        if value.keys() >= _RECORD:
            return config.without_ignored()
        if not (info.context or {}).get("loose") and (found := config.objections()):
            raise Mistakes({written(keys, value): what for keys, what in found.items()})
        return config

    @classmethod
    def loose(cls, data: Mapping[str, Any]) -> TrialConfig:
        """As `model_validate`, but leaves it to `objections` whether the options go together."""
        return cls.model_validate(dict(data), context={"loose": True})

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With options in the places where they were before as well."""
        made = super().__get_pydantic_json_schema__(schema, handler)
        sections = handler.resolve_ref_schema(made)["properties"]
        for (section, option), (other, name) in MOVED.items():
            new = handler.resolve_ref_schema(_reference(sections[other]))["properties"][name]
            for part, reference in sections[section]["discriminator"]["mapping"].items():
                if was_of(part, option):
                    handler.resolve_ref_schema({"$ref": reference})["properties"].setdefault(option, new)
        return made

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> TrialConfig:
        """Reads a trial from a YAML file.

        Raises:
            UserError: anything is wrong; one line with file, line, key and what is asked for.
        """
        document = Document.read(path)
        plugins.in_document(document, Path(path).parent)
        try:
            return cls.model_validate(document.value)
        except ValidationError as error:
            raise document.error(mistakes(error, cls)) from None

    @classmethod
    def recorded(cls, text: str, folder: Path) -> TrialConfig:
        """Reads what `to_yaml` wrote into a file or a checkpoint of a folder.

        Args:
            folder: holds the plugins that it names, as `keep` puts them there.

        Raises:
            UserError: a plugin is missing, has changed, or is not trusted. ValidationError: these are no options of today's.
            YAMLError: it is no YAML, or of no sane size.
        """
        known = recorded(text)
        if isinstance(known, dict) and isinstance(known.get("plugins"), dict):
            plugins.recorded(known["plugins"], folder)
        return cls.model_validate(known)

    def keep(self, folder: Path) -> None:
        """Puts copies of the plugins into a folder that holds the trial's description, for `recorded`."""
        plugins.keep(self.plugins, folder)

    @property
    def training_threat(self) -> Threat:
        """What is trained against."""
        return self.threat or self.judge.threat

    @property
    def training_attack(self) -> Attack:
        """The defense's published attack with the trial's own options put in."""
        return self.defense.attack_with(self.attack)

    @property
    def smoothed_onto(self) -> Literal["all", "others"]:
        """Who shares the mass that label smoothing takes."""
        return self.batch.smoothed_onto or self.defense.published_smoothing

    @property
    def collapse(self) -> float:
        """The fall of PGD accuracy within an epoch that ends training; 1: none does."""
        said = self.checkpoints.collapse
        return self.defense.published_collapse if said is None else said

    def ignored(self) -> dict[Keys, str]:
        """What is asked for and would change nothing, by its key: who it is that does not look at it."""
        return {keys: who for keys in self.addressed() if (who := self.ignores(keys))}

    def addressed(self) -> frozenset[Keys]:
        """What is asked for and is for the making of x' alone, by its key."""
        found: list[Keys] = []
        if self.attack is not None:
            found.append(("attack",))
        if self.threat is not None and self.threat != self.judge.threat:
            found.append(("threat",))
        if self.curriculum is not None:
            own = type(self.curriculum).model_fields
            said = self.curriculum.model_fields_set
            scales = self.curriculum.changed & {"eps_scale", "step_scale"}
            found += [("curriculum", scale) for scale in sorted(scales) if scale in said or scale not in own]
        defaults = type(self.defense).model_fields
        found += [
            ("defense", option)
            for option in sorted(self.defense.perturbs_by)
            if getattr(self.defense, option) != defaults[option].default
        ]
        return frozenset(found)

    def ignores(self, keys: Keys) -> str:
        """Who does not look at an option for the making of x', "" where somebody does."""
        if not self.update.own_attack:
            return "" if "an_adversary" in self.defense.demands else f"{self.defense.name} has no adversary"
        heeded = keys in (("threat",), ("curriculum", "eps_scale"))
        return "" if heeded else f"update {self.update.name} makes x' itself"

    def objections(self, heeded: Collection[Keys] = ()) -> dict[Keys, str]:
        """What does not go together, by the key to change.

        Args:
            heeded: what may be ignored, since others who share it look at it.
        """
        if self.script is not None:
            beside = self.model_fields_set - {"plugins", "judge", "seed", "script"}
            why = f"{self.script.train} trains by itself and would ignore it; leave it out"
            return {(name,): why for name in sorted(beside)}
        found = {rule.key: f"{wrong}; {rule.remedy(self)}" for rule in RULES if (wrong := rule.wrong(self))}
        ignored = {keys: f"{who} and would ignore it; leave it out" for keys, who in self.ignored().items()}
        return {keys: what for keys, what in ignored.items() if keys not in heeded} | found

    def without_ignored(self) -> Self:
        """The same training without what it does not look at."""
        changes: dict[str, Any] = {key: None for key in ("attack", "threat") if self.ignores((key,))}
        if self.curriculum is not None:
            scales = {scale for scale in ("eps_scale", "step_scale") if self.ignores(("curriculum", scale))}
            changes["curriculum"] = self.curriculum.without(scales)
        if options := [option for option in self.defense.perturbs_by if self.ignores(("defense", option))]:
            defaults = type(self.defense).model_fields
            changes["defense"] = self.defense.model_copy(update={name: defaults[name].default for name in options})
        return self.model_copy(update=changes)

    def resolved(self) -> TrialConfig:
        """The same trial with every default written out, and null where nobody would look."""
        onto = self.smoothed_onto if self.batch.label_smoothing else None
        said = {
            "threat": None if self.ignores(("threat",)) else self.training_threat,
            "attack": None if self.ignores(("attack",)) else self.training_attack,
            "batch": self.batch.model_copy(update={"smoothed_onto": onto}),
            "checkpoints": self.checkpoints.model_copy(update={"collapse": self.collapse}),
        }
        return self.without_ignored().model_copy(update=said)

    @property
    def single(self) -> tuple[Keys, str] | None:
        """Why a single process has to train it, with the option that makes it so; None where several may."""
        if self.script is not None:
            return ("script",), f"{self.script.train} trains by itself, in a single process"
        if self.compile != "off":
            return ("compile",), "several processes cannot share a compiled network; use compile: off"
        return None

    @property
    def architecture(self) -> str:
        """What its network is called."""
        return self.model.name if self.script is None else self.script.model

    def network(self) -> nn.Module:
        """The trial's whole network as it is before training: x [B, C, H, W] in [0, 1] to logits [B, K].

        Weights are drawn from torch's global generator, which the caller seeds.

        Raises:
            UserError: the images are too small for it, or the function of a script fails.
        """
        from robustray.numerics import plain_where_needed

        if self.script is not None:
            return plain_where_needed(self.script.network(self.plugins, self.seed))
        return plain_where_needed(self.model.build(self.judge.data, self.defense.aux_outputs))

    def to_yaml(self) -> str:
        """The trial as YAML, every option written out; `recorded` reads it."""
        written = self.resolved().model_dump(mode="json")
        if self.script is not None:
            written = {name: written[name] for name in ("plugins", "judge", "seed", "script")}
        else:
            del written["script"]  # and where there are no plugins, descriptions are as they were before there were any
        if not self.plugins:
            del written["plugins"]
        return yaml.dump(written, Dumper=_DUMPER, sort_keys=False)


class Rule(NamedTuple):
    """What must hold between the options of a trial."""

    key: Keys
    """The option to change."""
    wrong: Callable[[TrialConfig], str]
    """What is wrong with a trial; "" where the rule holds or does not apply."""
    remedy: Callable[[TrialConfig], str]


def _second_order(trial: TrialConfig) -> str:
    asked = trial.compile != "off" and "second_order" in trial.defense.demands
    return f"defense {trial.defense.name} differentiates gradients, which compiled networks cannot" if asked else ""


def _hard_labels(trial: TrialConfig) -> str:
    mixing = [each.name for each in trial.batch.augment if each.soft_labels]
    asked = mixing and "hard_labels" in trial.defense.demands
    wrong = f"{trial.defense.name} needs labels of one class, but {(*mixing, '')[0]} in batch.augment mixes them"
    return wrong if asked else ""


def _takers(trial: TrialConfig) -> str:
    known = parts("defense").items()
    takers = [name for name, cls in known if issubclass(cls, Defense) and "hard_labels" not in cls.demands]
    return f"leave it out, or use one of {', '.join(takers)}"


def _float32(trial: TrialConfig) -> str:
    asked = trial.precision != "fp32" and "float32" in trial.defense.demands
    return f"the penalty of {trial.defense.name} is rounding noise in {trial.precision}" if asked else ""


def _an_adversary(trial: TrialConfig) -> str:
    asked = trial.update.own_attack and "an_adversary" not in trial.defense.demands
    return f"{trial.update.name} attacks images, but defense {trial.defense.name} has no adversary" if asked else ""


def _momentum(trial: TrialConfig) -> str:
    swing, momentum = trial.schedule.largest_momentum_shift, trial.optimiser.base_momentum
    stays = swing <= momentum < 1 - swing
    return "" if stays else f"momentum_swing {swing} takes the optimiser's momentum of {momentum} out of 0 to 1"


def _never(trial: TrialConfig) -> str:
    try:
        if trial.curriculum is not None:
            trial.curriculum.check(trial.schedule)
    except ValueError as error:
        return str(error)
    return ""


def _scaled(trial: TrialConfig) -> str:
    if trial.curriculum is None:
        return ""
    whole = ("beta_scale", trial.defense, "beta"), ("step_scale", trial.training_attack, "step_size")
    for scale, part, option in whole:
        if scale in trial.curriculum.changed and option not in type(part).model_fields:
            return f"{scale} needs something to scale, but {part.kind} {part.name} has no {option}"
    return ""


def _one_list(trial: TrialConfig) -> str:
    asked = trial.judge.one_list and trial.checkpoints.select == "best_robust"
    wrong = "select: best_robust needs validation images of its own, but judge.images.validation takes all of them"
    return wrong if asked else ""


RULES = (
    Rule(("compile",), _second_order, lambda _: "use compile: off"),
    Rule(("defense", "name"), _hard_labels, _takers),
    Rule(("precision",), _float32, lambda _: "use precision: fp32"),
    Rule(("update", "name"), _an_adversary, lambda _: "use another update"),
    Rule(("schedule", "momentum_swing"), _momentum, lambda _: "use a smaller swing"),
    Rule(("curriculum",), _never, lambda _: "or change the schedule"),
    Rule(("curriculum",), _scaled, lambda _: "leave the scale out"),
    Rule(("checkpoints", "select"), _one_list, lambda _: "judge fewer images, hold out more, or select: last"),
)
"""What must hold between options; what one option must be by itself is said where it is declared."""

_RECORD = frozenset({
    "judge", "seed", "batch", "model", "threat", "attack", "defense", "update", "averaging", "optimiser", "schedule",
    "curriculum", "precision", "compile", "deterministic", "checkpoints",
})  # fmt: skip
"""A mapping with all of these was written by `to_yaml` and tells what was trained: it is a record, and no request."""


def _reference(node: Mapping[str, Any]) -> dict[str, Any]:
    """The reference in a node of a JSON Schema, beside which there may be a default or a description."""
    return {"$ref": node["$ref"]} if "$ref" in node else {"$ref": node["allOf"][0]["$ref"]}
