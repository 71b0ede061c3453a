"""torch, imported when something of it is first used: what declares options stays free of it, and reads like its paper.

    from robustray._later import F, Tensor, nn, torch

in place of the usual imports. Type checkers see the real modules. At run time each name fetches what it stands for on first
use; a class statement (`class Net(nn.Module)`) is a use, so files that hold networks import torch itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
else:

    class _Later:
        """Stands for a module until it is used. What was fetched once is an attribute, as fast as any other."""

        def __init__(self, name: str) -> None:
            self.__name__ = name

        def __getattr__(self, name: str) -> Any:
            found = getattr(importlib.import_module(self.__name__), name)
            setattr(self, name, found)
            return found

    torch, nn, F = _Later("torch"), _Later("torch.nn"), _Later("torch.nn.functional")

    class _Type(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, torch.Tensor)

    class Tensor(metaclass=_Type):
        """For annotations and `isinstance`."""


__all__ = ["F", "Tensor", "nn", "torch"]
