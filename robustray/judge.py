"""What a model is measured by: data, threat, attacks, how many images. Loads without torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.attacks.threats import Threat
from robustray.attacks.versions import VERSIONS, AttackName, VersionName
from robustray.data.base import DataSource
from robustray.data.moves import Moves
from robustray.data.splits import Indices, stratified
from robustray.errors import nearest
from robustray.registry import Count, Options, Registered


class JudgeImages(Options):
    """How many images are judged."""

    validation: Count | Literal["all"] = Field("all", description="validation images in the judge list")
    test: Count | Literal["all"] = Field("all", description="test images")

    @field_validator("validation", "test")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be at least 1, or all")
        return value


class Judge(Options):
    """What every trial of a sweep is measured by."""

    data: Annotated[DataSource, Registered("data")]
    threat: Threat = Field(description="the threat that accuracies are robust against")
    cheap: Annotated[Attack, Registered("attack")] = Field(
        Pgd(loss="margin", steps=20), description="the validation attack during training"
    )
    version: VersionName | tuple[AttackName, ...] = Field(
        "standard",
        description="standard is AutoAttack; plus, rand; apgd is its first two attacks; or a list of attacks",
    )
    accelerated: bool = Field(
        False,
        description="break images in low precision first; survivors meet the whole attack. Not called AutoAttack",
    )
    images: JudgeImages = Field(JudgeImages(), description="how many images are judged")
    spatial: Moves | None = Field(
        None,
        description="rotations and translations that the checkpoint that counts is measured under, once; null: none",
    )
    trials: Literal["frontier", "all", "none"] = Field(
        "frontier", description="judge what can be on the frontier, every trial, or none"
    )

    @field_validator("version", mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        known = get_args(AttackName)
        if value in known:  # one attack's name is a list of one
            return (value,)
        if isinstance(value, str) and value not in VERSIONS:
            raise PydanticCustomError("version", "there is no version '{value}'; {hint}",
                                      {"value": value, "hint": nearest(value, (*VERSIONS, *known))})  # fmt: skip
        if isinstance(value, list | tuple):
            unknown = [attack for attack in value if attack not in known]
            if unknown or not value or len(set(value)) < len(value):
                raise PydanticCustomError(
                    "version",
                    "must be standard, plus, rand, apgd, or a list of different attacks; {hint}",
                    {"hint": nearest(str((unknown or [""])[0]), known)},
                )
        return value

    @property
    def attacks(self) -> tuple[str, ...]:
        """The judge's attacks in order."""
        return VERSIONS[self.version] if isinstance(self.version, str) else self.version

    @property
    def version_name(self) -> str:
        """A name for folders and tables: the version, or its attacks."""
        name = self.version if isinstance(self.version, str) else "+".join(self.version)
        return f"{name}, accelerated" if self.accelerated else name

    @property
    def autoattack(self) -> bool:
        """Whether a result may be called AutoAttack: the authors' standard version."""
        return self.attacks == VERSIONS["standard"] and not self.accelerated

    @property
    def one_list(self) -> bool:
        """Whether the judge list takes all of validation, so that tuning and judging share one list."""
        return self.images.validation in ("all", self.data.validation)

    def lists(self) -> tuple[Indices, Indices]:
        """Rows of the validation split that are judged and that are tuned on, int64 [n] each; one list on tiny sets."""
        labels = self.data.load("validation").labels
        wanted = self.images.validation
        judged, tune = stratified(labels, len(labels) if wanted == "all" else wanted, "judge")
        return judged, judged if self.one_list else tune

    @model_validator(mode="after")
    def _enough(self) -> Judge:
        wanted, there = self.images.validation, self.data.validation
        if isinstance(wanted, int) and wanted > there:
            raise ValueError(f"images.validation is {wanted}, but data.validation holds out only {there}")
        return self
