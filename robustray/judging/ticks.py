"""How far a running attack has come, counted in forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

Tick = Callable[[float], None]
"""Told how far a running attack has come, 0 to 1, now and then."""


@contextmanager
def counting(model: nn.Module, expected: int, tick: Tick | None) -> Iterator[None]:
    """Tells `tick` at the beginning and after about every hundredth of the forward passes that an attack makes."""
    if tick is None:
        yield
        return
    every, passed = max(1, expected // 100), 0
    tick(0.0)

    def count(*_: object) -> None:
        nonlocal passed
        passed += 1
        if passed % every == 0:
            tick(min(1.0, passed / expected))

    handle = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
