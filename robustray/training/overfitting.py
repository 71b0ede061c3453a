"""The end of training at catastrophic overfitting."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from robustray.attacks.pgd import Pgd
from robustray.attacks.threats import Threat
from robustray.data.device import DeviceImages
from robustray.measures.accuracy import accuracies


class Guard:
    """Watches PGD accuracy on some training images from epoch to epoch (Wong et al., ICLR 2020, arXiv:2001.03994).

    Robustness that one-step training loses within an epoch does not come back: the weights before are the ones to keep.

    Args:
        drop: the fall of accuracy, a fraction, beyond which it is lost.
        images: what is attacked, by PGD-5 in eval mode, always from the same random starts.
        threat: what is trained against.
        through: what to call in a model's place; the model itself by default.
    """

    def __init__(
        self,
        drop: float,
        images: DeviceImages,
        threat: Threat,
        through: Callable[[nn.Module], nn.Module] = lambda model: model,
    ) -> None:
        self.drop = drop
        self.images = images
        self.through = through
        self.attack = Pgd(steps=5).bind(threat)
        self._accuracy = 0.0
        self._kept: list[dict[str, Tensor]] = []

    @property
    def passes(self) -> int:
        """Of one look."""
        return len(self.images) * (2 + self.attack.attack.passes)

    def collapsed(self, model: nn.Module, *others: nn.Module) -> bool:
        """Whether the model lost its robustness since the last look; it and the others then are what they were at it.

        Raises:
            NotFinite: the model or its gradients are not finite.
        """
        _, accuracy = accuracies(self.through(model), self.images, self.attack)
        if accuracy < self._accuracy - self.drop:
            for one, state in zip((model, *others), self._kept, strict=True):
                one.load_state_dict(state)
            return True
        self._accuracy, self._kept = accuracy, [copy.deepcopy(one.state_dict()) for one in (model, *others)]
        return False

    def state_dict(self) -> dict[str, Any]:
        """The last look: the accuracy there, and the weights."""
        return {"accuracy": self._accuracy, "kept": self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._accuracy, self._kept = state["accuracy"], state["kept"]
