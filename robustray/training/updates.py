"""How a batch becomes a weight change: what every update is, and the plain one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from robustray._later import Tensor, nn, torch
from robustray.attacks.threats import Threat
from robustray.defenses.step import Loss
from robustray.registry import Part, register


@dataclass(frozen=True)
class Minibatch:
    """One batch as an update sees it, which knows neither the defense nor the optimiser.

    Args:
        x: images [B, C, H, W] in [0, 1]. threat: what x' may be at this moment.
        attack: makes x' [B, C, H, W] at the weights as they are.
        gradient: x' -> the loss there, with its gradient left in the weights' `.grad` in place of what was there, and in
            that of x' where x' asks for one. Batch norm's buffers move as in any pass in training mode.
        descend: makes an optimiser step of the gradient that is there. The last one of a batch is not the update's.
        rolled_back: takes back what is drawn and how buffers move inside its block: the pass after it draws the same masks.
        generator: the update's own stream of random numbers.
    """

    x: Tensor
    threat: Threat
    attack: Callable[[], Tensor]
    gradient: Callable[[Tensor], Loss]
    descend: Callable[[], None]
    rolled_back: Callable[[], AbstractContextManager[None]]
    generator: torch.Generator


class BoundUpdate(Protocol):
    """An update at work on one model. It is called once per batch and leaves the gradient to descend in `.grad`."""

    def __call__(self, batch: Minibatch) -> Loss:
        """Puts the gradient to descend into the weights, which are where they were, and returns the loss it is of."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Update(Part):
    """How a batch becomes a weight change. Every update combines with every defense, and no defense knows of it."""

    kind: ClassVar[str] = "update"
    default: ClassVar[str | None] = "plain"
    own_attack: ClassVar[bool] = False
    """Whether it makes x' itself, and does not run the trial's attack."""

    @abstractmethod
    def bind(self, model: nn.Module) -> BoundUpdate:
        """This update, at work on a model."""

    @property
    def descents(self) -> int:
        """Optimiser steps per batch."""
        return 1


class Stateless:
    """The state of an update that keeps nothing from batch to batch."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@register
class Plain(Update):
    """The gradient of the loss at x', nothing else. Passes per image: those of x' and of the loss."""

    name: Literal["plain"] = "plain"

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundPlain()


class _BoundPlain(Stateless):
    def __call__(self, batch: Minibatch) -> Loss:
        return batch.gradient(batch.attack())
