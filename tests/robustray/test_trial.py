"""A trial's whole description: its defaults, its two lists of images, its way through YAML, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from robustray.attacks import Pgd, Threat
from robustray.attacks.pgd import StepSize
from robustray.attacks.versions import VERSIONS
from robustray.defenses import Adversarial, Trades
from robustray.errors import UserError
from robustray.judge import Judge, JudgeImages
from robustray.training import Trainer, checkpoints
from robustray.trial import TrialConfig
from sweeps import Sweep
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
    assert trial(threat={"norm": "linf"}).training_threat == trial(threat={}).training_threat == Threat(eps=0.1)
    with pytest.raises(ValidationError, match=r"threat\.eps|eps"):  # a radius of one norm says nothing of another
        trial(threat={"norm": "l2"})


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
    assert set(written) == set(TrialConfig.model_fields) - {"plugins", "script"}  # which this one has none of
    assert written["attack"] is not None
    assert written["threat"] is not None


def test_resolving_twice_changes_nothing() -> None:
    config = trial(attack={"steps": 5})
    assert config.resolved() != config
    assert config.resolved().resolved() == config.resolved()
    assert config.resolved().training_attack == config.training_attack


OLD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"defense": {"name": "trades", "beta": 3, "label_smoothing": 0.1}},
        {"defense": {"name": "trades", "beta": 3}, "batch": {"label_smoothing": 0.1}},
    ),
    (
        {"defense": {"name": "mart", "label_smoothing": "1/5", "smoothed_onto": "others"}, "batch": {"size": 100}},
        {"defense": "mart", "batch": {"size": 100, "label_smoothing": 0.2, "smoothed_onto": "others"}},
    ),
    (
        {"defense": {"name": "score", "label_smoothing": 0.1}},
        {"defense": "score", "batch": {"label_smoothing": 0.1, "smoothed_onto": "others"}},
    ),
    ({"defense": {"name": "fast", "guard": 0.5}}, {"defense": "fast", "checkpoints": {"collapse": 0.5}}),
    ({"defense": {"name": "trades", "label_smoothing": 0, "smoothed_onto": "all"}}, {"defense": "trades"}),
]
"""Options where they were before, and where they are."""


@pytest.mark.parametrize(("old", "new"), OLD)
def test_two_spellings_are_one_trial(old: dict[str, Any], new: dict[str, Any]) -> None:
    configs = [TrialConfig.model_validate({"judge": JUDGE} | options) for options in (old, new)]
    assert configs[0].resolved() == configs[1].resolved()
    assert configs[0].to_yaml() == configs[1].to_yaml()
    written = yaml.safe_load(configs[0].to_yaml())
    assert not {"label_smoothing", "smoothed_onto", "guard"} & set(written["defense"])


@pytest.mark.parametrize(("old", "new"), OLD)
def test_a_checkpoint_of_the_old_spelling_is_gone_on_from(
    old: dict[str, Any], new: dict[str, Any], tmp_path: Path
) -> None:
    """As it was written before, without what is new since."""
    config = trial(**new, schedule={"epochs": 2})
    whole = Trainer(config, tmp_path / "whole", device="cpu").run()
    Trainer(config, tmp_path / "old", device="cpu").epoch()
    path = tmp_path / "old" / "last.pt"
    state = checkpoints.load(path)
    written = yaml.safe_load(state["config"])
    del written["batch"]["label_smoothing"], written["batch"]["smoothed_onto"], written["checkpoints"]["collapse"]
    written["defense"] |= {"label_smoothing": 0.0, "smoothed_onto": "all"} | old["defense"]
    if written["defense"]["name"] == "score":
        written["defense"]["smoothed_onto"] = "others"
    checkpoints.save(path, state | {"config": yaml.safe_dump(written)})
    again = Trainer(config, tmp_path / "old", device="cpu")
    assert again.completed == 1
    assert again.run()["weights"] == whole["weights"]
    with pytest.raises(UserError, match="other options"):
        Trainer(trial(**new | {"seed": 1}, schedule={"epochs": 2}), tmp_path / "old", device="cpu")


@pytest.mark.parametrize(("old", "new"), OLD[:4])
def test_an_option_in_both_places_is_a_mistake(old: dict[str, Any], new: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.safe_dump({"judge": JUDGE, **new, "defense": old["defense"]}))
    with pytest.raises(
        UserError, match=r"defense\.(\w+): is (batch|checkpoints)\.\w+, which is given as well"
    ) as caught:
        TrialConfig.from_yaml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("defense", "said"),
    [
        ("{name: trades, label_smoothing: 1}", "defense.label_smoothing: must be less than 1, not 1"),
        (
            "{name: trades, smoothed_onto: al}",
            "defense.smoothed_onto: must be 'all' or 'others', not 'al'; did you mean 'all'?",
        ),
        ("{name: fast, guard: 2}", "defense.guard: must be at most 1, not 2"),
        ("{name: trades, guard: 0.5}", "defense.guard: unknown key"),
        ("{name: trades, betta: 2}", "defense.betta: unknown key; did you mean 'beta'?"),
    ],
)
def test_a_mistake_is_where_it_was_written(defense: str, said: str, tmp_path: Path) -> None:
    """Also where the option has another place by now; in a trial, and in a search space."""
    judge = "judge: {data: digits, threat: {eps: 0.1}}\n"
    for text, above, read in (
        (f"{judge}\ndefense: {defense}\n", "", TrialConfig.from_yaml),
        (f"name: x\n{judge}trial: {{defense: {defense}}}\n", "trial.", Sweep.from_yaml),
    ):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}:3: {above}{said}")


@pytest.mark.parametrize("defense", ["trades", "fast", "score"])
def test_what_is_not_said_is_as_the_paper_has_it(defense: str) -> None:
    config = trial(defense=defense, batch={"size": 400, "label_smoothing": 0.1})
    assert config.smoothed_onto == ("others" if defense == "score" else "all")
    assert config.collapse == (0.2 if defense == "fast" else 1)
    written = yaml.safe_load(config.to_yaml())
    assert written["batch"]["smoothed_onto"] == config.smoothed_onto
    assert written["checkpoints"]["collapse"] == config.collapse


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"defense": "llr", "compile": "max"}, "compile", "defense llr differentiates gradients"),
    ({"defense": {"name": "mart"}, "batch": {"augment": ["cutmix"]}}, "defense.name", "mart needs labels of one class"),
    ({"defense": "llr", "precision": "bf16"}, "precision", "the penalty of llr is rounding noise in bf16"),
    ({"defense": "tulip", "precision": "tf32"}, "precision", "the penalty of tulip is rounding noise in tf32"),
    ({"defense": "natural", "update": "free"}, "update", "free attacks images, but defense natural has no adversary"),
    ({"defense": "natural", "attack": {"steps": 3}}, "attack", "natural has no adversary and would ignore it"),
    ({"defense": "tulip", "threat": {"eps": 0.05}}, "threat", "tulip has no adversary and would ignore it"),
    (
        {"defense": "natural", "curriculum": {"name": "stages", "stages": [{"eps_scale": 0.5, "rotation": 3}]}},
        "curriculum",
        "natural has no adversary and would ignore it",
    ),
    ({"update": "free", "attack": {"steps": 3}}, "attack", "update free makes x' itself and would ignore it"),
    (
        {"update": "free", "defense": {"name": "adversarial", "ignore_incorrect": True}},
        "defense.ignore_incorrect",
        "update free makes x' itself and would ignore it",
    ),
    (
        {"update": {"name": "free"}, "curriculum": {"name": "ramps", "step_scale": {"first": 1, "last": 2}}},
        "curriculum.step_scale",
        "update free makes x' itself and would ignore it",
    ),
]


@pytest.mark.parametrize(("options", "key", "said"), REFUSED)
def test_what_does_not_go_together_is_one_line(options: dict[str, Any], key: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.safe_dump({"judge": JUDGE} | options))
    with pytest.raises(UserError) as caught:
        TrialConfig.from_yaml(path)
    _, found, what = str(caught.value).split(": ", 2)
    assert found == key
    assert what.startswith(said)
    assert "; " in what


@pytest.mark.parametrize(("options", "key", "said"), REFUSED)
def test_a_record_is_read_whatever_the_rules_have_become(options: dict[str, Any], key: str, said: str) -> None:
    """A trial that was written out in full was trained so. What its training did not look at is not in it any more."""
    loose = TrialConfig.loose({"judge": JUDGE} | options)
    whole = loose.model_dump(mode="json")
    whole |= {"attack": loose.training_attack.model_dump(mode="json"), "threat": whole["threat"] or JUDGE["threat"]}
    record = TrialConfig.model_validate(whole)
    assert record.resolved() == loose.resolved()
    assert record.ignored() == {}
    again = TrialConfig.model_validate(yaml.safe_load(record.to_yaml()))
    assert again == record.resolved()


def test_what_nobody_looks_at_is_written_as_null() -> None:
    written = yaml.safe_load(trial(defense="natural").to_yaml())
    assert (written["attack"], written["threat"]) == (None, None)
    written = yaml.safe_load(trial(update="free").to_yaml())
    assert written["attack"] is None
    assert written["threat"]["eps"] == 0.1


def test_branches_share_what_one_of_them_looks_at() -> None:
    """The others are trials without it; and where none looks at it, it is a mistake."""
    shared: dict[str, Any] = {
        "attack": {"steps": {"int": [1, 5]}},
        "threat": {"eps": 0.05},
        "curriculum": {"name": "ramps", "eps_scale": {"first": 0.5, "last": 1}},
    }
    sweep = Sweep.model_validate(
        {"name": "x", "judge": JUDGE, "trial": {"defense": {"choice": ["natural", "trades"]}, **shared}}
    )
    natural, trades = (sweep.trial_config({"attack.steps": 3, "defense": name}) for name in ("natural", "trades"))
    assert (natural.attack, natural.threat, natural.curriculum) == (None, None, None)
    assert trades.training_attack == Pgd(steps=3, start="gaussian")
    assert trades.training_threat == Threat(eps=0.05)
    assert trades.curriculum is not None
    assert len({config.to_yaml() for config in sweep.examples()}) > 2
    for key, value in shared.items():
        with pytest.raises(ValidationError, match=rf"{key}.*natural has no adversary"):
            Sweep.model_validate({"name": "x", "judge": JUDGE, "trial": {"defense": "natural", key: value}})


def test_updates_share_what_one_of_them_looks_at() -> None:
    template = {"update": {"choice": ["free", "plain"]}, "attack": {"steps": 3}, "defense": "adversarial"}
    sweep = Sweep.model_validate({"name": "x", "judge": JUDGE, "trial": template})
    assert sweep.trial_config({"update": "free"}).attack is None
    assert sweep.trial_config({"update": "plain"}).training_attack == Pgd(steps=3)
    refused = {"update": {"choice": ["plain", "free"]}, "defense": {"choice": ["trades", "natural"]}}
    wrong = "free attacks images, but defense natural has no adversary.*trial.update is 'free' and trial.defense is 'natural'"
    with pytest.raises(ValidationError, match=wrong):
        Sweep.model_validate({"name": "x", "judge": JUDGE, "trial": refused})


def test_a_search_space_may_smooth_in_one_branch() -> None:
    template = {"defense": {"choice": [{"name": "trades", "label_smoothing": {"choice": [0, 0.1]}}, "mart"]}}
    sweep = Sweep.model_validate({"name": "x", "judge": JUDGE, "trial": template})
    config = sweep.trial_config({"defense": "trades", "defense.trades.label_smoothing": 0.1})
    assert config.batch.label_smoothing == 0.1
    assert sweep.trial_config({"defense": "mart"}).batch.label_smoothing == 0


def test_a_whole_number_of_images() -> None:
    assert JudgeImages.model_validate({"validation": "1e3"}).validation == 1000


def test_options_cost_no_torch() -> None:
    """In a fresh process: help and the errors of a YAML file are instant, and drag no sweep along."""
    program = """
import sys
import robustray
from robustray.words import text
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
