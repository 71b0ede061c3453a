"""Every search space that is shipped: it is valid, it draws trials, and those of papers hold what the papers ran."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustray.training.curricula import Moment
from robustray.trial import TrialConfig
from sweeps.dry_run import first_trials
from sweeps.space import Sweep

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared" / "reference"
SPACES = sorted([*(ROOT / "search_spaces").rglob("*.yaml"), *(ROOT / "benchmarks").glob("*.yaml")])
PAPERS = [path for path in SPACES if path.parent.name == "papers"]
ROW = re.compile(r"^#   (\S.*?) {2,}([\d.]+) / ([\d.]+)(?: / ([\d.]+))?$", re.MULTILINE)
"""A published model in a header: its name and its numbers, in percent."""

OVERRIDE = re.compile(r"--set (?:'([^']+)'|([^\s`]+=[^\s`]+))")

every_space = pytest.mark.parametrize("path", SPACES, ids=lambda path: path.stem)
every_paper = pytest.mark.parametrize("path", PAPERS, ids=lambda path: path.stem)


def header(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\nname:")[0]


def reference(name: str) -> list[dict[str, str]]:
    """A table of published results, which lies beside the checkout and is no part of it."""
    path = REFERENCE / name
    if not path.exists():
        pytest.skip(f"no published results at {path}")
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@every_space
def test_valid_and_named_after_its_file(path: Path) -> None:
    assert Sweep.from_yaml(path).name == path.stem


@every_space
def test_first_trials(path: Path) -> None:
    """What a dry run lists: trials that are drawn, are whole, and are the same when drawn again."""
    sweep = Sweep.from_yaml(path)
    drawn = first_trials(sweep, 5)
    assert len(drawn) == min(5, sweep.trials)
    assert drawn == first_trials(sweep, 5)
    every = first_trials(sweep, sweep.trials)
    assert len({config.to_yaml() for _, config in every}) == sweep.trials, "no setting is trained twice"
    for params, config in drawn:
        assert sweep.trial_config(params) == config
        assert TrialConfig.model_validate(yaml.safe_load(config.to_yaml())) == config.resolved()


@every_space
def test_more_than_one_setting_is_searched(path: Path) -> None:
    drawn = first_trials(Sweep.from_yaml(path), 5)
    assert len({config.to_yaml() for _, config in drawn}) > 1


@every_paper
def test_header_of_a_paper(path: Path) -> None:
    """It says which paper and how to run it, what the original ran on, what it found, and what differs here."""
    text = header(path)
    assert re.search(r"arXiv:\d{4}\.\d{5}", text)
    assert f"python run_sweep.py {path.relative_to(ROOT)}\n" in text
    places = [text.index(f"\n# {word}") for word in ("Hardware: ", "Published", "Differs:\n# - ")]
    assert places == sorted(places)
    assert re.search(r"Hours: (not published|[\d.]+)", text)
    assert all(len(line) <= 128 for line in text.splitlines())


@every_paper
def test_overrides_in_a_header_are_valid(path: Path) -> None:
    given = [quoted or bare for quoted, bare in OVERRIDE.findall(header(path))]
    changed = Sweep.from_yaml(path, overrides=given)
    assert (changed.space_hash != Sweep.from_yaml(path).space_hash) == bool(given)


def test_published_robustness_of_stutz_2021() -> None:
    """All 74 models of the paper, each in the header of one space, with its errors."""
    shown: dict[str, tuple[float, ...]] = {}
    for path in PAPERS:
        if path.stem.startswith("stutz2021"):
            for name, *numbers in ROW.findall(header(path)):
                assert name not in shown
                shown[name] = tuple(map(float, numbers))
    keys = ("clean_error_test", "aa_error_test", "aa_error_early_stopped")
    assert shown == {
        row["model"]: tuple(float(row[key]) for key in keys) for row in reference("robust_flatness_2021.csv")
    }


def test_published_robustness_on_robustbench() -> None:
    table = reference("robustbench_2025-03-31.csv")
    checked = 0
    for path in PAPERS:
        if not path.stem.startswith("stutz2021"):
            data = Sweep.from_yaml(path).judge.data.name
            for name, clean, robust, _ in ROW.findall(header(path)):
                [row] = [row for row in table if (row["dataset"], row["threat"], row["entry"]) == (data, "Linf", name)]
                assert (float(clean), float(robust)) == (float(row["clean"]), float(row["autoattack"]))
                checked += 1
    assert checked >= 8


Params = dict[str, Any]


def each(name: str, values: Iterable[Any]) -> list[Params]:
    """One option at each of its values."""
    return [{name: value} for value in values]


def branch(choice: str, label: str, **options: Any) -> Params:
    """A branch of a choice, with what is searched in it."""
    return {choice: label} | {f"{choice}.{label}.{name}": value for name, value in options.items()}


def ran(base: Params, *changes: Params) -> list[Params]:
    """One trial for each change of the same settings."""
    return [base | change for change in changes]


def yang(lam: float | None = None, mu: float | None = None) -> list[Params]:
    """The rows of Yang et al. (2020) for one network; LLR and gradient regularisation where they have weights for LLR."""
    regularised = [branch("defense", "tulip", lam=1.0, h=1.0), branch("defense", "llr", lam=lam, mu=mu)]
    return [
        branch("defense", "natural"),
        *(regularised if lam else []),
        branch("defense", "adversarial"),
        *(branch("defense", "rst", lam=weight) for weight in (0.5, 1.0, 2.0)),
        *(branch("defense", "trades", beta=beta) for beta in (1.0, 3.0, 6.0)),
    ]


MULTI_STEP = branch("schedule", "multi_step", lr=0.05, drop=0.1)
SGD = {"batch.size": 128, "model.activation": "relu", **branch("optimiser", "sgd", weight_decay=5e-4)}
AWAY = {"model.dropout": 0, "update": "plain", "averaging": "none", "optimiser.clip": None}

RUN: dict[str, list[Params]] = {
    "bai2023_robust_base": [
        {"batch.mix.fraction": 0.7, "defense.beta": 5.0, "defense.label_smoothing": 0.1, "schedule.lr": 0.2}
    ],
    "bai2023_small_bases": ran(
        {"schedule.lr": 0.1}, branch("defense", "natural"), branch("defense", "adversarial", clean_fraction=0.0)
    ),
    "kamath2021_cusp": ran(
        {"curriculum": "cusp", "curriculum.cusp.rotations.0": 120, "curriculum.cusp.eps_scales.0": 0.25},
        branch("defense", "adversarial"),
        branch("defense", "trades", beta=5.0),
    ),
    "kamath2021_eps": ran(branch("defense", "trades", beta=6.0), *each("threat.eps", (2 / 255, 4 / 255, 8 / 255))),
    "kamath2021_rotation": ran({"batch.augment.1.pixels": 16}, *each("batch.augment.0.degrees", range(30, 181, 30))),
    "kamath2021_tradeoff": [
        *(branch("curriculum", "theta", **{"stages.0.rotation": angle}) for angle in range(0, 61, 10)),
        *(branch("curriculum", "eps", **{"stages.0.eps_scale": eps}) for eps in (0.25, 0.5, 1)),
        {"curriculum": "cusp"},
    ],
    "pang2022_generated": ran(
        {"batch.mix.fraction": 0.7, "averaging.decay": 0.995, "schedule.lr": 0.2},
        branch("defense", "score", beta=3.0, clip=0),
        branch("defense", "score", beta=4.0, clip=0),
        branch("defense", "trades", beta=5.0, label_smoothing=0.1),
    ),
    "pang2022_preact": [
        *ran(
            {"model.activation": "relu", "schedule.lr": 0.1},
            branch("defense", "adversarial"),
            branch("defense", "trades", beta=6.0),
        ),
        *ran(
            {"model.activation": "relu", "schedule.lr": 0.05},
            branch("defense", "score_pgd", divergence="lse", clip=0.4),
            branch("defense", "score", divergence="lse", beta=6.0, clip=0.3, clips="total"),
        ),
    ],
    "stutz2021_attacks": [
        *ran(
            {"threat.eps": 8 / 255, "defense": "adversarial"} | branch("attack", "highest", steps=7),
            {},
            *each("attack.highest.steps", (5, 14)),
            {"threat.eps": 9 / 255},
            *each("defense", ("ignore_incorrect", "prevent_label_leaking")),
        ),
        *ran(
            {"threat.eps": 8 / 255, "defense": "adversarial"},
            *(branch("attack", "misclassified", tau=tau) for tau in range(4)),
        ),
    ],
    "stutz2021_data": [
        *(branch("batch", "standard", label_noise=noise) for noise in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        {"batch": "autoaugment"},
        {"batch": "unlabeled", "batch.unlabeled.mix.fraction": 0.5},
    ],
    "stutz2021_losses": [
        *(branch("defense", "adversarial", label_smoothing=mass) for mass in (0.0, 0.1, 0.2, 0.3)),
        *(branch("defense", name, beta=beta) for name in ("trades", "mart") for beta in (1.0, 3.0, 6.0, 9.0)),
        *(branch("defense", "self_supervised", weight=weight) for weight in (0.5, 1.0, 2.0, 4.0, 8.0)),
    ],
    "stutz2021_optimisation": [
        *ran(
            SGD | MULTI_STEP,
            *each("schedule.multi_step.lr", (0.01, 0.05, 0.1, 0.2)),
            *each("optimiser.sgd.weight_decay", (0, 0.001, 0.005, 0.01, 0.05)),
            *each("batch.size", (8, 16, 32, 64, 256, 512)),
            *each("model.activation", ("silu", "mish", "gelu")),
        ),
        *ran(
            SGD,
            branch("schedule", "late", lr=0.05),
            *(branch("schedule", "constant", lr=rate) for rate in (0.05, 0.01, 0.005)),
            *each("schedule", ("cyclic1", "cyclic2", "cyclic3", "cyclic4")),
        ),
        {
            "batch.size": 128,
            "model.activation": "relu",
            "optimiser": "adam",
            **branch("schedule", "multi_step", lr=0.1, drop=0.1),
        },
    ],
    "stutz2021_weights": ran(
        AWAY,
        {},
        {"model.dropout": 0.1},
        *(branch("update", "awp", xi=xi) for xi in (0.001, 0.005, 0.01)),
        *(branch("update", "entropy_sgd", steps=steps) for steps in (1, 2, 3, 5)),
        *each("optimiser.clip", (0.005, 0.01, 0.025)),
        *(branch("averaging", "ema", decay=decay) for decay in (0.98, 0.985, 0.99, 0.9975)),
    ),
    "yang2020_cifar10": [
        row for drop in (0, 0.2) for row in ran({"model.dropout": drop, "schedule.lr": 0.64}, *yang(4.0, 3.0))
    ],
    "yang2020_mnist": [row for model in ("cnn1", "cnn2") for row in ran({"model": model}, *yang(4.0, 3.0))],
    "yang2020_restricted_imagenet": ran({"model.dropout": 0, "schedule.lr": 0.01}, *yang(3.0, 6.0)),
    "yang2020_svhn": [row for drop in (0, 0.5) for row in ran({"model.dropout": drop, "schedule.lr": 0.064}, *yang())],
}
"""What each paper ran, by the parameters of its space."""


@every_paper
def test_what_a_paper_ran_can_be_drawn(path: Path) -> None:
    sweep, run = Sweep.from_yaml(path), RUN[path.stem]
    assert len({sweep.trial_config(params).to_yaml() for params in run}) == len(run)
    if path.stem.startswith("stutz2021"):  # the baseline is drawn in all, and shown in one
        assert len(run) == len(ROW.findall(header(path))) + (path.stem != "stutz2021_losses")


def test_the_curves_of_a_trade_off_differ_in_what_is_compared_alone() -> None:
    """Every trial of the grid is the same but for its curriculum; eps and rotation are what a curve says, on all batches."""
    sweep = Sweep.from_yaml(ROOT / "search_spaces" / "papers" / "kamath2021_tradeoff.yaml")
    trials = [config for _, config in first_trials(sweep, sweep.trials)]
    assert len(trials) == 12
    assert len({config.model_copy(update={"curriculum": None}).to_yaml() for config in trials}) == 1
    ends = []
    for config in trials:
        assert config.curriculum is not None
        amounts = [config.curriculum.at(Moment(step, 120, 1, config.schedule)) for step in range(120)]
        ends.append((amounts[-1].eps_scale, amounts[-1].rotation))
        assert all(each == amounts[0] for each in amounts) == (config.curriculum.name == "stages")
    curves = [*((0, angle) for angle in range(0, 61, 10)), (0.25, 0), (0.5, 0), (1, 0)]
    assert ends == [*curves, (1, 180), (1, 60)]
