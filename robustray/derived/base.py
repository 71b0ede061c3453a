"""What makes a derived point: a classifier out of others, without training or with a little."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from robustray import plugins
from robustray._later import nn, torch
from robustray.judge import Judge
from robustray.models.given import ZOO
from robustray.registry import Part
from robustray.trial import TrialConfig

Numbers = Mapping[str, Any]
"""What tells one point of a request from the others, plain values: `{"alpha": 0.7}`, `{"weights": [0.25, 0.75]}`."""


@dataclass(frozen=True)
class Parent:
    """A classifier that points are made of: pixels [B, C, H, W] in [0, 1] to logits [B, K], in eval mode, frozen."""

    spec: str  # where it is found again: a trial's folder, a checkpoint, zoo:NAME, file.py:function
    model: nn.Module
    weights: str  # SHA-256 of its state
    config: TrialConfig | None = None  # where it comes from a trial of ours: its architecture and how it was trained


@dataclass(frozen=True)
class Ground:
    """Where a point is made."""

    judge: Judge  # the images and the threat it is made for
    device: torch.device
    folder: Path  # the point's own: what a killed process goes on from lies here
    kept: Path  # what several points of the same parents share lies here, by hash
    stop: threading.Event = field(
        default_factory=threading.Event
    )  # set: end soon, raising Paused, keeping what was done
    tell: Callable[[Mapping[str, Any]], None] = lambda progress: None  # hears how far a long making has come


@dataclass(frozen=True)
class Made:
    """A point, as its maker gives it."""

    model: nn.Module  # in eval mode, frozen, on the ground's device
    state: Mapping[str, torch.Tensor]  # what `build` needs besides the parents
    said: Mapping[str, Any] = field(default_factory=dict)  # what was found: a barrier, the numbers that a grid chose
    passes: float = 0.0  # as METRICS["cost_passes"] counts them, per parent's forward of an image


def _who(value: object) -> object:
    """One parent in words; trials may be written as numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Who = Annotated[str, BeforeValidator(_who), Field(min_length=1)]


def _list(value: object) -> object:
    if isinstance(value, str) and value != "neighbours":
        raise PydanticCustomError(
            "parents", "must be neighbours or a list of parents, not '{value}'; write [{value}, ...]", {"value": value}
        )
    return value


Parents = Annotated[Literal["neighbours"] | tuple[Who, ...], BeforeValidator(_list)]


class Maker(Part):
    """A way to make classifiers from others. A request in a search space is one of these; it asks for several points.

    Attributes:
        least, most: how many parents a point takes; most None: any number.
        mixes: whether a point's answer is a function of its parents' answers: it is attacked through its parts as well.
        alike: whether parents must be of one architecture.
        keeps_classes: whether of one model twice it makes that model's classes at every image.
    """

    kind: ClassVar[str] = "derive"
    least: ClassVar[int] = 2
    most: ClassVar[int | None] = 2
    mixes: ClassVar[bool] = False
    alike: ClassVar[bool] = False
    keeps_classes: ClassVar[bool] = True

    parents: Parents = Field(
        "neighbours",
        description="what points are made of: neighbours (every two settings beside each other on the trained frontier), or a "
        "list of cleanest, most_robust, a trial's number, NUMBER@EPOCH for a kept snapshot, a checkpoint, zoo:NAME, "
        "file.py:function",
    )

    @abstractmethod
    def numbers(self, parents: int) -> list[dict[str, Any]]:
        """What is made of one group of so many parents: the numbers of each point.

        Raises:
            UserError: the options do not fit so many parents.
        """

    @abstractmethod
    def make(self, parents: Sequence[Parent], numbers: Numbers, ground: Ground) -> Made:
        """Makes one point.

        Args:
            parents: on the ground's device; of two, the more accurate one on clean images first.

        Raises:
            UserError: these parents do not go together. Paused: the ground's stop was set.
        """

    @abstractmethod
    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, torch.Tensor]) -> nn.Module:
        """The point again, from what was kept; parents are networks of the same architectures, which it may take over."""

    def found(self, said: Mapping[str, Any]) -> str:
        """What was found out while a point was made (`Made.said`), in a line; "" where there is nothing to tell."""
        return ""

    def trust(self) -> None:
        """Trusts the functions among the parents, which the user has named himself: they are code."""
        for word in () if self.parents == "neighbours" else self.parents:
            if ":" in word and not word.startswith(ZOO):
                plugins.trust_parent(word)

    @property
    def trains(self) -> bool:
        """Whether a point takes some training after all."""
        return False

    @property
    def whole(self) -> bool:
        """Whether a point's own state holds all of its weights, so that parents give the architecture only."""
        return not self.mixes
