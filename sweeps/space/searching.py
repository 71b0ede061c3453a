"""How a space says which trials are tried: the sampler, how many, and what comes first."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from robustray.options.mistakes import Mistakes
from robustray.options.yaml import show
from robustray.registry import Count, Options
from sweeps.space import grids, picked

MOST_POINTS = 10_000
"""Of an option of a grid: each is a number that is held."""
TRIALS = 24
"""How many trials a sampler other than grid draws where nobody says."""


class Search(Options):
    """How trials are chosen."""

    sampler: Literal["auto", "tpe", "nsga2", "nsga3", "gp", "qmc", "random", "grid"] = Field(
        "auto",
        description="auto is the model of the race where `stopping` is one, and tpe otherwise; tpe, nsga2, nsga3 and gp (a "
        "Gaussian process, whose asks take seconds) learn from finished trials; qmc fills the space evenly, random "
        "does not; grid goes through all settings, in order",
    )
    trials: Literal["auto"] | Annotated[Count, Field(ge=1)] = Field(
        "auto", description=f"how many trials; auto is {TRIALS}, and all settings of a grid"
    )
    points: (
        Annotated[Count, Field(ge=2, le=MOST_POINTS)]
        | dict[str, Annotated[Count, Field(ge=2, le=MOST_POINTS)]]
        | tuple[picked.Point, ...]
        | None
    ) = Field(
        None,
        description="values in a grid of each option that is searched without steps, both ends included, at equal "
        "distances on its scale; or by the names of options. For other samplers a list of settings that are tried first, "
        "each a mapping of options to values; what it leaves out is the prior, else the default, else the middle",
    )
    first: Literal["auto", "published", "none"] = Field(
        "auto",
        description="published tries every defense of the space with its published options first, where they lie in their "
        "ranges; auto is published where `sampler` is auto, and none where it is named",
    )
    warm_start: tuple[str, ...] = Field(
        (),
        description="folders of other sweeps, RESULTS/NAME, whose trials the search learns from, where they would be the same "
        "trainings here; they count for nothing else, and are read once, when the sweep begins",
    )
    seed: Count = Field(0, ge=0, le=2**53, description="every random choice of the search derives from it")
    duplicates: Literal["end", "replicate"] = Field(
        "end",
        description="once all settings of a space have been tried: end, or replicate them with other seeds of training, those "
        "with the fewest trials first",
    )
    replicates: Literal["auto"] | Annotated[Count, Field(ge=0)] = Field(
        "auto",
        description="seeds of training that a setting near the frontier is to have: once half of the trials are spent, every "
        "third one trains such a setting again; 0 for none; auto is 3 for a sampler that learns in a search of 48 "
        "trials or more, else 0",
    )

    @model_validator(mode="before")
    @classmethod
    def _first_of_all(cls, value: Any) -> Any:
        """Decided by what was written: the sampler that auto comes to is a name like any other."""
        if isinstance(value, dict) and value.get("first", "auto") == "auto":
            automatic = value.get("sampler", cls.model_fields["sampler"].default) == "auto"
            return {**value, "first": "published"} if automatic else value
        return value

    @field_validator("warm_start")
    @classmethod
    def _folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [index for index, each in enumerate(value) if not each or "\0" in each]
        if wrong:
            raise Mistakes({(index,): f"must name a folder, not {show(value[index])}" for index in wrong})
        return value

    @field_validator("points", mode="before")
    @classmethod
    def _a_list_of_settings(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and (found := picked.no_points(value)):
            raise Mistakes(found)
        return value

    @model_validator(mode="after")
    def _points_of_a_grid(self) -> Search:
        if self.sampler == "grid":
            if isinstance(self.points, tuple):
                told = (
                    "a grid goes through all its settings, and takes how many values an option has: 5, or {option: 5}"
                )
                raise Mistakes({("points",): told})
            for name, given in (("first", self.first == "published"), ("warm_start", bool(self.warm_start))):
                if given:
                    raise Mistakes({(name,): "is nothing to a grid, which goes through all its settings in order"})
        elif self.points is not None and not isinstance(self.points, tuple):
            range_of = f"sampler {self.sampler} draws from the whole range"
            told = f"only a grid has points of its options; {range_of}, and takes a list of settings to try first"
            raise Mistakes({("points",): told})
        return self

    @property
    def chosen(self) -> tuple[picked.Point, ...]:
        """Settings that are tried first."""
        return self.points if isinstance(self.points, tuple) else ()

    @property
    def gridded(self) -> grids.Points | None:
        """How many points a grid has of its options."""
        return None if isinstance(self.points, tuple) else self.points
