"""What papers and the authors' code say, by hand: defaults of every defense, and of what else a paper gives numbers for.

A table of its own, which nothing rewrites: where a number here and a default differ, look at the paper before either moves.
"""

from __future__ import annotations

from typing import Any

import pytest

from robustray.attacks import Pgd
from robustray.attacks.pgd import StepSize
from robustray.registry import parts
from robustray.training import Cyclic, OneCycle
from robustray.trial import TrialConfig
from tests.robustray.made import JUDGE, made

TEN_STEPS: dict[str, Any] = {
    "mode": "eval",
    "steps": 10,
    "step_size": {"of_eps": 0.25},  # 2/255 of 8/255
    "step_rule": None,
    "projection": "nearest",
    "loss": None,
    "start": "uniform",
    "sigma": 0.001,
    "restarts": 1,
    "tau": None,
}
"""Madry et al. (ICLR 2018, arXiv:1706.06083): a uniform start, steps of 2/255 of 8/255; the model in eval mode."""
GAUSSIAN = {"start": "gaussian", "sigma": 0.001}

ATTACKS: dict[str, dict[str, Any]] = {
    "adversarial": {},
    # Tack et al., AAAI 2022, arXiv:2103.04623: PGD-10, 2/255 of 8/255
    "consistency": {},
    # Wong et al., ICLR 2020, arXiv:2001.03994: FGSM from a uniform start, a step of 1.25 eps (10/255 of 8/255)
    "fast": {"steps": 1, "step_size": {"of_eps": 1.25}},
    # Qin et al., NeurIPS 2019, arXiv:1907.02610: two steps of eps / 2
    "llr": {"steps": 2, "step_size": {"of_eps": 0.5}, **GAUSSIAN},
    # Wang et al., ICLR 2020: mart.py of the authors starts at x + 0.001 * randn
    "mart": GAUSSIAN,
    # Raghunathan et al., ICML 2020, arXiv:2002.10716: a step is a fifth of the radius
    "rst": {"step_size": {"of_eps": 0.2}},
    # Pang et al., ICML 2022, arXiv:2202.10103: as Gowal et al. (2020, arXiv:2010.03593), with batch statistics
    "score": {"mode": "train_frozen"},
    "score_pgd": {"mode": "train_frozen"},
    # Hendrycks et al., NeurIPS 2019, arXiv:1906.12340: PGD-10, 2/255 of 8/255
    "self_supervised": {},
    # Zhang et al., ICML 2019, arXiv:1901.08573: trades.py of the authors starts at x + 0.001 * randn
    "trades": GAUSSIAN,
}
"""The attack of every defense that has an adversary, as far as it is another one than TEN_STEPS."""

PARTS: dict[tuple[str, str], dict[str, Any]] = {
    ("defense", "adversarial"): {
        "keep_clean": False,
        "clean_fraction": 0,
        "ignore_incorrect": False,
        "prevent_label_leaking": False,
    },
    ("defense", "consistency"): {"lam": 1, "temperature": 0.5},  # Tack et al.
    ("defense", "fast"): {},
    ("defense", "llr"): {"lam": 4, "mu": 3},  # Qin et al., CIFAR-10
    ("defense", "mart"): {"beta": 5},  # Wang et al.: lambda = 5
    ("defense", "natural"): {},
    ("defense", "rst"): {"lam": 1, "unlabeled_weight": 1},  # Carmon et al., NeurIPS 2019, arXiv:1905.13736: w = 1
    ("defense", "score"): {"beta": 4, "clip": 0, "clips": "robust", "divergence": "lse", "order": 1},  # Pang et al.
    ("defense", "score_pgd"): {"clip": 0, "divergence": "lse", "order": 1},
    ("defense", "self_supervised"): {"weight": 1},
    ("defense", "trades"): {"beta": 6},  # Zhang et al.: 1 / lambda = 6
    ("defense", "tulip"): {"lam": 1, "h": 1},  # Yang et al., NeurIPS 2020, arXiv:2003.02460: their script
    # Wu et al., NeurIPS 2020, arXiv:2004.05884: gamma = 5e-3, one step, which reaches the radius
    ("update", "awp"): {"xi": 0.005, "steps": 1, "step_size": 1},
    # Chaudhari et al., ICLR 2017, arXiv:1611.01838: alpha = 0.75, eta' = 0.1, gamma = 1e-4, epsilon = 1e-4
    ("update", "entropy_sgd"): {"step_size": 0.1, "gamma": 1e-4, "noise": 1e-4, "average": 0.75, "steps": 1},
    ("update", "free"): {"replays": 8, "step_size": 1},  # Shafahi et al., NeurIPS 2019, arXiv:1904.12843: m = 8, eps
    ("update", "plain"): {},
    ("update", "sam"): {"rho": 0.05},  # Foret et al., ICLR 2021, arXiv:2010.01412: CIFAR-10
    ("averaging", "ema"): {"decay": 0.995, "warmup": 0, "buffers": "copy"},  # Gowal et al., arXiv:2010.03593
    ("averaging", "none"): {},
    # Stutz et al., ICCV 2021, arXiv:2104.04448: epochs 60, 90, 120, and 140, 145, of 150
    ("schedule", "multi_step"): {"milestones": (60 / 150, 90 / 150, 120 / 150), "drop": 0.1},
    ("schedule", "late"): {"milestones": (140 / 150, 145 / 150), "drop": 0.1},
    ("schedule", "one_cycle"): {"warmup": 0.3, "momentum_swing": 0},  # torch's pct_start
    ("schedule", "cyclic"): {"cycles": 1},  # Wong et al., ICLR 2020: one triangle
    # Kamath et al., NeurIPS 2021, arXiv:2002.11318: 120, 150, 180 degrees with 2, 4, 8/255, from epochs 74 and 89 of 120
    ("curriculum", "cusp"): {
        "rotations": (120, 150, 180),
        "translations": (0, 0, 0),
        "eps_scales": (2 / 8, 4 / 8, 1),
        "boundaries": (74 / 120, 89 / 120),
    },
    ("optimiser", "sgd"): {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},  # Gowal et al.; Pang et al.
    ("optimiser", "adam"): {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},  # Kingma and Ba, ICLR 2015
    ("optimiser", "adamw"): {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},  # torch's
    ("augmentation", "crop"): {"padding": 4},  # He et al., CVPR 2016
    ("augmentation", "cutout"): {"size": 16},  # DeVries and Taylor, 2017, arXiv:1708.04552: CIFAR-10
    ("augmentation", "randaugment"): {"operations": 2, "level": 9},  # torchvision's; Cubuk et al., 2020
    ("augmentation", "autoaugment"): {"policy": "cifar10"},
    ("mix", "generated"): {
        "fraction": 0.7
    },  # Gowal et al., NeurIPS 2021, arXiv:2110.09468: 30 % of the original images
    ("mix", "pseudo_labelled"): {"fraction": 0.5},  # Carmon et al., 2019: half of every batch
}


@pytest.mark.parametrize(("kind", "name"), list(PARTS), ids=lambda value: value)
def test_defaults_are_the_published_ones(kind: str, name: str) -> None:
    found = made(parts(kind)[name]).model_dump()
    published = PARTS[kind, name]
    assert {option: found[option] for option in published} == published


@pytest.mark.parametrize("name", [name for kind, name in PARTS if kind == "defense"])
def test_no_option_of_a_defense_is_without_its_number(name: str) -> None:
    assert PARTS["defense", name].keys() == parts("defense")[name].model_fields.keys() - {"name"}


def test_every_defense_is_here() -> None:
    shipped = {name for name, cls in parts("defense").items() if cls.__module__.startswith("robustray.")}
    assert {name for kind, name in PARTS if kind == "defense"} == shipped
    adversaries = {name for name in shipped if "an_adversary" in parts("defense")[name].demands}  # type: ignore[attr-defined]
    assert ATTACKS.keys() == adversaries
    assert shipped - adversaries == {"natural", "tulip"}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_attack_that_a_trial_gets_is_the_published_one(name: str) -> None:
    """Where nothing is said of it, and where one option is: the others stay."""
    expected = {"name": "pgd", **TEN_STEPS, **ATTACKS[name]}
    judge = {"judge": JUDGE, "defense": name}
    for said in ({}, {"steps": 3}, {"step_size": 0.007}, {"start": "none"}, {"mode": "train"}):
        attack = {"attack": said} if said else {}
        found = TrialConfig.model_validate(judge | attack).training_attack
        assert isinstance(found, Pgd)
        dumped = found.model_dump()
        assert {option: dumped[option] for option in expected} == expected | said


@pytest.mark.parametrize(
    ("name", "eps", "pixels"),
    [
        ("adversarial", 8, 2),
        ("trades", 8, 2),
        ("rst", 5, 1),
        ("fast", 8, 10),
        ("llr", 8, 4),
    ],
)
def test_published_steps_in_grey_levels(name: str, eps: int, pixels: int) -> None:
    step = TrialConfig.model_validate({"judge": JUDGE, "defense": name}).training_attack
    assert isinstance(step, Pgd)
    assert isinstance(step.step_size, StepSize)
    assert 255 * step.step_size.within(eps / 255) == pytest.approx(pixels)


SMOOTHING = {"score": "others", "score_pgd": "others"}
"""Pang et al. (ICML 2022) give the mass to the other classes, Szegedy et al. (CVPR 2016) and those after them to all."""
COLLAPSE = {"fast": 0.2}
"""Wong et al. (ICLR 2020): a fall of PGD accuracy by 0.2 on one batch; nobody else ends training."""


@pytest.mark.parametrize("name", [name for kind, name in PARTS if kind == "defense"])
def test_smoothing_and_the_end_of_training_are_as_published(name: str) -> None:
    config = TrialConfig.model_validate({"judge": JUDGE, "defense": name})
    assert config.smoothed_onto == SMOOTHING.get(name, "all")
    assert config.collapse == COLLAPSE.get(name, 1)


def test_the_decay_of_the_average_warms_up_as_published() -> None:
    """Gowal et al., 2020: min(decay, (1 + t) / (10 + t)), 0.995 from step 1790 on."""
    average = TrialConfig.model_validate({"judge": JUDGE}).averaging
    assert average.decay_at(1) == 2 / 11
    assert average.decay_at(8) == 0.5
    assert average.decay_at(1789) < 0.995
    assert average.decay_at(1790) == average.decay_at(10**6) == 0.995


def test_ends_of_published_schedules() -> None:
    """One cycle from 1/25 of the rate over it to 1/25e4 of that (Smith and Topin, 2018); a triangle meets its middle."""
    assert OneCycle().factor(0, 1000) == pytest.approx(1 / 25)
    assert max(OneCycle().factor(step, 1000) for step in range(1000)) == OneCycle().factor(299, 1000) == 1
    assert OneCycle().factor(999, 1000) == pytest.approx(1 / 25e4)
    assert Cyclic().factor(499, 999) == 1
