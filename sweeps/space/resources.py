"""`resources` in a search space: what one trial gets, and how often it may fail."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from robustray.options.mistakes import Mistakes
from robustray.options.yaml import Keys, show
from robustray.registry import Count, Options, Real
from sweeps.space.amounts import Amount, Memory, Named
from sweeps.space.durations import Duration


class Resources(Options):
    """What one trial gets, and how often it may fail."""

    cpus: Literal["auto"] | Annotated[Real, Field(gt=0)] = Field("auto", description="CPU cores per trial")
    gpus: Literal["auto"] | Annotated[Amount, Field(ge=0)] = Field("auto", description="GPUs per trial, fractions too")
    memory: Memory | None = Field(
        None, description="of a node's memory that a job is given room by, such as 4 GiB; on a cluster, or a local Ray"
    )
    accelerator_type: str | None = Field(
        None,
        description="run on nodes with this accelerator only, by the name that Ray has for it: A100, H100, TPU-V4 ...",
        json_schema_extra={"pattern": "^[A-Za-z0-9_.-]{1,100}$"},
    )
    custom: Named = Field({}, description="amounts of what nodes were started with (`ray start --resources`), by name")
    processes: Count = Field(
        1,
        ge=1,
        le=64,
        description="processes of one node that train a trial together, each on a GPU of its own or, without GPUs, on cores; "
        "cpus and gpus are what all of them get",
    )
    trials_per_device: Literal["auto"] | Annotated[Count, Field(ge=1)] = Field(
        "auto",
        description="trials that share a GPU or, without GPUs, the cores of a machine; auto measures the first trial, once",
    )
    scale_to: Annotated[Count, Field(ge=1)] | None = Field(
        None,
        description="jobs at a time that the autoscaler of a cluster is asked to make room for, while there is work",
    )
    ship_code: bool = Field(
        False, description="send this package and plugins to the nodes of a cluster, which need not have them"
    )
    max_failures: Count = Field(3, ge=0, description="attempts without progress before a trial counts as failed")
    patience: Duration | None = Field(
        1800.0,
        gt=0,
        description="a job that gives no sign of life for so long, and for 20 times its longest pause before, hangs: its "
        "process is replaced, and it goes on from its checkpoint, which counts as an attempt; null for no such limit",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Resources:
        if self.trials_per_device != "auto" and (self.cpus != "auto" or self.gpus != "auto"):
            raise ValueError("takes trials_per_device, or cpus and gpus, but not both: each says what a trial gets")
        return self

    @model_validator(mode="after")
    def _each_its_own(self) -> Resources:
        many = self.processes
        if many == 1:
            return self
        found = dict[Keys, str]()
        if self.trials_per_device != "auto":
            found[("trials_per_device",)] = (
                f"is for trials that share a device, but each has {many} processes; leave it out"
            )
        if self.gpus not in ("auto", 0, many):
            found[("gpus",)] = f"must be {many}, one for each of the processes, or 0, not {self.gpus:g}"
        if self.cpus != "auto" and self.cpus < many:
            found[("cpus",)] = f"must be {many} at least, one for each of the processes, not {self.cpus:g}"
        if found:
            raise Mistakes(found)
        return self

    @field_validator("accelerator_type")
    @classmethod
    def _a_name(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", value):
            raise ValueError(f"must be the name of one accelerator, such as A100, not {show(value)}")
        return value

    @property
    def besides(self) -> dict[str, float]:
        """What every job takes of a node besides CPUs and GPUs, by the names that Ray has for it."""
        memory = {} if self.memory is None else {"memory": float(self.memory)}
        kind = {} if self.accelerator_type is None else {f"accelerator_type:{self.accelerator_type}": 0.001}
        return {**memory, **kind, **self.custom}
