"""How torch does arithmetic: float32 that is float32, determinism, layout."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Network = TypeVar("Network", bound=nn.Module)

# cuBLAS reads it at its first product, perhaps long before a deterministic trial of the same process; it is what cuBLAS takes
# by itself on the larger GPUs.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# float32's precision by backend and operation, each after what it falls back to. By name, since the property of mkldnn writes
# to the general one (torch 2.11 to 2.15).
_SETTINGS = [
    *(("generic", "all"), ("cuda", "all"), ("mkldnn", "all")),
    *((backend, operation) for backend in ("cuda", "mkldnn") for operation in ("conv", "rnn", "matmul")),
]
_get_precision: Any = torch._C._get_fp32_precision_getter
_set_precision: Any = torch._C._set_fp32_precision_setter


@contextmanager
def numerics(*, tf32: bool = False, deterministic: bool = False, fixed_shapes: bool = False) -> Iterator[None]:
    """float32 means float32 inside the block, whatever the process asked torch for, and it is left as it was found.

    Args:
        tf32: products and convolutions of float32 may be rounded to 10 bits of mantissa on CUDA. Torch does so by default in
            convolutions.
        deterministic: kernels that give the same bits on every run of the same device and versions.
        fixed_shapes: cuDNN times its kernels on each new shape and keeps the fastest; not together with `deterministic`.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    changes = strict[0] != deterministic  # else no call: it imports the compiler, which takes seconds
    try:
        with _float32(tf32), _no_autocast("cpu"), _no_autocast("cuda"):
            cudnn.benchmark, cudnn.deterministic = fixed_shapes and not deterministic, deterministic
            if changes:
                torch.use_deterministic_algorithms(deterministic)
            yield
    finally:
        torch.clear_autocast_cache()  # a caller's casts are of weights before they changed
        cudnn.benchmark, cudnn.deterministic = before
        if changes:
            torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])


def _no_autocast(device: str) -> torch.autocast:
    """Autocast that the caller may have around is off. A network's own keeps no casts of weights: torch would drop them at the
    end of the outermost block only, long after a step has changed the weights.
    """
    return torch.autocast(device, enabled=False, cache_enabled=False)


@contextmanager
def _float32(tf32: bool) -> Iterator[None]:
    """What float32 is on each backend, in both of torch's ways to say so: the compiler reads the older one.

    A process may have lowered it for good: `torch.set_float32_matmul_precision("medium")` makes products on a CPU bfloat16.
    """
    cudnn = torch.backends.cudnn
    products, convolutions = "highest", True  # as torch comes; reading either fails where the newer way was used
    with suppress(RuntimeError):
        products = torch.get_float32_matmul_precision()
    with suppress(RuntimeError):
        convolutions = cudnn.allow_tf32
    before = {}
    for setting in _SETTINGS:
        before[setting] = _get_precision(*setting)
        if setting[1] == "all":  # else those that fall back to it would read as it does
            _set_precision(*setting, "none")
    try:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        cudnn.allow_tf32 = tf32
        for backend, operation in before:
            if operation != "all":
                _set_precision(backend, operation, "tf32" if tf32 and backend == "cuda" else "ieee")
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        cudnn.allow_tf32 = convolutions
        for setting, precision in before.items():
            _set_precision(*setting, precision)


def bears_channels_last(model: nn.Module, device: torch.device) -> bool:
    """Whether every convolution is sound in channels_last on this device, weight gradients included."""
    return device.type != "cpu" or not any(_writes_astray(module) for module in model.modules())


def _writes_astray(module: nn.Module) -> bool:
    """Whether oneDNN writes outside its memory when it forms the weight gradient of this in channels_last.

    So it does (github.com/uxlfoundation/oneDNN/issues/6035; torch 2.11 to 2.15, float32 and bfloat16) for pointwise
    convolutions with a stride and fewer than 16 channels, of batches that its threads cannot share evenly: the process dies, or
    goes on with wrong numbers. The other layout is sound: see `plain_where_needed`.
    """
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and module.stride != (1, 1)
        and module.in_channels < 16
    )


def plain_where_needed(model: Network) -> Network:
    """The model itself, whose convolutions that are not sound in channels_last get activations in the other layout on a CPU.

    Weights alone do not decide: activations come in channels_last where images do. Those of one channel may without anybody
    having asked, for both layouts are the same memory then.
    """
    for module in model.modules():
        if _writes_astray(module) and _plain not in module._forward_pre_hooks.values():
            module.register_forward_pre_hook(_plain)
    return model


def _plain(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """A hook. Of one channel, or one pixel, `contiguous` is no answer: torch reads the layout off strides that mean nothing."""
    x = inputs[0]
    return None if x.device.type != "cpu" else (x.flatten(1).view(x.shape), *inputs[1:])


@torch.no_grad()
def channels_last(model: nn.Module, x: Tensor) -> None:
    """Puts the weights of convolutions into channels_last, and with them activations. The function stays the same.

    On a CPU a training step of PreActResNet-18 is 1.08 times as fast, of WRN-10-2 1.3 times. Networks without batch norm,
    which end in a view of all pixels, gain nothing there and lose up to a quarter on small images: they stay as they are.
    So does one that cannot do so (it takes a `view` of activations).

    Args:
        x: a few images to ask it about, [B, C, H, W], on its device.
    """
    if x.device.type == "cpu" and not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return
    modes = [(module, module.training) for module in model.modules()]
    kernels = [weight for weight in model.parameters() if weight.ndim == 4]
    before = [weight.data for weight in kernels]
    for weight in kernels:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    try:
        model.eval()(x)
    except RuntimeError:
        for weight, data in zip(kernels, before, strict=True):
            weight.data = data
    finally:
        for module, training in modes:
            module.training = training
