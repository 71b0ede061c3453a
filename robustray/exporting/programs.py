"""A network as a program of `torch.export`, or of ONNX: made, and compared with the network it came from."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robustray.errors import UserError
from robustray.plain import line
from robustray.subjects import program
from robustray.training.checkpoints import weights_hash

TOLERANCE = 1e-5
"""Largest difference of logits or gradients, over the largest of them, that other kernels may make."""
ONNX_TOLERANCE = 1e-3
"""The same of ONNX, whose kernels are another library's."""
ONNX_PACKAGES = "onnx", "onnxscript", "onnxruntime"
BATCHES = (1, 3, 8)
"""Batch sizes that a program is asked about: one of them it was exported with."""


class NoProgram(Exception):
    """The network cannot be exported; the message says why."""


@dataclass(frozen=True)
class Compared:
    """How a program answers beside the network that it came from."""

    logits: float  # the largest difference over the largest logit
    gradients: bool | None  # whether the gradients of logits by pixels agree; None: the network has none


def exported(model: nn.Module, x: Tensor) -> tuple[bytes, Compared]:
    """A program with a batch of any size, as the bytes of a `.pt2` file, and how it compares with the network.

    The program is written, read again and asked about batches of 1, 3 and 8 images; whoever draws random numbers is seeded.
    Straight-through gradients that a network writes for itself (`autograd.Function`) are none of its operations, so a
    program's gradients are its operations' own: they are compared too.

    Args:
        model: in eval mode, frozen, on the CPU. x: a few images [B, C, H, W] in [0, 1].

    Raises:
        NoProgram: the network does what no graph holds (its way depends on the images, it asks numpy, it calls autograd), it
            fixes the batch, or the program answers otherwise.
    """
    buffer = io.BytesIO()  # in memory: on a full disk torch's writer of files ends the process, without an exception
    with _quiet():
        try:
            made = torch.export.export(model, (_some(x, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
            torch.export.save(made, buffer)
            read = program.Program(torch.export.load(io.BytesIO(buffer.getvalue())).module())
        except Exception as error:  # whatever a network does that no graph holds
            raise NoProgram(_reason(error)) from None
    content = buffer.getvalue()
    if weights_hash(read.graph.state_dict()) != weights_hash(model.state_dict()):
        raise NoProgram("its program has other weights, or other names for them")
    return content, compared(model, read, x)


def compared(model: nn.Module, other: nn.Module, x: Tensor) -> Compared:
    """How two networks' answers to x [B, C, H, W] compare, and their gradients; whatever is drawn is drawn alike.

    Raises:
        NoProgram: the logits are more than `TOLERANCE` apart, or the other one takes no batch of another size.
    """
    furthest = _furthest(model, other, x, TOLERANCE)
    slopes = [_slope(each, _some(x, 3)) for each in (model, other)]
    if slopes[0] is None:
        return Compared(furthest, None)
    return Compared(furthest, slopes[1] is not None and _apart(slopes[0], slopes[1]) <= TOLERANCE)


def _furthest(model: nn.Module, other: Callable[[Tensor], Tensor], x: Tensor, tolerance: float) -> float:
    """The largest difference of logits over the largest of them; raises as `compared`."""
    furthest = 0.0
    for size in BATCHES:
        images = _some(x, size)
        try:
            here, there = _asked(model, images), _asked(other, images)
        except RuntimeError as error:
            raise NoProgram(f"its program takes no batch of {size} images ({line(error)})") from None
        furthest = max(furthest, _apart(here, there))
    if not furthest <= tolerance:
        raise NoProgram(f"its program gives other logits, {furthest:.1e} of the largest apart")
    return furthest


def onnx(model: nn.Module, x: Tensor, path: Path) -> None:
    """Writes a network as ONNX, batch of any size, input `pixels` and output `logits`, and compares what ONNX Runtime says.

    Args:
        x: a few images [B, C, H, W] in [0, 1].

    Raises:
        UserError: the packages are missing. NoProgram: ONNX has no such operations, or the network cannot be exported.
    """
    needs_onnx()
    import onnxruntime

    with _quiet():
        try:
            torch.onnx.export(
                model,
                (_some(x, 3),),
                str(path),
                dynamo=True,
                external_data=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["pixels"],
                output_names=["logits"],
            )
        except Exception as error:
            raise NoProgram(_reason(error)) from None
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    _furthest(model, lambda x: torch.from_numpy(session.run(["logits"], {"pixels": x.numpy()})[0]), x, ONNX_TOLERANCE)


def needs_onnx() -> None:
    """Raises UserError: a package that ONNX needs is not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--format onnx: needs the package {missing[0]}: pip install 'robustray[onnx]'")


def _some(x: Tensor, size: int) -> Tensor:
    """So many images, the first ones again where there are fewer."""
    return x[torch.arange(size) % len(x)]


def _asked(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        logits: Tensor = model(x)
    return logits


def _slope(model: nn.Module, x: Tensor) -> Tensor | None:
    """Of a sum of logits, each with another weight, by pixels; None where no gradient reaches them."""
    x = x.clone().requires_grad_()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        logits = model(x)
        if not logits.requires_grad:
            return None
        weights = torch.arange(1, logits.shape[1] + 1).to(logits).cos()
        (slope,) = torch.autograd.grad((logits * weights).sum(), x, allow_unused=True)
    return slope


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest absolute value; infinite where shapes or what is finite differ."""
    if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
        return float("inf")
    a, b = (each.double().nan_to_num() for each in (a, b))
    return float((a - b).abs().amax()) / max(float(a.abs().amax()), 1e-12)


def _reason(error: Exception) -> str:
    text = str(error)
    if "specialized it to be a constant" in text:
        return "it fixes the size of the batch: it counts images in Python, by len(x) or a loop over them"
    if "data-dependent" in text:
        return "its way depends on what it sees, by a condition in Python"
    return f"torch.export cannot follow it ({type(error).__name__}: {line(error)})"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch tells of its every step while it exports, on both streams and in its log."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
