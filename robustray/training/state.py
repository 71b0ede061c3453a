"""All that an identical continuation of a training needs, part by part, as a checkpoint holds it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.options.places import where_it_was
from robustray.training import checkpoints
from robustray.training.progress import Progress
from robustray.trial import TrialConfig

log = logging.getLogger("robustray")


class Stateful(Protocol):
    """Something that can be put into a checkpoint and taken out of it."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Becomes what it was, whatever device it was on."""
        ...


class Weights:
    """A model's part of a checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        return checkpoints.contiguous(self.model)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)


class Moments:
    """An optimiser's part of a checkpoint."""

    def __init__(self, optimiser: torch.optim.Optimizer) -> None:
        self.optimiser = optimiser

    def state_dict(self) -> dict[str, Any]:
        return self.optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Moments take the layout of their weights, which is another on another device: fused steps rely on it."""
        self.optimiser.load_state_dict(state)
        for weight, kept in self.optimiser.state.items():
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    kept[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


class State:
    """The state of one trial's training.

    Args:
        config: the trial. device: where it trains.
        parts: by the key that each has in the checkpoint; None for one that this trial does without.
        progress: how far training has come. flat: parts whose own keys lie beside these, as those of `progress` do.
        processes: how many train it together.
    """

    def __init__(
        self,
        config: TrialConfig,
        device: torch.device,
        parts: Mapping[str, Stateful | None],
        progress: Progress,
        flat: Sequence[Stateful],
        *,
        processes: int = 1,
    ) -> None:
        self.config = config
        self.device = device
        self.parts = parts
        self.progress = progress
        self.flat = (progress, *flat)
        self.processes = processes

    def state_dict(self) -> dict[str, Any]:
        """What `last.pt` holds."""
        state: dict[str, Any] = {"config": self.config.to_yaml(), **surroundings(self.device, self.processes)}
        state |= {name: None if part is None else part.state_dict() for name, part in self.parts.items()}
        for part in self.flat:
            state |= part.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to a saved place, and notes where training will not go on from it bit for bit."""
        for name, part in self.parts.items():
            if part is not None:
                part.load_state_dict(state[name])
        for part in self.flat:
            part.load_state_dict(state)
        now = surroundings(self.device, self.processes)
        same = all(state.get(key, 1) == value for key, value in now.items())  # once there was one process alone
        self.progress.exact &= self.progress.done or (same and repeatable(self.config, self.device))

    def save(self, folder: Path) -> None:
        """Writes `last.pt`; what it was becomes `previous.pt`."""
        checkpoints.save_last(folder, self.state_dict())

    def restore(self, folder: Path) -> None:
        """Goes back to the newest whole checkpoint in a folder, if there is one.

        Raises:
            UserError: it is one of a trial with other options.
        """
        state, damage = checkpoints.load_last(folder)
        for line in damage:
            log.warning("%s; going back to the checkpoint before it", line)
        if state is None:
            return
        if damage:  # keep it out of the way: the next save must not push it onto previous.pt
            (folder / "last.pt").replace(folder / "damaged.pt")
        then = options(state["config"], folder)
        if then is None or then != where_it_was(then, self.config.resolved()):
            raise UserError(f"{folder}: holds the checkpoint of a trial with other options")
        self.load_state_dict(state)


def surroundings(device: torch.device, processes: int) -> dict[str, Any]:
    """What the bits of a training depend on beside the trial: CPU threads, processes, torch, the kind of device."""
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"  # the same kernels on each of it
    return {"threads": torch.get_num_threads(), "torch": str(torch.__version__), "device": kind, "processes": processes}


def repeatable(config: TrialConfig, device: torch.device) -> bool:
    """Whether a training that begins anew in the same surroundings makes the same bits."""
    return (device.type == "cpu" or config.deterministic) and config.compile == "off"


def options(text: str, folder: Path) -> TrialConfig | None:
    """The trial that a checkpoint of a folder is of, whichever options were there when it was written; None where they cannot
    be read."""
    try:
        return TrialConfig.recorded(text, folder).resolved()
    except ValidationError:
        return None
