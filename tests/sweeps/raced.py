"""Fields made by hand, and a search over made-up curves: what a policy sees, without any training."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sweeps.search.field import Choice, Curve, Field, Policy, Resume, Rung, Start
from sweeps.space.distributions import Distribution, Parameter

EPOCHS = (6, 13, 27)
SHARES = (6 / 27, 13 / 27, 1.0)
OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
SPACE = (
    Parameter("beta", Distribution("loguniform", 0.5, 20.0)),
    Parameter("eps", Distribution("stepped", 0.0, 1.0, 0.1)),
    Parameter("kind", Distribution("choice", choices=("plain", "wide", "deep"))),
    Parameter("kind.wide.layers", Distribution("int", 1, 6), (("kind", "wide"),)),
)


def ask(suggest: Callable[[Parameter], object]) -> dict[str, object]:
    """One setting, as `Sweep.ask` draws it."""
    params: dict[str, object] = {}
    for parameter in SPACE:
        if all(params.get(name) == label for name, label in parameter.condition):
            params[parameter.name] = parameter.distribution.checked(suggest(parameter))
    return params


def any_setting(rng: np.random.Generator) -> dict[str, object]:
    """One drawn by chance."""

    def value(parameter: Parameter) -> object:
        wanted = parameter.distribution
        return wanted.at(rng.random()) if np.isinf(wanted.count) else wanted.nth(int(rng.integers(int(wanted.count))))

    return ask(value)


def truth(params: Mapping[str, object]) -> tuple[float, float]:
    """Clean and robust accuracy of a whole training."""
    beta, eps = np.log(float(params["beta"]) / 0.5) / np.log(40), float(params["eps"])  # type: ignore[arg-type]
    off = 0.3 * (eps - 0.4) ** 2 + {"plain": 0.05, "wide": 0.0, "deep": 0.1}[str(params["kind"])]
    return 0.95 - 0.3 * beta**2 - off, 0.2 + 0.4 * beta**0.5 - off


def rung(index: int, order: int, clean: float, robust: float, **more: float) -> Rung:
    """A report. Args: more: metrics."""
    metrics = {"clean_accuracy": clean, "robust_accuracy": robust, **more}
    return Rung(index, EPOCHS[index], order, metrics, 2.0 * EPOCHS[index])


def curve(
    number: int, reports: Sequence[Rung], state: str = "paused", params: Mapping[str, object] | None = None
) -> Curve:
    """A trial with these reports."""
    settings = {"beta": 1.0, "eps": 0.1, "kind": "plain"} if params is None else params
    final = reports[-1].metrics if state == "complete" else None
    return Curve(number, settings, state, EPOCHS[-1], tuple(reports), max(len(reports) - 1, 0), final)  # type: ignore[arg-type]


def field(curves: Sequence[Curve], decisions: int = 1, seed: int = 0, **more: object) -> Field:
    """A field of these trials. Args: more: of its fields."""
    return Field(curves, OBJECTIVES, rungs=SHARES, decisions=decisions, seed=seed, **more)  # type: ignore[arg-type]


def search(
    policy: Policy, trainings: float, *, workers: int = 3, seed: int = 0, noise: float = 0.005
) -> tuple[list[tuple[Field, Choice]], list[Curve]]:
    """Runs a policy on made-up curves for so many whole trainings: each field it saw with its choice, and the trials."""
    rng = np.random.default_rng(seed)
    curves: list[Curve] = []
    at_work: list[tuple[float, int]] = []
    seen: list[tuple[Field, Choice]] = []
    clock, order, spent = 0.0, 0, 0.0
    while True:
        while len(at_work) < workers and spent < trainings:
            now = field(list(curves), len(seen), seed, spent=spent, budget=trainings)
            choice = policy.choose(now)
            seen.append((now, choice))
            if isinstance(choice, Start):
                curves.append(Curve(len(curves), choice.params or any_setting(rng), "running", EPOCHS[-1]))
                number = len(curves) - 1
            else:
                assert isinstance(choice, Resume)
                number = choice.number
                assert curves[number].state == "paused"
            old = curves[number]
            index = len(old.rungs)
            curves[number] = Curve(number, old.params, "running", EPOCHS[-1], old.rungs, index)
            epochs = EPOCHS[index] - (EPOCHS[index - 1] if index else 0)
            spent += epochs / EPOCHS[-1]
            heapq.heappush(at_work, (clock + epochs, number))
        if not at_work:
            return seen, curves
        clock, number = heapq.heappop(at_work)
        old = curves[number]
        clean, robust = (
            np.array(truth(old.params)) - 0.15 * (1 - EPOCHS[old.until] / 27) + noise * rng.standard_normal(2)
        )
        reports = (*old.rungs, rung(old.until, order, float(clean), float(robust)))
        order += 1
        curves[number] = curve(number, reports, "complete" if old.until == 2 else "paused", old.params)
