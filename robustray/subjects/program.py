"""Networks as `torch.export` keeps them: a graph of operations and its weights, which needs no code of the network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.plain import line


class Program(nn.Module):
    """An exported program as a module: pixels [B, C, H, W] in [0, 1] to logits [B, K], differentiable in its input.

    It is always in eval mode, in which it was exported: torch refuses the calls that would ask for another, so they are not
    passed on. On another device the operations that make tensors make them there; in the file they name the CPU.

    Attributes:
        graph: the program's module, whose state has the names and values of the exported network's.
    """

    def __init__(self, graph: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self.training = False

    def train(self, mode: bool = True) -> Self:
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        place = fn(torch.zeros(())).device
        told: Any = self.graph
        for node in told.graph.nodes:
            if "device" in node.kwargs:
                node.kwargs = {**node.kwargs, "device": place}
        told.recompile()
        return self

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.graph(x)
        return logits


def read(path: Path) -> Program:
    """The program of a `.pt2` file, on the CPU.

    Raises:
        UserError: there is none, it is damaged, or a newer torch wrote it.
    """
    try:
        return Program(torch.export.load(path).module())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # what torch raises of damaged archives is of many kinds
        raise UserError(
            f"{path}: cannot be read as a program of torch.export; a newer torch than {torch.__version__} may have written "
            f"it, or it is damaged ({type(error).__name__}: {line(error)})"
        ) from None


def inside(model: nn.Module) -> nn.Module:
    """The module whose state has the names of the network: a program's graph, any other as it is."""
    return model.graph if isinstance(model, Program) else model
