"""What papers claim, as numbers with a sign that were written down before any of these trials was run.

A claim is a statistic of one seed's trials, positive where the claim holds. Seeds are independent repetitions (weights,
order of batches, attacks; images and splits stay), so under "no effect" its sign is a fair coin: a sign test over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd
from scipy.stats import binomtest

SEEDS = 12
ALPHA = 0.025
"""Of all claims together, by Holm's correction; once in the claims' directions, once in the opposite ones."""

EPS = 0.12
ANGLE = 60
"""Degrees: spatial accuracy is under rotations uniform in [-60, 60], ten per test image."""

BETAS = (0.1, 0.5, 2.0, 8.0)
LSE_BETAS = (0.5, 2.0, 8.0, 32.0)
RATES = (0.0, 0.25, 0.5)
ANGLES = (0, 20, 40, 60)
RADII = (0.0, 0.03, 0.06, 0.12)

Overrides = Mapping[str, Any]
BASE: dict[str, Any] = {
    "judge": {"data": {"name": "digits", "validation": 400}, "threat": {"norm": "linf", "eps": EPS}},
    "batch": {"size": 100},
    "model": {"name": "small_cnn", "width": 6},
    "attack": {"steps": 5, "step_size": {"of_eps": 0.4}},
    "averaging": {"name": "ema", "decay": 0.99},
    "schedule": {"name": "one_cycle", "epochs": 30, "lr": 0.1},
    "checkpoints": {"select": "last", "validate_every": 60},
}


def trades(beta: float) -> Overrides:
    return {"defense": {"name": "trades", "beta": beta}}


def turned(angle: float, eps: float) -> Overrides:
    """TRADES at beta 5, CuSP's, on images turned by up to `angle` before the attack; eps 0: no attack."""
    spatial = {"batch": {"size": 100, "augment": [{"name": "rotation", "degrees": angle}] if angle else []}}
    if not eps:
        return {**spatial, "defense": {"name": "natural"}, "attack": None}
    return {**spatial, **trades(5.0), "threat": {"eps": eps}}


def settings() -> dict[str, Overrides]:
    """Every setting by its name; claims that need the same one share its trials."""
    cusp = {"name": "cusp", "rotations": [40, 50, ANGLE], "eps_scales": [0.25, 0.5, 1]}
    wide = {"model": {"name": "small_cnn", "width": 16}, "schedule": {"name": "one_cycle", "epochs": 60, "lr": 0.1}}
    return {
        **{f"trades {beta:g}": trades(beta) for beta in BETAS},
        **{f"lse {beta:g}": {"defense": {"name": "score", "divergence": "lse", "beta": beta}} for beta in LSE_BETAS},
        **{f"dropout {rate:g}": {**wide, **trades(3.0), "model": {**wide["model"], "dropout": rate}} for rate in RATES},
        **{f"turned {angle} eps {EPS:g}": turned(angle, EPS) for angle in ANGLES},
        **{f"turned {ANGLE} eps {eps:g}": turned(ANGLE, eps) for eps in RADII},
        "cusp": {**trades(5.0), "curriculum": cusp},
    }


Seed = pd.DataFrame
"""One seed's trials: a row per setting (the index), columns clean, robust, spatial, train_robust, pgd_robust, as fractions."""


def value(seed: Seed, name: str, column: str) -> float:
    """One number of one setting."""
    return float(seed.loc[[name], column].to_numpy()[0])


def slope(seed: Seed, names: Iterable[str], along: Iterable[float], column: str) -> float:
    """Least-squares slope of a column over the settings `names` at the places `along`."""
    return float(np.polyfit(list(along), seed.loc[list(names), column].to_numpy(), 1)[0])


def volume(seed: Seed, names: Iterable[str]) -> float:
    """Hypervolume of clean and robust accuracy from (0, 0)."""
    return float(moocore.hypervolume(-seed.loc[list(names), ["clean", "robust"]].to_numpy(), ref=[0, 0]))


def gap(seed: Seed, rate: float) -> float:
    """Robust accuracy under one and the same PGD on training images, minus that on test images."""
    return value(seed, f"dropout {rate:g}", "train_robust") - value(seed, f"dropout {rate:g}", "pgd_robust")


def both(seed: Seed, name: str) -> float:
    """Mean of robust and spatial accuracy."""
    return (value(seed, name, "robust") + value(seed, name, "spatial")) / 2


_TRADES = [f"trades {beta:g}" for beta in BETAS]
_LSE = [f"lse {beta:g}" for beta in LSE_BETAS]
_BY_ANGLE = [f"turned {angle} eps {EPS:g}" for angle in ANGLES]
_BY_EPS = [f"turned {ANGLE} eps {eps:g}" for eps in RADII]


@dataclass(frozen=True)
class Claim:
    """One claim: what a paper says, and the number that is positive where it holds."""

    name: str
    says: str
    paper: str
    positive: str
    of: Callable[[Seed], float]


CLAIMS = (
    Claim(
        "beta-robust",
        "TRADES: a larger beta gives more robust accuracy",
        "Zhang et al. 2019; Yang et al. 2020",
        "slope of robust accuracy over log beta, beta 0.1 to 8",
        lambda seed: slope(seed, _TRADES, np.log(BETAS), "robust"),
    ),
    Claim(
        "beta-clean",
        "TRADES: a larger beta costs clean accuracy",
        "Zhang et al. 2019; Yang et al. 2020",
        "minus the slope of clean accuracy over log beta",
        lambda seed: -slope(seed, _TRADES, np.log(BETAS), "clean"),
    ),
    Claim(
        "dropout-gap",
        "dropout narrows the robust generalisation gap",
        "Yang et al. 2020",
        "gap (PGD accuracy on training minus test images) without dropout, minus that at 0.5; TRADES 3, width 16, 60 epochs",
        lambda seed: gap(seed, 0.0) - gap(seed, 0.5),
    ),
    Claim(
        "dropout-robust",
        "dropout with robust training raises robust test accuracy",
        "Yang et al. 2020",
        "robust accuracy at dropout 0.5 minus without; the same trials",
        lambda seed: value(seed, "dropout 0.5", "robust") - value(seed, "dropout 0", "robust"),
    ),
    Claim(
        "rotation-robust",
        "training on larger rotations costs adversarial robustness",
        "Kamath et al. 2021",
        "minus the slope of robust accuracy over the largest angle, 0 to 60 degrees; TRADES 5, eps 0.12",
        lambda seed: -slope(seed, _BY_ANGLE, ANGLES, "robust"),
    ),
    Claim(
        "eps-spatial",
        "training at a larger eps costs accuracy under rotation",
        "Kamath et al. 2021",
        "minus the slope of spatial accuracy over eps, 0 to 0.12; TRADES 5, rotations up to 60 degrees",
        lambda seed: -slope(seed, _BY_EPS, RADII, "spatial"),
    ),
    Claim(
        "cusp-beyond",
        "CuSP lies beyond both curves",
        "Kamath et al. 2021",
        "mean of robust and spatial accuracy of CuSP (40, 50, 60 degrees; eps 0.03, 0.06, 0.12), minus the largest such "
        "mean of any point on the two curves above",
        lambda seed: both(seed, "cusp") - max(both(seed, name) for name in {*_BY_ANGLE, *_BY_EPS}),
    ),
    Claim(
        "lse-frontier",
        "squared l2 between probabilities in place of KL moves the frontier out",
        "Pang et al. 2022",
        "hypervolume of clean and robust accuracy over four betas (lse 0.5 to 32), minus that of KL (0.1 to 8)",
        lambda seed: volume(seed, _LSE) - volume(seed, _TRADES),
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What the seeds say of one claim."""

    claim: Claim
    values: tuple[float, ...]  # by seed
    positive: int
    negative: int  # ties are neither
    p: float  # one-sided, in the claim's direction
    p_against: float  # one-sided, in the other
    says: str


def verdicts(runs: pd.DataFrame, claims: Iterable[Claim] = CLAIMS) -> list[Verdict]:
    """Sign tests of all claims over the seeds that have every setting; by Holm at a family-wise 5 %, half in each direction.

    supported: the claim's direction is significant; contradicted: the other one is; else not resolved at this size.
    """
    claims = tuple(claims)
    names = set(settings())
    seeds = [
        rows.set_index("setting")
        for _, rows in sorted(runs.groupby("seed"), key=lambda item: int(str(item[0])))
        if names <= set(rows["setting"])
    ]
    values = [tuple(claim.of(seed) for seed in seeds) for claim in claims]
    counts = [(sum(v > 0 for v in each), sum(v < 0 for v in each)) for each in values]
    for_it = [_one_sided(up, down) for up, down in counts]
    against = [_one_sided(down, up) for up, down in counts]
    supported, contradicted = holm(for_it), holm(against)
    return [
        Verdict(claim, each, up, down, p, q,
                "supported" if yes else "contradicted" if no else "not resolved at this size")
        for claim, each, (up, down), p, q, yes, no in zip(
            claims, values, counts, for_it, against, supported, contradicted, strict=True)
    ]  # fmt: skip


def holm(p: Iterable[float], alpha: float = ALPHA) -> list[bool]:
    """Which hypotheses Holm's step-down procedure rejects at family-wise level alpha."""
    values = np.array(list(p))
    rejected = np.zeros(len(values), dtype=bool)
    for rank, index in enumerate(np.argsort(values, kind="stable")):
        if values[index] > alpha / (len(values) - rank):
            break
        rejected[index] = True
    return [bool(each) for each in rejected]


def _one_sided(wins: int, losses: int) -> float:
    return float(binomtest(wins, wins + losses, alternative="greater").pvalue) if wins + losses else 1.0
