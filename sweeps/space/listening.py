"""`listeners` in a search space: who else is told of what happens in a sweep."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator

from robustray.registry import Count, Options

Name = Literal["prometheus", "tensorboard", "mlflow", "wandb"]
FILE = "metrics.prom"


class Prometheus(Options):
    """Numbers of the running sweep for Prometheus: as a textfile, and where a port is named over HTTP on 127.0.0.1."""

    port: Count | None = Field(
        None,
        ge=0,
        le=65535,
        description=f"where GET /metrics is answered, on 127.0.0.1 alone; 0 is any free port, which a line names; {FILE} in "
        "the sweep's folder is written in any case, for the textfile collector of node_exporter",
    )


class TensorBoard(Options):
    """Curves of every trial and of the frontier for TensorBoard, in `tensorboard/` of the sweep's folder."""


class MLflow(Options):
    """A run per trial in MLflow, with its options, curves and outcome, and a run of the sweep around them."""

    uri: str | None = Field(
        None,
        min_length=1,
        description="where MLflow tracks; by default mlflow.db in the sweep's folder (or mlruns, where MLflow has no "
        "database). MLflow takes passwords from its own environment variables; none belongs here, for this is written down",
    )
    experiment: str | None = Field(None, min_length=1, description="by default the sweep's name")

    @field_validator("uri")
    @classmethod
    def _without_a_password(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password is not None:
            raise ValueError("holds a password, and is written down; MLflow takes it from MLFLOW_TRACKING_PASSWORD")
        return value


class WandB(Options):
    """A run per trial for Weights & Biases, kept in `wandb/` of the sweep's folder until `wandb sync` sends it."""

    project: str | None = Field(None, min_length=1, description="by default the sweep's name")
    mode: Literal["offline", "online"] = Field("offline", description="online sends it at once, and needs an account")


class Listeners(Options):
    """Who is told of what happens besides the terminal and the record, in any number; nobody by default.

    Each needs its package, which is looked for before anything starts. One that fails or hangs later is left out with a line:
    no listener hurts a sweep. A list of names is short for a mapping without options.
    """

    prometheus: Prometheus | None = Field(None, description="numbers of the sweep for Prometheus and Grafana")
    tensorboard: TensorBoard | None = Field(None, description="curves for TensorBoard")
    mlflow: MLflow | None = Field(None, description="runs in MLflow")
    wandb: WandB | None = Field(None, description="runs for Weights & Biases")

    @property
    def named(self) -> dict[str, Options]:
        """Those that are wanted, by name."""
        return {name: asked for name in type(self).model_fields if (asked := getattr(self, name)) is not None}


def _listed(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    return value


Listening = Annotated[Listeners, BeforeValidator(_listed, json_schema_input_type=list[Name] | Listeners)]
"""As a search space has them."""
