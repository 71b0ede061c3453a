"""A trial's whole description: its defaults, its two lists of images, its way through YAML, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from robustray.attacks import Pgd, Threat
from robustray.attacks.pgd import StepSize
from robustray.attacks.versions import VERSIONS
from robustray.defenses import Adversarial, Trades
from robustray.judge import Judge, JudgeImages
from robustray.trial import TrialConfig
from tests.robustray.made import JUDGE, trial

SMALL: dict[str, Any] = {"data": {"name": "digits", "validation": 60}, "threat": {"eps": 0.1}}


def test_two_lists() -> None:
    """Judged and tuned on: disjoint, all of validation together, classes in proportion."""
    judge = Judge.model_validate(JUDGE)
    judged, tune = judge.lists()
    assert (len(judged), len(tune)) == (20, 40)
    assert sorted([*judged.tolist(), *tune.tolist()]) == list(range(60))
    assert not judge.one_list
    labels = judge.data.load("validation").labels
    assert np.abs(np.bincount(labels[judged], minlength=10) - np.bincount(labels, minlength=10) / 3).max() < 1


@pytest.mark.parametrize("images", [{}, {"validation": "all"}, {"validation": 60}])
def test_one_list(images: dict[str, Any]) -> None:
    """On tiny sets both are all of validation."""
    judge = Judge.model_validate(SMALL | {"images": images})
    judged, tune = judge.lists()
    assert judge.one_list
    assert judged.tolist() == tune.tolist() == list(range(60))


@pytest.mark.parametrize("images", [{}, {"validation": "all"}, {"validation": 60}])
def test_selecting_on_the_judges_images_is_refused(images: dict[str, Any]) -> None:
    judge = SMALL | {"images": images}
    with pytest.raises(ValidationError, match="best_robust needs validation images of its own"):
        TrialConfig.model_validate({"judge": judge, "checkpoints": {"select": "best_robust"}})
    TrialConfig.model_validate({"judge": judge, "checkpoints": {"select": "last"}})
    assert trial(checkpoints={"select": "best_robust"}).checkpoints.select == "best_robust"


def test_the_lists_know_nothing_of_the_trial() -> None:
    lists = [trial(seed=seed, defense=defense).judge.lists() for seed, defense in ((0, "trades"), (5, "natural"))]
    assert lists[0][0].tolist() == lists[1][0].tolist()
    assert lists[0][1].tolist() == lists[1][1].tolist()


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ({"images": {"validation": 61}}, "images.validation is 61, but data.validation holds out only 60"),
        ({"images": {"validation": 0}}, "at least 1, or all"),
        ({"images": {"test": -3}}, "at least 1, or all"),
        ({"images": {"validation": 2.5}}, "validation"),
        ({"version": "standrd"}, "did you mean 'standard'"),
        ({"version": []}, "list of different attacks"),
        ({"version": ["apgd-ce", "apgd-ce"]}, "list of different attacks"),
        ({"version": ["apgd-ce", "fabt"]}, "did you mean 'fab"),
        ({"threat": {}}, "eps"),
        ({"threat": {"norm": "l0", "eps": 0.1}}, "norm"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"imges": {}}, "imges"),
    ],
)
def test_wrong_judges(judge: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrialConfig.model_validate({"judge": SMALL | judge})


@pytest.mark.parametrize("wrong", [None, [], "trades", 3])
def test_a_trial_is_a_mapping(wrong: object) -> None:
    with pytest.raises(ValidationError, match="must be a mapping"):
        TrialConfig.model_validate(wrong)


@pytest.mark.parametrize("version", [*VERSIONS, ["apgd-ce"], ["square", "apgd-t"]])
def test_versions(version: Any) -> None:
    judge = Judge.model_validate(SMALL | {"version": version})
    assert judge.attacks == (VERSIONS[version] if isinstance(version, str) else tuple(version))
    assert judge.version_name == (version if isinstance(version, str) else "+".join(version))
    assert judge.autoattack is (version == "standard")


def test_only_the_authors_version_is_called_autoattack() -> None:
    """In their order: the attacks are adaptive, and another order is another number."""
    named = Judge.model_validate(SMALL | {"version": list(VERSIONS["standard"])})
    turned = Judge.model_validate(SMALL | {"version": list(reversed(VERSIONS["standard"]))})
    assert named.autoattack
    assert not turned.autoattack


def test_what_is_not_said_is_the_published_attack() -> None:
    assert trial(attack=None).training_attack == Trades.published_attack
    assert trial(attack={"steps": 5}).training_attack == Pgd(steps=5, start="gaussian")
    assert trial(attack={"steps": 5}, defense="adversarial").training_attack == Pgd(steps=5)
    assert trial(attack={"start": "uniform"}).training_attack == Pgd(start="uniform")
    assert trial(attack={"step_size": {"of_eps": 0.5}}).training_attack == Pgd(
        step_size=StepSize(of_eps=0.5), start="gaussian"
    )
    assert Adversarial().attack_with(Pgd(start="gaussian")) == Pgd(start="gaussian")


def test_the_threat_is_the_judges_unless_said() -> None:
    assert trial().training_threat == trial().judge.threat == Threat(eps=0.1)
    assert trial(threat={"eps": "8/255"}).training_threat == Threat(eps=8 / 255)


@pytest.mark.parametrize(
    "config",
    [
        trial(),
        trial(attack={"steps": 5, "step_size": 0.01}, threat={"eps": "8/255"}),
        trial(defense={"name": "adversarial", "keep_clean": True}, averaging="none", schedule={"name": "cosine"}),
        trial(
            checkpoints={"select": "best_robust"}, precision="bf16", batch={"augment": [{"name": "crop", "padding": 1}]}
        ),
        trial(judge=SMALL | {"version": ["square"], "images": {"test": 10}}),
    ],
)
def test_round_trip_through_yaml(config: TrialConfig) -> None:
    """The text says everything: what comes back trains and judges alike, and writes the same text."""
    text = config.to_yaml()
    back = TrialConfig.model_validate(yaml.safe_load(text))
    assert back == config.resolved()
    assert back.to_yaml() == text
    assert back.training_attack == config.training_attack
    assert back.training_threat == config.training_threat
    written = yaml.safe_load(text)
    assert set(written) == set(TrialConfig.model_fields)
    assert written["attack"] is not None
    assert written["threat"] is not None


def test_resolving_twice_changes_nothing() -> None:
    config = trial(attack={"steps": 5})
    assert config.resolved() != config
    assert config.resolved().resolved() == config.resolved()
    assert config.resolved().training_attack == config.training_attack


def test_a_whole_number_of_images() -> None:
    assert JudgeImages.model_validate({"validation": "1e3"}).validation == 1000


def test_options_cost_no_torch() -> None:
    """In a fresh process: help and the errors of a YAML file are instant, and drag no sweep along."""
    program = """
import sys
import robustray
from robustray.options.words import text
from robustray.registry import kinds, parts
robustray.TrialConfig.model_validate({"judge": {"data": "digits", "threat": {"eps": "8/255"}}}).to_yaml()
assert all(text(part) for kind in kinds() for part in parts(kind).values())
import robustray.verdicts, robustray.judging.plan
from robustray.attacks import Pgd
from robustray.data import Digits
from robustray.defenses import Trades
from robustray.models import SmallCnn
from robustray.training import Ema, OneCycle
heavy = {"torch", "torchvision", "sklearn", "pyautoattack", "ray", "optuna", "pandas", "plotly", "sweeps", "analysis"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_fronts_hold_what_they_promise() -> None:
    """Every name in `__all__` is there, and a name that is not says so as Python does."""
    import importlib

    for name in ("", ".attacks", ".data", ".defenses", ".evaluation", ".models", ".training"):
        package = importlib.import_module(f"robustray{name}")
        assert all(getattr(package, public) is not None for public in package.__all__)
        with pytest.raises(AttributeError, match="no_such_name"):
            package.no_such_name  # noqa: B018
