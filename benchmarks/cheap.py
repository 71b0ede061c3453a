"""How well cheap attacks rank models: Kendall's tau of what each leaves to what AutoAttack leaves.

    python benchmarks/cheap.py [--quick] [--seeds 3] [--table RUNS.jsonl]

A dozen small networks on scikit-learn's digits, honest ones of several defenses and radii, and ones that deceive cheap attacks
without a flag of the judge (`robustray.testing.trained`), each judged by AutoAttack on the same images. The cheap attack is
that of `judge.cheap`, PGD of 20 steps, with one loss after another: cross-entropy, the ratio of differences of logits, their
margin, and the margin of probabilities `pm`, max over j != y of p_j - p_y (Xie et al., CVPR 2025, arXiv:2411.15210). A loss
that ranks models as AutoAttack does sends the right ones to it.

With --table, a published table of runs (arXiv:2604.22853: an object a line with `data`, `autoattack`, `pgd10` and so on) tells
the same of the attacks that it has.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from _bench import Bench
from scipy.stats import kendalltau
from torch import Tensor, nn

from robustray.attacks import Pgd, Threat, losses
from robustray.attacks.base import Objective
from robustray.data import Digits
from robustray.judging import judge
from robustray.seeding import derive
from robustray.testing import trained as small
from robustray.testing.tricks import DummyClasses, Saturated, Sparsified

THREAT = Threat(eps=0.15)
STEPS = 20
DEFAULT = "margin"
"""Of `judge.cheap`."""
LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ce": lambda logits, y: losses.cross_entropy(logits, y, "none"),
    "dlr": losses.dlr,
    "margin": losses.margin,
    "pm": lambda logits, y: losses.margin(logits.softmax(1), y),
}
"""What PGD climbs, per image, of logits [B, K] and labels [B]."""


def models(x: Tensor, y: Tensor, seed: int) -> dict[str, nn.Module]:
    """A dozen classifiers, trained on x [N, C, H, W] in [0, 1] and y [N]."""
    features, classes = x[0].numel(), int(y.max()) + 1

    def net(loss: small.Loss, outputs: int = classes, width: int = 48, lr: float = 3e-3) -> nn.Module:
        fresh = small.network(features, outputs, width=width, seed=seed)
        return small.trained(fresh, loss, x, y, lr=lr, seed=seed)

    made = {f"adversarial {eps}": net(small.adversarial(Threat(eps=eps))) for eps in (0.05, 0.1, 0.15, 0.2)}
    made |= {f"trades {beta:g}": net(small.trades(THREAT, beta)) for beta in (1.0, 4.0, 10.0)}
    made |= {f"one step {eps}": net(small.one_step(Threat(eps=eps)), width=128, lr=1e-2) for eps in (0.15, 0.2)}
    robust = made["adversarial 0.15"]
    dummies = net(small.towards_dummies(THREAT, classes), outputs=2 * classes)
    made |= {
        "dummy classes": DummyClasses(dummies, classes),
        "sparsified": Sparsified.of(list(robust.children()), x, 0.3),
        "saturated": Saturated(made["trades 4"], 1e3),
    }
    return {name: model.eval().requires_grad_(False) for name, model in made.items()}


def left(model: nn.Module, x: Tensor, y: Tensor, loss: str) -> float:
    """The share of images that PGD leaves correct, as `judge.cheap` measures it."""
    climbs = LOSSES[loss]

    def objective(outputs: object, _: Tensor) -> Tensor:
        return climbs(outputs.logits, y)  # type: ignore[attr-defined]

    attack: Objective = objective
    generator = torch.Generator().manual_seed(derive("validation"))
    moved = Pgd(steps=STEPS)(model, x, y, THREAT, objective=attack, generator=generator)
    with torch.no_grad():
        stands = (model(x).argmax(1) == y) & (model(moved).argmax(1) == y)
    return float(stands.float().mean())


def tau(cheap: Sequence[float], exact: Sequence[float]) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(cheap, exact).statistic)


def compare(bench: Bench, case: str, cheap: Mapping[str, Sequence[float]], exact: Sequence[float]) -> dict[str, float]:
    """A row for each attack: how it ranks, and by how many points it overstates on average and at most. Gives the taus."""
    found = {}
    for name, values in cheap.items():
        over = 100 * (np.asarray(values) - np.asarray(exact))
        found[name] = tau(values, exact)
        extra = {"overstates": round(float(over.mean()), 2), "at_most": round(float(over.max()), 2)}
        bench.row(case, f"tau of {name} to AutoAttack", found[name], models=len(exact), **extra)
    return found


def networks(bench: Bench, seeds: int, images: int) -> None:
    """The small networks."""
    data = Digits(validation=600)
    x, y = pixels(data, "train", None)
    seen = pixels(data, "validation", images)
    exact: list[float] = []
    cheap: dict[str, list[float]] = {loss: [] for loss in LOSSES}
    for seed in range(seeds):
        for name, model in models(x, y, seed).items():
            with tempfile.TemporaryDirectory() as folder:
                exact.append(judge(model, *seen, THREAT, folder=Path(folder)).robust_accuracy)
            for loss, values in cheap.items():
                values.append(left(model, *seen, loss))
            bench.row(f"{name}, seed {seed}", "robust accuracy by AutoAttack", exact[-1], **last(cheap))
    taus = compare(bench, f"digits, {STEPS} steps", cheap, exact)
    best = max(taus, key=lambda loss: taus[loss])
    print(f"best: {best}")
    bench.target("default-ranks-as-the-best", taus[best] - taus[DEFAULT], 0.02)


def last(cheap: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The newest value of every attack."""
    return {loss: round(values[-1], 4) for loss, values in cheap.items()}


def pixels(data: Digits, split: str, count: int | None) -> tuple[Tensor, Tensor]:
    """Images [N, C, H, W] in [0, 1] and labels [N]."""
    held = data.load(split)  # type: ignore[arg-type]
    x = torch.from_numpy(held.images).permute(0, 3, 1, 2).float().div(255).contiguous()
    return x[:count], torch.from_numpy(held.labels)[:count]


def table(bench: Bench, path: Path) -> None:
    """A published table of runs, data set by data set."""
    runs = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    runs = sorted((run for run in runs if run["autoattack"] is not None), key=lambda run: str(run["data"]))
    for data, group in groupby(runs, key=lambda run: str(run["data"])):
        these = list(group)
        exact = [run["autoattack"] / 100 for run in these]
        compare(bench, f"table, {data}", {k: [run[k] / 100 for run in these] for k in ("pgd10", "pgd50", "cr")}, exact)


def main() -> None:
    line = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    line.add_argument("--quick", action="store_true", help="about a minute: one seed, 100 images")
    line.add_argument("--seeds", type=int, default=3, help="networks of each kind")
    line.add_argument("--table", type=Path, help="a table of published runs, JSON lines")
    options = line.parse_args()
    torch.set_num_threads(1)
    bench = Bench("cheap", options.quick)
    if options.table is not None:
        table(bench, options.table)
    networks(bench, 1 if options.quick else options.seeds, 100 if options.quick else 400)
    bench.close()


if __name__ == "__main__":
    main()
