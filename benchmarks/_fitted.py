"""A table made dense: small networks fitted to its curves, so that nearly every setting of the space can be had.

A searcher that is a Gaussian process meets no Gaussian process here. Truth is what the networks say; a training is the truth
and the deviation of one training from the mean of its setting, of one of the 20 most similar settings that were trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from torch import nn

from robustray.seeding import derive
from sweeps.search.race.encoding import Encoding
from sweeps.search.sampling import at
from sweeps.search.tabled import Curves
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter

Array = NDArray[np.float64]
SETTINGS = 2000
NETWORKS = 3
COMPONENTS = 8
SIMILAR = 20
STEPS = 1200
FAITHFUL = 0.75
"""R^2 of the worst objective, from which on a dense table stands for the table."""
FOLDS = 5
_LOW, _HIGH = 0.003, 0.997
GRAIN = 0.005
"""Truth is rounded to this: a frontier's end would else lie where robustness is given for a thousandth of clean accuracy."""
VERSION = 2


def fitted(sweep: Sweep, curves: Curves, seed: int, keep: Path) -> Curves:
    """The dense table of a seed: networks of another one are others. What is in `keep` already is not made again."""
    name = f"{curves.digest()}-{seed}-{SETTINGS}-{VERSION}"
    file = keep / f"fitted-{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        made = _made(sweep, curves, seed)
        keep.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{torch.initial_seed() % 10**6}.part.npz")
        settings = json.dumps([dict(each) for each in made.settings])
        np.savez_compressed(part, settings=settings, seconds=made.seconds, seen=made.seen, final=made.final)
        part.replace(file)
    with np.load(file) as arrays:
        settings = json.loads(str(arrays["settings"]))
        return Curves(settings, curves.epochs, arrays["seconds"], arrays["seen"], arrays["final"])


def fit_error(sweep: Sweep, curves: Curves, keep: Path) -> Array:
    """[objectives] R^2 of final values of settings that the networks have not seen, in the scale of accuracies."""
    file = keep / f"fitted-{curves.digest()[:16]}-{VERSION}.json"
    if not file.exists():
        keep.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(_fit_error(sweep, curves).tolist()))
    return np.array(json.loads(file.read_text()))


def _fit_error(sweep: Sweep, curves: Curves) -> Array:
    x, y, _ = _data(sweep, curves)
    folds = np.random.default_rng(0).permutation(len(x)) % FOLDS
    found = np.zeros_like(y)
    for fold in range(FOLDS):
        own = folds == fold
        found[own] = _mean(_networks(x[~own], y[~own], fold, networks=1), x[own])
    m = curves.seen.shape[-1]
    true, guess = (_shares(each.reshape(len(x), -1, m)[:, -1]) for each in (y, found))
    return np.asarray(1 - ((true - guess) ** 2).sum(0) / ((true - true.mean(0)) ** 2).sum(0))


def _made(sweep: Sweep, curves: Curves, seed: int) -> Curves:
    x, y, deviations = _data(sweep, curves)
    epochs, m = curves.seen.shape[2:]
    settings = _draws(sweep, seed)
    encoding = Encoding(sweep.space, sweep.ask)
    points = encoding.inputs(np.array([encoding.coordinates(each) for each in settings]))
    truth = _mean(_networks(x, y, seed, networks=NETWORKS), points).reshape(-1, epochs, m)
    away = ((points[:, None] - x[None]) ** 2).sum(-1)
    similar = np.argsort(away, axis=1)[:, :SIMILAR]
    rng = np.random.default_rng(derive(seed, "deviations"))
    seeds = curves.seeds
    picked = similar[np.arange(len(points))[:, None], rng.integers(similar.shape[1], size=(len(points), seeds))]
    shifted = truth[:, None] + deviations[picked, rng.integers(seeds, size=picked.shape)]
    whole = np.round(_shares(truth[:, -1]) / GRAIN) * GRAIN
    final = np.repeat(whole[:, None], seeds, axis=1)
    each = np.exp(_paces(x, curves, points))
    seconds = np.repeat((each[:, None] * np.asarray(curves.epochs))[:, None], seeds, axis=1)
    return Curves(settings, curves.epochs, seconds, _shares(shifted), final)


def _data(sweep: Sweep, curves: Curves) -> tuple[Array, Array, Array]:
    """Inputs [n, d], mean curves [n, epochs * objectives] and deviations [n, seeds, epochs, objectives], of log odds."""
    encoding = Encoding(sweep.space, sweep.ask)
    x = encoding.inputs(np.array([encoding.coordinates(each) for each in curves.settings]))
    ruined = np.nan_to_num(curves.seen, nan=_LOW)  # a training that broke off classifies nothing
    odds = np.log(np.clip(ruined, _LOW, _HIGH) / (1 - np.clip(ruined, _LOW, _HIGH)))
    mean = odds.mean(1)
    kept = np.asarray(~np.isnan(curves.seen).any(axis=(1, 2, 3)))
    spread = np.where(kept[:, None, None, None], odds - mean[:, None], 0.0)
    spread *= np.sqrt(curves.seeds / max(curves.seeds - 1, 1))  # what the mean of few takes away
    return x, mean.reshape(len(x), -1), spread


class _Fit:
    """Networks from inputs to the first components of curves."""

    def __init__(self, nets: Sequence[Any], mean: Array, axes: Array) -> None:
        self.nets, self.mean, self.axes = nets, mean, axes


def _networks(x: Array, y: Array, seed: int, *, networks: int) -> _Fit:
    mean = y.mean(0)
    _, scale, axes = np.linalg.svd(y - mean, full_matrices=False)
    axes, scale = axes[:COMPONENTS], scale[:COMPONENTS] / np.sqrt(len(y))
    target = torch.tensor((y - mean) @ axes.T / scale, dtype=torch.float32)
    given = torch.tensor(2 * x - 1, dtype=torch.float32)
    weight = torch.tensor(scale / scale[0], dtype=torch.float32)
    nets = []
    for number in range(networks):
        torch.manual_seed(derive(seed, "network", number) % 2**31)
        net = nn.Sequential(
            nn.Linear(x.shape[1], 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, len(axes))
        )
        optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3, weight_decay=0.03)
        rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for _ in range(STEPS):
            optimiser.zero_grad()
            noisy = given + 0.05 * torch.randn_like(given)
            (((net(noisy) - target) * weight) ** 2).mean().backward()
            optimiser.step()
            rates.step()
        nets.append(net)
    return _Fit(nets, mean, axes * scale[:, None])


def _mean(fit: _Fit, x: Array) -> Array:
    with torch.no_grad():
        given = torch.tensor(2 * x - 1, dtype=torch.float32)
        found = torch.stack([net(given) for net in fit.nets]).mean(0).numpy().astype(np.float64)
    return fit.mean + found @ fit.axes


def _paces(x: Array, curves: Curves, points: Array) -> Array:
    """[n] log seconds per epoch: a ridge on inputs and their products, since a machine's times are mostly noise."""
    known = ~np.isnan(curves.seconds)
    paces = np.where(known, curves.seconds, np.nan) / np.asarray(curves.epochs)
    y = np.log(np.nanmedian(paces.reshape(len(x), -1), axis=1))
    kept = ~np.isnan(y)
    a = _features(x[kept])
    return np.asarray(_features(points) @ np.linalg.solve(a.T @ a + 1e-3 * np.eye(a.shape[1]), a.T @ y[kept]))


def _features(x: Array) -> Array:
    return np.column_stack([np.ones(len(x)), x, x**2])


def _shares(odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-odds)))


def _value(values: Mapping[str, object], parameter: Parameter) -> object:
    return values[parameter.name]


def _draws(sweep: Sweep, seed: int) -> list[dict[str, object]]:
    """Settings that fill the space evenly, no two of them equal."""
    from scipy.stats import qmc

    names = [parameter.name for parameter in sweep.space]
    known = {parameter.name: parameter.distribution.to_optuna() for parameter in sweep.space}
    found: dict[frozenset[tuple[str, object]], dict[str, object]] = {}
    engine = qmc.Sobol(len(names), seed=derive(seed, "dense") % 2**32)
    while len(found) < SETTINGS:
        before = len(found)
        for row in engine.random(1024).tolist():
            shares = dict(zip(names, row, strict=True))
            params = sweep.ask(partial(_at, shares, known))
            found.setdefault(frozenset(params.items()), params)
        if len(found) == before:
            break
    return list(found.values())[:SETTINGS]


def _at(shares: dict[str, float], known: dict[str, BaseDistribution], parameter: Parameter) -> object:
    return at(shares[parameter.name], known[parameter.name])
