"""The papers' tables and figures on handwritten digits, as docs/gallery.md shows them: sweeps, measures, exhibits.

    python benchmarks/papers_figures.py results/papers [NAME ...]

runs the sweeps that the named exhibits (default: all) need, measures their trials, and draws each exhibit into the folder;
killed at any moment, the same command goes on. Small networks, two seeds: figures show what each is, not what the papers found.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import sweeps
from analysis.papers.exhibit import publish
from analysis.papers.registry import EXHIBITS
from robustray.commands import certify_run, measure_epochs, measure_run
from robustray.commands.certify_asked import Asked as CertifyAsked
from robustray.commands.exits import INTERRUPTED
from robustray.commands.measure_run import Asked
from sweeps.space import Sweep

SPACES = Path(__file__).parents[1] / "search_spaces"
_GRID = "search={{sampler: grid, duplicates: replicate, trials: {}, seed: 0}}"
_SMALL = ("judge.images={validation: 200}", "trial.averaging=none", "measures={}", "measuring=members")
_ANGLES = ", ".join(
    f"{{name: spatial, moves: {{rotation: {angle}, translation: 0}}}}" for angle in (15, 30, 60, 90, 180)
)


@dataclass(frozen=True)
class Taken:
    """Measures of some trials of a sweep; all: of every trial and point."""

    measures: str
    trials: Sequence[int] | None = None
    splits: str | None = None
    images: int = 200
    epochs: bool = False


@dataclass(frozen=True)
class Source:
    """A sweep, by a shipped space and what is set in it, and what is measured of its trials."""

    space: str
    settings: Sequence[str]
    taken: Sequence[Taken] = field(default_factory=tuple)
    certified: int | None = None


SOURCES: Mapping[str, Source] = {
    "defenses": Source(
        "explained_digits",
        (
            *_SMALL,
            "trial.defense={choice: [natural, {name: tulip, lam: 1, h: 1}, {name: llr, lam: 4, mu: 3}, adversarial, "
            "{name: rst, lam: {choice: [0.5, 2]}}, {name: trades, beta: {choice: [1, 3, 6]}}]}",
            "trial.schedule={name: one_cycle, epochs: 12, lr: 0.1}",
            "trial.checkpoints={select: last, validate_every: 4}",
            _GRID.format(18),
        ),
        (
            Taken(
                "clean_accuracy, {name: robust_accuracy, attack: {name: pgd, steps: 10, step_size: {of_eps: 0.2}, loss: ce, "
                "keep: last}}, lipschitz",
                splits="train,validation",
            ),
            Taken("separation", (0,), "train,validation"),
            Taken(
                "{name: robust_loss, attack: {restarts: 2}}, {name: flatness, draws: 5, attack: {steps: 10}}, "
                "{name: flatness, case: worst, draws: 1, steps: 10}, hessian",
                images=100,
            ),
            Taken(
                "{name: landscape, points: 21, directions: 5}, "
                "{name: landscape, direction: adversarial, points: 21, directions: 2}",
                (0, 1, 7),
                images=60,
            ),
        ),
    ),
    "divergences": Source(
        "explained_digits",
        (
            *_SMALL,
            "trial.defense={choice: [{name: trades, beta: {choice: [0.5, 1, 3, 6, 10]}}, "
            "{name: score, divergence: lse, beta: {choice: [0.5, 1, 3, 6, 10]}}]}",
            "trial.schedule={name: one_cycle, epochs: 12, lr: 0.1}",
            "trial.checkpoints={select: last, validate_every: 12}",
            _GRID.format(20),
        ),
    ),
    "tradeoff": Source(
        "explained_digits",
        (
            *_SMALL,
            "judge.cheap={name: pgd, steps: 10, step_size: {of_eps: 0.25}}",
            "judge.spatial={rotation: 60, translation: 0, draws: 10}",
            "trial.attack={steps: 10, step_size: {of_eps: 0.25}}",
            "trial.defense=adversarial",
            "trial.curriculum={choice: [{name: stages, label: theta, stages: [{eps_scale: 0, "
            "rotation: {stepped: [0, 60, 20]}}]}, "
            "{name: stages, label: eps, stages: [{eps_scale: {choice: [0.25, 0.5, 1]}, rotation: 0}]}, "
            "{name: cusp, rotations: [20, 40, 60]}]}",
            "objectives={clean_accuracy: max, robust_accuracy: max, spatial_accuracy: max}",
            _GRID.format(16),
        ),
        (Taken(_ANGLES, (0, 3, 5, 7)),),
    ),
    "mixtures": Source(
        "derived_digits",
        (
            "judge.version=apgd",
            "judge.images={validation: 200}",
            "trial.schedule.epochs=12",
            "trial.checkpoints.validate_every=12",
            "search.trials=6",
            "derive=[{name: smoothing, parents: [cleanest, most_robust], alpha: [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}]",
        ),
        (Taken("input_gradients"),),
        certified=0,
    ),
    "overfitting": Source(
        "explained_digits",
        (
            *_SMALL,
            "judge.trials=none",
            "trial.batch={size: 50, images: 200}",
            "trial.model={name: small_cnn, width: 8}",
            "trial.defense={name: trades, beta: {choice: [1, 6]}}",
            "trial.optimiser={name: sgd, weight_decay: 0}",
            "trial.schedule={name: multi_step, epochs: 60, lr: 0.05, milestones: [30/60, 48/60]}",
            "trial.checkpoints={select: last, validate_every: 60, every: 5}",
            "search={sampler: grid, trials: 2, seed: 0}",
        ),
        (Taken("{name: robust_loss, attack: {steps: 10, restarts: 1}}", splits="train,validation", epochs=True),),
    ),
}
DRAWN: Mapping[str, str] = {
    "yang-tables": "defenses",
    "yang-separation": "defenses",
    "pang-divergences": "divergences",
    "kamath-curves": "tradeoff",
    "kamath-angles": "tradeoff",
    "bai-alpha": "mixtures",
    "bai-radii": "mixtures",
    "bai-gradients": "mixtures",
    "stutz-flatness": "defenses",
    "stutz-landscape": "defenses",
    "stutz-hessian": "defenses",
    "stutz-early-stopping": "overfitting",
}
"""Of which sweep each exhibit is."""


def space(name: str) -> Sweep:
    """The sweep of a source."""
    source = SOURCES[name]
    return Sweep.from_yaml(SPACES / f"{source.space}.yaml", overrides=[f"name={name}", *source.settings])


def make(name: str, root: Path) -> Path:
    """Runs a source's sweep and takes its measures, or goes on with both."""
    source, folder = SOURCES[name], root / name
    if not sweeps.run(space(name), folder, "local"):
        raise SystemExit(INTERRUPTED)
    for taken in source.taken:
        homes = sorted((folder / "trials").iterdir())
        for home in homes if taken.trials is None else [folder / "trials" / f"{at:04d}" for at in taken.trials]:
            asked = Asked(str(home), taken.measures, splits=taken.splits, images=taken.images, device="cpu")
            if taken.epochs:
                measure_epochs.run(asked, "all", print)
            else:
                measure_run.run(asked, print)
    if source.certified is not None:
        home = folder / "trials" / f"{source.certified:04d}"
        asked_for = CertifyAsked(
            str(home), sigma=0.1, samples=1000, images=100, alphas=("0.67", "0.76", "0.9", "1"), device="cpu"
        )
        certify_run.run(asked_for, print)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="where sweeps, tables and figures go")
    parser.add_argument("names", nargs="*", default=list(DRAWN), help="exhibits")
    given = parser.parse_args()
    made = {source: make(source, given.root) for source in dict.fromkeys(DRAWN[name] for name in given.names)}
    for name in given.names:
        for path in publish(EXHIBITS[name], [made[DRAWN[name]]], given.root).files:
            print(path)


if __name__ == "__main__":
    main()
