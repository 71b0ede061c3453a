"""The claims of docs/findings.md: settings that are trials, and sign tests that give the right verdicts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _claims import BASE, CLAIMS, Claim, holm, settings, verdicts
from findings import Run

from robustray.trial import TrialConfig

COLUMNS = ("clean", "robust", "spatial", "train_robust", "pgd_robust")


@pytest.mark.parametrize("name", settings())
def test_every_setting_is_a_trial(name: str) -> None:
    config = TrialConfig.model_validate(Run(name, 3).options)
    assert config.seed == 3
    assert config.judge.threat.eps == BASE["judge"]["threat"]["eps"]


def test_settings_differ_and_their_keys_hold_all_options() -> None:
    trained: dict[str, str] = {}
    for name in settings():
        text = TrialConfig.model_validate(Run(name, 0).options).to_yaml()
        assert text not in trained, f"{name} is {trained.get(text)}"
        trained[text] = name
    keys = {Run(name, seed).key for name in settings() for seed in range(3)}
    assert len(keys) == 3 * len(settings())


def table(value: Callable[[str, str, int], float], seeds: int = 12) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"setting": name, "seed": seed, **{column: value(name, column, seed) for column in COLUMNS}}
        for seed in range(seeds)
        for name in settings()
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)  # no order is relied on


def as_the_papers_say(name: str, column: str, seed: int) -> float:
    """Accuracies of a world in which every claim holds."""
    kind, _, rest = name.partition(" ")
    amount = float(rest.split()[-1]) if rest else 0.0
    if kind == "trades":
        return 0.8 + {"clean": -0.01, "robust": 0.01}.get(column, 0.0) * math.log(amount)
    if kind == "lse":
        return 0.95
    if kind == "dropout":
        return 0.5 + amount / 10 if column != "train_robust" else 0.7
    if kind == "turned":
        angle = float(rest.split()[0])
        return 0.5 - angle / 1000 if column == "robust" else 0.5 - amount
    return 0.6


def mirrored(claim: Claim) -> Claim:
    return replace(claim, of=lambda seed: -claim.of(seed))


def test_a_world_as_the_papers_say_supports_every_claim_and_its_mirror_contradicts_them() -> None:
    world = table(as_the_papers_say)
    for claims, expected in ((CLAIMS, "supported"), (tuple(map(mirrored, CLAIMS)), "contradicted")):
        found = verdicts(world, claims)
        assert {verdict.says for verdict in found} == {expected}
        assert all(max(v.positive, v.negative) == 12 for v in found)


def test_a_world_of_noise_resolves_nothing() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(20):
        noise = table(lambda *_: random.uniform())
        fair = [c for c in CLAIMS if c.name not in ("cusp-beyond", "lse-frontier")]  # these are not symmetric in noise
        wrong += sum(v.says != "not resolved at this size" for v in verdicts(noise, fair))
    assert wrong <= 4, "5 % of 20 families, and some luck"


def test_a_seed_without_all_settings_is_left_out() -> None:
    rows = table(as_the_papers_say)
    rows = rows[~((rows.seed == 5) & (rows.setting == "cusp"))]
    assert {len(v.values) for v in verdicts(rows)} == {11}


def test_ties_count_for_neither_side() -> None:
    (verdict,) = verdicts(table(lambda *_: 0.5), [next(c for c in CLAIMS if c.name == "dropout-gap")])
    assert (verdict.positive, verdict.negative, verdict.p, verdict.p_against) == (0, 0, 1.0, 1.0)


def test_holm_rejects_as_in_his_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert holm([0.01, 0.02, 0.03, 0.005], 0.05) == [True, True, True, True]
    assert holm([0.013, 0.013, 0.013, 0.013], 0.05) == [False] * 4
    assert holm([]) == []
