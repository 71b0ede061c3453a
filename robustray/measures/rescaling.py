"""Rescaling of weights: another point of weight space, the same function (Stutz et al., ICCV 2021)."""

from __future__ import annotations

from typing import Any

from robustray import weight_space
from robustray._later import Tensor, nn, torch
from robustray.errors import UserError

PASSES = 2
"""Passes through the model of each image that `rescale` is given."""
_SLACK = 1e-3  # of the largest logit: rounding of float32 through many layers


def rescale(model: nn.Module, x: Tensor, factor: float) -> int:
    """Multiplies weights and biases by s > 0 wherever batch norm takes it out again; in eval mode logits stay as they are.

    The layer's running mean becomes s m, its running variance s^2 (v + e) - e, e the constant that batch norm adds: exact also
    where e is not small. What depends on weights relative to their length should stay too; second derivatives in those weights
    become 1 / s^2 of what they were (Stutz et al., ICCV 2021, arXiv:2104.04448, supplement).

    Args:
        model: changed in place; its parameters need no gradients. x: images [B, C, H, W] by which layers that follow each
            other are found, and the logits compared.

    Returns:
        How many layers were rescaled.

    Raises:
        UserError: no layer is followed by batch norm, or answers change: an output is used elsewhere too.
    """
    with torch.no_grad():
        pairs, before = _followed(model, x)
        if not pairs:
            raise UserError("rescale: no layer of this model is followed by batch norm at once; leave it out")
        for layer, norm in pairs:
            for parameter in layer.parameters():
                parameter.mul_(factor)
            norm.running_mean.mul_(factor)
            norm.running_var.add_(norm.eps).mul_(factor**2).sub_(norm.eps)
        apart = (model(x) - before).abs().max()
    if not bool(apart <= _SLACK * before.abs().max().clamp_min(1)):
        raise UserError(
            f"rescale: {factor:g} changes what this model answers, by up to {float(apart):.2g}; leave it out"
        )
    return len(pairs)


def _linear(module: nn.Module) -> bool:
    """Whether it looks like a layer that its weight and bias scale: also convolutions of other kinds. Answers tell the rest."""
    own = dict(module.named_parameters(recurse=False))
    leaf = next(module.children(), None) is None and not weight_space.normalises(module)
    return leaf and set(own) <= {"weight", "bias"} and "weight" in own and own["weight"].ndim > 1


def _followed(model: nn.Module, x: Tensor) -> tuple[list[tuple[nn.Module, Any]], Tensor]:
    """Layers with the batch norms that take exactly what they give, each called once; and the logits at x."""
    given: dict[int, tuple[nn.Module, Tensor, int]] = {}
    pairs, calls, hooks = list[tuple[nn.Module, Any]](), dict[nn.Module, int](), []

    def gave(module: nn.Module, _: Any, output: Tensor) -> None:
        calls[module] = calls.get(module, 0) + 1
        given[id(output)] = module, output, output._version

    def takes(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls[module] = calls.get(module, 0) + 1
        layer, output, version = given.get(id(inputs[0]), (None, None, 0))
        if layer is not None and output is inputs[0] and version == output._version:
            pairs.append((layer, module))

    for module in model.modules():
        if _linear(module):
            hooks.append(module.register_forward_hook(gave))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(takes))
    try:
        logits: Tensor = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return [(layer, norm) for layer, norm in pairs if calls[layer] == calls[norm] == 1], logits
