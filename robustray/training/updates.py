"""How a batch becomes a weight change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from robustray.registry import Part, register

if TYPE_CHECKING:
    from torch import Tensor, nn

    from robustray.defenses._step import Loss


class BoundUpdate(Protocol):
    """An update at work on one model. It is called once per batch and leaves the gradient to descend in `.grad`."""

    def __call__(self, attack: Callable[[], Tensor], gradient: Callable[[Tensor], Loss]) -> Loss:
        """Makes x' with `attack`, puts the loss's gradient at x' into the weights with `gradient`; the loss there."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Update(Part):
    """How a batch becomes a weight change. Every update combines with every defense, and no defense knows of it."""

    kind: ClassVar[str] = "update"
    default: ClassVar[str | None] = "plain"

    @abstractmethod
    def bind(self, model: nn.Module) -> BoundUpdate:
        """This update, at work on a model."""


@register
class Plain(Update):
    """The gradient of the loss at x', nothing else."""

    name: Literal["plain"] = "plain"

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundPlain()


class _BoundPlain:
    def __call__(self, attack: Callable[[], Tensor], gradient: Callable[[Tensor], Loss]) -> Loss:
        return gradient(attack())

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
