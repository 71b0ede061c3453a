"""Measures as scripts beside papers take them, written plainly from what those do: their batches, passes and order of work.

Yang et al. (NeurIPS 2020) climb in batches of 16, ask for the answer to the image itself at every step, and let gradients run
to the weights too. Stutz et al. (ICCV 2021) take clean and attacked images in loops of their own, gradients to the weights
included, keep the best image of an attack example by example on the CPU, and ask for its answer once more; every moved model
is a copy. Their Hessian is one run of Lanczos for both ends, over products whose gradients go through `grad`. All start as the
originals do. The two do as many steps, restarts and draws as the measure beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from robustray.measures.base import Ground


def _batches(ground: Ground, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    return (ground.shard(number, size) for number in range(ground.shards(size)))


def lipschitz(ground: Ground, measure: Any) -> float:
    """Mean over images of ||f(x) - f(x')||_1 / ||x - x'||_inf, by ascent on it."""
    model, eps, total = ground.model, ground.threat.eps, 0.0

    def ratio(x: Tensor, x_adv: Tensor) -> Tensor:
        top: Tensor = (model(x) - model(x_adv)).abs().sum(1)
        return top / (x - x_adv + 1e-6).flatten(1).abs().amax(1)

    for x, _ in _batches(ground, 16):
        x_adv = x + 0.001 * torch.randn_like(x)
        for _ in range(measure.steps):
            x_adv = x_adv.detach().requires_grad_()
            ratio(x, x_adv).mean().backward()  # type: ignore[no-untyped-call]
            assert x_adv.grad is not None
            moved = x_adv.detach() + measure.step * eps * x_adv.grad.sign()
            x_adv = (x + (moved - x).clamp(-eps, eps)).clamp(0, 1)
        total += ratio(x, x_adv.detach()).sum().item()
    return total / len(ground)


def _attacked(model: nn.Module, ground: Ground, attack: Any, restarts: int) -> float:
    """Robust loss: the worst restart of each image."""
    eps, worst = ground.threat.eps, []
    for _ in range(restarts):
        losses = []
        for x, y in _batches(ground, 128):
            direction = torch.randn_like(x).flatten(1)
            direction *= eps * torch.rand(len(x), 1) / direction.abs().amax(1, keepdim=True)
            delta = direction.reshape(x.shape).requires_grad_()
            best, kept = np.full(len(x), 1e12), np.zeros(x.shape, np.float32)
            for step in range(attack.steps + 1):
                with torch.no_grad():
                    delta.copy_(((x + delta).clamp(0, 1) - x).clamp(-eps, eps))
                error = -F.cross_entropy(model(x + delta), y, reduction="none")
                for image in range(len(x)):
                    if error[image].item() < best[image]:
                        best[image] = error[image].item()
                        kept[image] = delta[image].detach().cpu().numpy()
                if delta.grad is not None:
                    delta.grad.zero_()
                error.sum().backward()  # type: ignore[no-untyped-call]
                if step < attack.steps:
                    assert delta.grad is not None
                    with torch.no_grad():
                        delta -= attack.step * eps * delta.grad.sign()
            there = model(x + torch.from_numpy(kept))
            losses.append(F.cross_entropy(there, y, reduction="none").detach().cpu().numpy())
        worst.append(np.concatenate(losses))
    return float(np.max(worst, axis=0).mean())


def _clean(model: nn.Module, ground: Ground) -> float:
    return float(np.mean([F.cross_entropy(model(x), y).item() for x, y in _batches(ground, 128)]))


def robust_loss(ground: Ground, measure: Any) -> float:
    """After a loop over clean images one over attacked ones, restart by restart."""
    _clean(ground.model, ground)
    return _attacked(ground.model, ground, measure.attack, measure.attack.restarts)


def flatness(ground: Ground, measure: Any) -> float:
    """The mean over moved models of their robust loss, less that of the model itself."""
    _clean(ground.model, ground)
    at = _attacked(ground.model, ground, measure.attack, measure.attack.restarts)
    found = []
    for _ in range(measure.draws):
        moved = copy.deepcopy(ground.model)
        with torch.no_grad():
            for weight in moved.parameters():
                nu = torch.randn_like(weight)
                weight.add_(measure.radius * weight.norm() * nu / nu.norm())
        found.append(_attacked(moved, ground, measure.attack, measure.attack.restarts))
        _clean(moved, ground)
    return float(np.mean(found)) - at


def hessian(ground: Ground, measure: Any) -> float:
    """The largest eigenvalue; of sums over batches of mean losses, as there."""
    model = ground.model
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    size = sum(weight.numel() for weight in weights)

    def product(vector: Any) -> Any:
        at, along = 0, []
        for weight in weights:
            along.append(torch.from_numpy(vector[at : at + weight.numel()]).view(weight.shape).float())
            at += weight.numel()
        model.zero_grad()
        for x, y in _batches(ground, 128):
            first = torch.autograd.grad(F.cross_entropy(model(x), y), weights, create_graph=True)
            slope = torch.zeros(1)
            for gradient, way in zip(first, along, strict=True):
                slope = slope + (gradient * way).sum()
            slope.backward()  # type: ignore[no-untyped-call]
        grads = [weight.grad for weight in weights]
        return np.concatenate([grad.numpy().ravel() for grad in grads if grad is not None])

    operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
    values = eigsh(operator, k=2 * measure.k, tol=1e-2, which="BE", return_eigenvectors=False)
    return float(values.max())


PLAIN: Mapping[str, Callable[[Ground, Any], float]] = {
    "lipschitz": lipschitz,
    "robust_loss": robust_loss,
    "flatness": flatness,
    "hessian": hessian,
}
"""By the measure's name, with its own options."""
