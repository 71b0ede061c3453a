"""The random streams of one trial, and torch's global generator lent to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from robustray.seeding import derive

_STREAMS = ("augment", "spatial", "labels", "attack", "update")


class Randomness:
    """Named generators derived from a trial's seed, plus a global stream for what draws from it (dropout, initialisation).

    The global stream is in force only inside `active`: an actor that runs trial after trial leaks nothing from one to the
    next, and whoever called the trainer finds torch's generator as it was.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed
        self.device = device
        self.streams = {n: torch.Generator(device).manual_seed(derive(seed, n)) for n in _STREAMS}
        with self._borrowed():
            torch.manual_seed(derive(seed, "network"))
            self._global = self._capture()
        self._lent = False

    def order(self, epoch: int, count: int) -> Tensor:
        """The order of training images in an epoch, int64 [count]: a function of seed and epoch, so it needs no state."""
        return torch.randperm(count, generator=torch.Generator().manual_seed(derive(self.seed, "order", epoch)))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Puts the trial's global stream in force, and keeps where it got to."""
        with self._borrowed():
            self._restore(self._global)
            self._lent = True
            try:
                yield
            finally:
                self._lent = False
                self._global = self._capture()

    @contextmanager
    def rolled_back(self, model: nn.Module) -> Iterator[None]:
        """Takes back what is drawn and how the model's buffers move inside: the pass after it draws the same masks."""
        buffers = list(model.buffers())
        values = [buffer.clone() for buffer in buffers]
        streams, world = {name: stream.get_state() for name, stream in self.streams.items()}, self._capture()
        yield
        for name, stream in self.streams.items():
            stream.set_state(streams[name])
        self._restore(world)
        if buffers:
            torch._foreach_copy_(buffers, values)

    def state_dict(self) -> dict[str, Tensor]:
        """Where every stream stands now."""
        world = self._capture() if self._lent else self._global
        return {**{name: stream.get_state() for name, stream in self.streams.items()}, **world}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Goes back to a saved place. A stream of another kind of device cannot, and starts anew from the seed."""
        for name, stream in self.streams.items():
            if state[name].shape == stream.get_state().shape:
                stream.set_state(state[name])
        self._global = {key: state[key] for key in self._global if key in state}

    def _capture(self) -> dict[str, Tensor]:
        state = {"global cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["global cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _restore(self, state: dict[str, Tensor]) -> None:
        torch.set_rng_state(state["global cpu"])
        if "global cuda" in state:
            torch.cuda.set_rng_state(state["global cuda"], self.device)

    @contextmanager
    def _borrowed(self) -> Iterator[None]:
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            yield
