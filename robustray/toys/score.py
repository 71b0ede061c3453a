"""What robust risks make of a known posterior: the one-dimensional demonstration of SCORE (Pang et al., ICML 2022).

    x | y = 0 ~ N(-1, 2^2) with prior 5/6,   x | y = 1 ~ N(1, 1) with prior 1/6,   perturbations |d| <= 1

The true posterior p*(x) is known, and so are all risks (arXiv:2202.10103), with D a divergence of two predictions:

    standard   E D(p*(x), p(x))
    madry      E max D(p*(x), p(x + d))             what adversarial training descends
    score      E max D(p*(x + d), p(x + d))         self-consistent: 0 for the true posterior
    trades     E D(p*(x), p(x)) + beta max D(p(x), p(x + d))

In one dimension nothing has to be drawn: expectations are sums over a grid of places, weighted by the density, and inner
maxima are looked up at every place of the grid within eps. The published script draws 60,000 points anew for each of its steps
and climbs in ten signed steps instead, and under `trades` measures the second term against p* although its attack does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from robustray._later import Tensor, nn, torch
from robustray.attacks.divergences import Distribution, divergence, of_logits
from robustray.toys.base import Tables

Objective = Literal["standard", "madry", "score", "trades"]
Risk = Literal["standard", "madry", "score", "consistency", "constant"]
Divergence = Literal["kl", "js_sqrt", "lse", "l2", "lp", "linf"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
RISKS: tuple[Risk, ...] = get_args(Risk)
DIVERGENCES: tuple[Divergence, ...] = get_args(Divergence)
PRIOR, MEAN, DEVIATION = (5 / 6, 1 / 6), (-1.0, 1.0), (2.0, 1.0)
EPS = 1.0
STEP, REACH = 0.05, 10.0
"""Places are so far apart, and so far from 0 at most: 4e-6 of all points lie beyond."""
WIDTH, ITERATIONS, LR, BETA = 100, 500, 1e-3, 1.0
EVERY = 10
"""Iterations from one row of the trace to the next."""
SNAPSHOTS = (10, 30, 100, 300)
"""Iterations after which what is learnt by then is kept."""
Trace = list[dict[str, object]]


def posterior(x: Tensor) -> Tensor:
    """p*(y | x) [N, 2] at places x [N]."""
    return Distribution(*_posterior(x)).p


def _posterior(x: Tensor) -> tuple[Tensor, Tensor]:
    joint = torch.stack([_log_joint(x, label) for label in range(2)], 1)
    log_p = torch.log_softmax(joint, 1)
    return log_p.exp(), log_p


def _log_joint(x: Tensor, label: int) -> Tensor:
    """log p(x, y) + log sqrt(2 pi)."""
    scale = PRIOR[label] / DEVIATION[label]
    return torch.log(torch.tensor(scale, dtype=x.dtype)) - ((x - MEAN[label]) / DEVIATION[label]).square() / 2


class Places:
    """A grid of places, the density at those that points are drawn from, and the truth.

    Attributes:
        x: [N], everything within REACH + eps. weights: [M], of the places within REACH, whose sum is 1. near: [M, W], for
            each of these the places within eps. truth: the posterior at all places.
    """

    def __init__(self, eps: float = EPS) -> None:
        around = round(eps / STEP)
        half = round(REACH / STEP)
        self.x = STEP * torch.arange(-half - around, half + around + 1, dtype=torch.float64)
        self.inner = slice(around, around + 2 * half + 1)
        density = torch.stack([_log_joint(self.x[self.inner], label) for label in range(2)]).exp().sum(0)
        self.weights = density / density.sum()
        self.near = torch.arange(2 * half + 1)[:, None] + torch.arange(2 * around + 1)
        self.truth = Distribution(*_posterior(self.x))

    def here(self, of: Distribution) -> Distribution:
        """[M, 2]: a prediction where points are drawn."""
        return Distribution(of.p[self.inner], of.log_p[self.inner])

    def risk(self, name: Divergence, kind: Risk, output: Distribution) -> Tensor:
        """A scalar: one of a prediction's risks at all places [N, 2]. The first three are those above.

        `consistency` is E max D(p(x), p(x + d)), which `trades` adds; `constant` is E max D(p*(x), p*(x + d)), which no model
        changes, and between which and 0 a metric D holds |madry - score|.
        """
        truth, (m, w) = self.truth, self.near.shape
        if kind == "standard":
            return (self.weights * divergence(name, self._here(truth), self._here(output))).sum()
        pairs = {
            "madry": (self._spread(truth, w), self._wide(output)),
            "score": (self._wide(truth), self._wide(output)),
            "consistency": (self._spread(output, w), self._wide(output)),
            "constant": (self._spread(truth, w), self._wide(truth)),
        }
        found = divergence(name, *pairs[kind]).view(m, w)
        return (self.weights * found.max(1).values).sum()

    def _here(self, of: Distribution) -> Distribution:
        """[M, 2]: where points are drawn."""
        return Distribution(of.p[self.inner], of.log_p[self.inner])

    def _spread(self, of: Distribution, w: int) -> Distribution:
        """[M W, 2]: the same for every move."""
        return Distribution(*(each.repeat_interleave(w, 0) for each in self._here(of)))

    def _wide(self, of: Distribution) -> Distribution:
        """[M W, 2]: after every move."""
        near = self.near.flatten()
        return Distribution(of.p[near], of.log_p[near])


def descended(
    objective: Objective, name: Divergence, output: Distribution, places: Places, beta: float = BETA
) -> Tensor:
    """The risk that training descends."""
    if objective == "trades":
        return places.risk(name, "standard", output) + beta * places.risk(name, "consistency", output)
    return places.risk(name, objective, output)


def network(seed: int = 2) -> nn.Module:
    """1-100-100-2 with tanh, in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2)
        return nn.Sequential(*layers).double()


def trained(
    objective: Objective, name: Divergence, places: Places, *, iterations: int = ITERATIONS, seed: int = 2
) -> tuple[dict[int, Distribution], Trace]:
    """What a network learns by Adam, all places in every step.

    Returns:
        Its answers at all places [N, 2] after SNAPSHOTS and at the end, by iterations; and its risks on the way.
    """
    model = network(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=LR)
    trace, kept = Trace(), dict[int, Distribution]()
    for iteration in range(iterations + 1):
        output = of_logits(model(places.x[:, None]))
        if iteration % EVERY == 0 or iteration == iterations:
            with torch.no_grad():
                risks: dict[str, object] = {kind: float(places.risk(name, kind, output)) for kind in RISKS}
            trace.append({"objective": objective, "divergence": name, "iteration": iteration} | risks)
        if iteration in SNAPSHOTS or iteration == iterations:
            kept[iteration] = Distribution(output.p.detach(), output.log_p.detach())
        if iteration < iterations:
            optimiser.zero_grad()
            descended(objective, name, output, places).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return kept, trace


def run(tell: Callable[[float], None] = lambda share: None, *, iterations: int = ITERATIONS) -> Tables:
    """Every objective with every divergence.

    Returns:
        `posterior`, P(y = 0 | x) learnt beside the truth; `snapshots`, the same after some iterations; `trace`, the risks.
    """
    places = Places()
    learnt, snapshots, traces = Trace(), Trace(), Trace()
    shown, done = range(0, len(places.x), 2), 0
    for name in DIVERGENCES:
        for objective in OBJECTIVES:
            kept, trace = trained(objective, name, places, iterations=iterations)
            traces += trace
            for iteration, found in kept.items():
                rows: Trace = [
                    {
                        "objective": objective, "divergence": name, "iteration": iteration,
                        "x": round(float(places.x[at]), 4), "truth": round(float(places.truth.p[at, 0]), 6),
                        "learnt": round(float(found.p[at, 0]), 6),
                    }
                    for at in shown
                ]  # fmt: skip
                if iteration == iterations:
                    learnt += rows
                else:
                    snapshots += rows
            done += 1
            tell(done / (len(DIVERGENCES) * len(OBJECTIVES)))
    return {"posterior": learnt, "snapshots": snapshots, "trace": traces}
