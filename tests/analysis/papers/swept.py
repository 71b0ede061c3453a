"""One small real sweep that every exhibit can be drawn from: real digits, real training, real measures."""

from __future__ import annotations

from pathlib import Path

from robustray.commands import certify_run, measure_epochs, measure_run
from robustray.commands.certify_asked import Asked as CertifyAsked
from robustray.commands.measure_run import Asked
from tests.sweeps.small import run_quietly, small_sweep

SPACE = """
name: whole
judge:
  data: {name: digits, validation: 300}
  threat: {norm: linf, eps: 0.1}
  cheap: {name: pgd, steps: 1}
  version: [apgd-ce]
  images: {validation: 40, test: 20}
  spatial: {rotation: 30, translation: 0, draws: 2}
  trials: none
trial:
  batch: {size: 100, images: 200}
  model: {name: small_cnn, width: 2}
  attack: {steps: 1}
  defense: {choice: [{name: trades, beta: {choice: [1, 3]}}, {name: score, beta: 1}]}
  curriculum:
    choice:
      - {name: stages, label: theta, stages: [{eps_scale: 0, rotation: 0}]}
      - {name: stages, label: eps, stages: [{eps_scale: 1, rotation: 0}]}
  schedule: {name: one_cycle, epochs: 2, lr: 0.1}
  checkpoints: {select: last, validate_every: 2, every: 1}
search: {sampler: grid, seed: 0}
derive: [{name: smoothing, parents: [0, 1], alpha: [0.6]}]
resources: {cpus: 1}
"""
MEASURES = (
    "clean_accuracy, {name: robust_accuracy, attack: {name: pgd, steps: 1}}, {name: lipschitz, steps: 1}, "
    "{name: robust_loss, attack: {steps: 1, restarts: 1}}"
)
OF_WEIGHTS = (
    "{name: flatness, draws: 2, attack: {steps: 1}}, {name: flatness, case: worst, draws: 1, steps: 1, attack: {steps: 1}}, "
    "{name: hessian, k: 1, restarts: 1, tolerance: 0.5}, {name: landscape, points: 3, directions: 2, attack: {steps: 1}}, "
    "input_gradients, "
    "{name: spatial, moves: {rotation: 30, translation: 0, draws: 2}}, "
    "{name: spatial, moves: {rotation: 90, translation: 0, draws: 2}}"
)
MEASURED = (0, 1, 2)
"""Trials of which all is measured."""


def whole(folder: Path) -> Path:
    """A finished sweep with everything measured of its first trials, a certified one, and a mixture."""
    results = folder / "whole"
    run_quietly(small_sweep(folder, text=SPACE), results)
    mixture = max(path.name for path in (results / "trials").iterdir())
    for name in (*(f"{number:04d}" for number in MEASURED), mixture):
        home = str(results / "trials" / name)
        if name == mixture:
            measured(home, "input_gradients")
            continue
        measured(home, MEASURES, splits="train,validation")
        measured(home, OF_WEIGHTS)
    first = str(results / "trials" / "0000")
    measured(first, "separation", splits="train,validation")
    over = Asked(
        first,
        "{name: robust_loss, attack: {steps: 1, restarts: 1}}",
        splits="train,validation",
        images=20,
        device="cpu",
    )
    measure_epochs.run(over, "all", lambda line: None)
    certify_run.run(
        CertifyAsked(model=first, sigma=0.25, samples=20, first=5, images=10, alphas=("0.76", "1"), device="cpu"),
        lambda line: None,
    )
    return results


def measured(home: str, measures: str, splits: str | None = None) -> None:
    measure_run.run(Asked(home, measures, splits=splits, images=20, device="cpu"), lambda line: None)
