"""The search space: what a YAML file means, and what cannot go wrong once it is read."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from robustray.errors import UserError
from robustray.measures.metrics import METRICS
from robustray.models import Architecture, NoiseSmoothed, Resnet18, SmallCnn
from robustray.trial import TrialConfig
from sweeps.space import Sweep
from sweeps.space.distributions import Distribution, Kind, Parameter
from sweeps.space.schema import schema

EXAMPLE = """
name: trades_beta
judge:
  data: {name: digits, validation: 400}
  threat: {norm: linf, eps: 0.2}
  version: standard
trial:
  batch: {size: 100}
  model: {name: small_cnn, width: 8}
  defense: {name: trades, beta: {loguniform: [0.1, 20]}}
  schedule: {name: one_cycle, epochs: 25, lr: {loguniform: [0.05, 0.5]}}
objectives: {clean_accuracy: max, robust_accuracy: max}
search: {sampler: tpe, trials: 24, seed: 0}
"""
JUDGE = {"data": {"name": "digits", "validation": 400}, "threat": {"norm": "linf", "eps": 0.2}}


def make(trial: Any = None, **top: Any) -> Sweep:
    return Sweep.model_validate({"name": "test", "judge": JUDGE, "trial": trial or {}, **top})


def drawn(seed: int) -> Callable[[Parameter], object]:
    """A sampler: ends as often as everything between them."""
    generator = random.Random(seed)

    def suggest(parameter: Parameter) -> object:
        distribution = parameter.distribution
        if distribution.kind == "choice":
            return generator.choice(distribution.choices)
        return distribution.at(generator.choice([0.0, 1.0, generator.random(), generator.random()]))

    return suggest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "x.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


# ------------------------------------------------------------------------------------------------------------ reading


def test_example(write: Callable[[str], Path]) -> None:
    sweep = Sweep.from_yaml(write(EXAMPLE))
    assert sweep.name == "trades_beta"
    assert sweep.search.trials == 24
    assert [(each.name, each.distribution.kind, each.condition) for each in sweep.space] == [
        ("defense.beta", "loguniform", ()),
        ("schedule.lr", "loguniform", ()),
    ]
    config = sweep.trial_config({"defense.beta": 3.5, "schedule.lr": 0.1})
    assert isinstance(config, TrialConfig)
    assert config.judge == sweep.judge
    assert {"name": "trades", "beta": 3.5}.items() <= config.model_dump()["defense"].items()
    assert (config.schedule.epochs, config.schedule.lr, config.batch.size) == (25, 0.1, 100)


def test_only_name_and_judge_are_needed() -> None:
    sweep = Sweep.model_validate({"name": "one", "judge": JUDGE})
    assert sweep.space == ()
    assert sweep.trial_config({}) == TrialConfig.model_validate({"judge": JUDGE})
    assert sweep.objectives == {"clean_accuracy": "max", "robust_accuracy": "max"}
    assert (sweep.search.sampler, sweep.search.trials, sweep.search.seed) == ("auto", "auto", 0)
    assert sweep.wanted == 1, "there is one setting"
    assert sweep.stopping.name == "auto"
    assert (sweep.settled().search.sampler, sweep.settled().stopping.name) == ("tpe", "none")
    assert (sweep.resources.cpus, sweep.resources.gpus, sweep.resources.max_failures) == ("auto", "auto", 3)


def test_short_forms() -> None:
    sweep = make(stopping="fifo", resources={"cpus": "1/2", "gpus": 0}, constraints={"clean_accuracy": {"min": "3/4"}})
    assert sweep.stopping.name == "none", "what it was called"
    assert (sweep.resources.cpus, sweep.resources.gpus) == (0.5, 0)
    assert sweep.constraints["clean_accuracy"].min == 0.75


def test_byte_order_mark_and_anchors(write: Callable[[str], Path]) -> None:
    text = EXAMPLE.replace("{loguniform: [0.1, 20]}", "&wide {loguniform: [0.1, 20]}").replace(
        "{loguniform: [0.05, 0.5]}", "*wide"
    )
    sweep = Sweep.from_yaml(write("\ufeff" + text), overrides=["trial.schedule.lr.loguniform.1=2"])
    assert [each.distribution.high for each in sweep.space] == [20, 2]  # an alias is a copy


def test_sweep_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make().name = "other"  # type: ignore[misc]


def test_space_costs_no_heavy_import(write: Callable[[str], Path]) -> None:
    code = (
        "import sys; from sweeps.space import Sweep; Sweep.from_yaml(sys.argv[1]).resolved()\n"
        "print([name for name in ('torch', 'ray', 'optuna', 'pandas') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(write(EXAMPLE))]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------ distributions


@pytest.mark.parametrize(
    ("kind", "arguments", "expected"),
    [
        ("uniform", [0, "8/255"], FloatDistribution(0, 8 / 255)),
        ("loguniform", ["1e-3", 20], FloatDistribution(1e-3, 20, log=True)),
        ("int", [1, "1e3"], IntDistribution(1, 1000)),
        ("logint", [1, 64], IntDistribution(1, 64, log=True)),
        ("stepped", [4, 16, 4], IntDistribution(4, 16, step=4)),
        ("stepped", [0, 1, 0.25], FloatDistribution(0, 1, step=0.25)),
    ],
)
def test_to_optuna(kind: Kind, arguments: list[Any], expected: object) -> None:
    assert Distribution.parse(kind, arguments).to_optuna() == expected


def test_choice_to_optuna() -> None:
    parameter = make({"defense": {"name": "trades", "beta": {"choice": ["4/255", "1e-3", 2]}}}).space[0]
    assert parameter.distribution.to_optuna() == CategoricalDistribution((4 / 255, 1e-3, 2))


@pytest.mark.filterwarnings("error")  # Optuna warns when it drops the last step
@given(st.integers(1, 300), st.integers(2, 300), st.integers(0, 20))
@settings(max_examples=100, deadline=None)
def test_steps_come_out_even_for_optuna(count: int, divisor: int, start: int) -> None:
    low, step = start / divisor, 1 / divisor
    distribution = Distribution.parse("stepped", [low, low + count * step, step])
    optuna = distribution.to_optuna()
    assert isinstance(optuna, FloatDistribution)
    assert optuna.high == distribution.high <= low + count * step
    assert optuna.high == pytest.approx(low + count * step, rel=1e-11)
    again = Distribution.parse("stepped", distribution.plain()["stepped"])
    assert again == distribution


def test_checked_puts_rounding_right_and_nothing_else() -> None:
    distribution = Distribution.parse("loguniform", [0.1, 20])
    assert distribution.checked(20.000000000000004) == 20
    assert Distribution.parse("uniform", [0, 1]).checked(-1e-17) == 0
    for wrong in (20.001, 0.0999, float("nan"), float("inf"), True, "3", None, [3]):
        with pytest.raises(ValueError, match=r"must be a number from 0\.1 to 20, not"):
            distribution.checked(wrong)
    with pytest.raises(ValueError, match="a whole number from 4 to 16 in steps of 4, not 6"):
        Distribution.parse("stepped", [4, 16, 4]).checked(6)
    with pytest.raises(ValueError, match="a whole number from 1 to 3, not 2"):
        Distribution.parse("int", [1, 3]).checked(2.0)
    with pytest.raises(ValueError, match="one of 1, 'a', not true"):
        Distribution("choice", choices=(1, "a")).checked(True)


# ------------------------------------------------------------------------------------------------------------ choices

NESTED = {
    "defense": {
        "choice": [
            "natural",
            {"name": "trades", "beta": {"loguniform": [0.1, 20]}},
            {"label": "madry", "name": "adversarial", "keep_clean": {"choice": [True, False]}},
            {"label": "madry2", "name": "adversarial"},
        ]
    },
    "attack": {"choice": [None, {"label": "own", "name": "pgd", "steps": {"int": [1, 10]}}]},
    "averaging": {"choice": ["none", "ema"]},
    "batch": {"size": {"stepped": [32, 128, 32]}, "augment": [{"name": "crop", "padding": {"int": [1, 3]}}, "flip"]},
    "schedule": {
        "choice": [
            {"name": "cosine", "lr": {"loguniform": [0.01, 1]}},
            {"name": "one_cycle", "warmup": {"uniform": [0.1, 0.9]}},
        ]
    },
}


def test_names_carry_the_branch() -> None:
    names = {each.name: each.condition for each in make(NESTED).space}
    assert list(names) == [
        "defense",
        "defense.trades.beta",
        "defense.madry.keep_clean",
        "attack",
        "attack.own.steps",
        "averaging",
        "batch.size",
        "batch.augment.0.padding",
        "schedule",
        "schedule.cosine.lr",
        "schedule.one_cycle.warmup",
    ]
    assert names["defense.madry.keep_clean"] == (("defense", "madry"),)
    assert names["attack.own.steps"] == (("attack", "own"),)
    assert names["defense"] == ()


def test_labels_of_branches() -> None:
    by_name = {each.name: each.distribution.choices for each in make(NESTED).space}
    assert by_name["defense"] == ("natural", "trades", "madry", "madry2")
    assert by_name["attack"] == ("none", "own")  # null beside a mapping
    assert by_name["averaging"] == ("none", "ema")
    assert by_name["defense.madry.keep_clean"] == (True, False)


def test_nothing_is_asked_in_a_branch_not_taken() -> None:
    sweep = make(NESTED)
    asked: list[str] = []

    def suggest(parameter: Parameter) -> object:
        asked.append(parameter.name)
        return {"defense": "natural", "attack": "none", "schedule": "one_cycle"}.get(
            parameter.name,
            parameter.distribution.choices[0] if parameter.distribution.choices else parameter.distribution.low,
        )

    params = sweep.ask(suggest)
    assert asked == list(params)
    assert asked == [
        *("defense", "attack", "averaging", "batch.size", "batch.augment.0.padding", "schedule"),
        "schedule.one_cycle.warmup",
    ]
    config = sweep.trial_config(params)
    assert (config.defense.name, config.attack, config.schedule.name) == ("natural", None, "one_cycle")


def test_choice_in_a_choice() -> None:
    inner = {"choice": [{"label": "fraction", "of_eps": {"uniform": [0.1, 1]}}, {"label": "fixed", "pixels": 0.01}]}
    sweep = make({"attack": {"choice": [None, {"name": "pgd", "step_size": inner}]}})
    assert [(each.name, each.condition) for each in sweep.space] == [
        ("attack", ()),
        ("attack.pgd.step_size", (("attack", "pgd"),)),
        ("attack.pgd.step_size.fraction.of_eps", (("attack", "pgd"), ("attack.pgd.step_size", "fraction"))),
    ]
    params = {"attack": "pgd", "attack.pgd.step_size": "fraction", "attack.pgd.step_size.fraction.of_eps": 0.5}
    assert sweep.trial_config(params).model_dump()["attack"]["step_size"] == {"of_eps": 0.5}
    assert sweep.trial_config({"attack": "none"}).attack is None


def test_a_name_can_be_searched() -> None:
    sweep = make({"schedule": {"name": {"choice": ["cosine", "one_cycle"]}, "lr": 0.2}})
    assert sweep.space[0].name == "schedule.name"
    assert sweep.trial_config({"schedule.name": "cosine"}).schedule.name == "cosine"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "defense: the parameter has no value; it is one of 'natural', 'trades'"),
        ({"defense": "trades"}, "defense.trades.beta: the parameter has no value; it is a number from 0.1 to 20"),
        (
            {"defense": "trades", "defense.trades.beta": 30},
            "defense.trades.beta: must be a number from 0.1 to 20, not 30",
        ),
        ({"defense": "trade"}, "defense: must be one of 'natural', 'trades', not 'trade'"),
        ({"defense": "natural", "defense.trades.beta": 3}, "defense.trades.beta: exists only when defense is 'trades'"),
        (
            {"defense": "trades", "defense.trades.beta": 3, "defense.trades.betta": 3},
            "defense.trades.betta: no such parameter; did you mean 'defense.trades.beta'?",
        ),
    ],
)
def test_wrong_params(params: dict[str, object], message: str) -> None:
    sweep = make({"defense": {"choice": ["natural", {"name": "trades", "beta": {"loguniform": [0.1, 20]}}]}})
    with pytest.raises(UserError) as error:
        sweep.trial_config(params)
    assert str(error.value) == message


def test_wrong_suggestion() -> None:
    with pytest.raises(UserError, match=r"^batch.size: must be a whole number from 1 to 8, not 9$"):
        make({"batch": {"size": {"int": [1, 8]}}}).ask(lambda _: 9)


# ------------------------------------------------------------------------------------------------------- any template


def numbers(kind: str, low: float, high: float) -> st.SearchStrategy[Any]:
    """A constant inside [low, high], or a distribution over a part of it."""
    whole = kind in ("int", "logint")
    value = st.integers(int(low), int(high)) if whole else st.floats(low, high, allow_subnormal=False)
    pair = st.lists(value, min_size=2, max_size=2, unique=True).map(sorted)
    return value | pair.map(lambda ends: {kind: ends})


def with_options(name: str, **options: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({"name": st.just(name)}, optional=options)


DEFENSES = st.one_of(
    st.just("fast"),
    with_options("trades", beta=numbers("loguniform", 0.01, 50)),
    with_options("adversarial", keep_clean=st.booleans() | st.just({"choice": [True, False]})),
)


@st.composite
def branches(draw: st.DrawFn, of: st.SearchStrategy[Any]) -> Any:
    """One of `of`, or a choice of several, labelled so that all may be of one name."""
    options = draw(st.lists(of, min_size=1, max_size=4))
    if len(options) == 1:
        return options[0]
    named = [{"name": option} if isinstance(option, str) else option for option in options]
    return {"choice": [{"label": f"b{i}", **option} for i, option in enumerate(named)]}


TEMPLATES = st.fixed_dictionaries(
    {},
    optional={
        "seed": numbers("int", 0, 100),
        "batch": st.fixed_dictionaries(
            {},
            optional={
                "size": numbers("logint", 1, 512),
                "augment": st.lists(branches(st.just("flip") | with_options("crop", padding=numbers("int", 1, 9)))),
            },
        ),
        "model": with_options("small_cnn", width=numbers("int", 1, 64), dropout=numbers("uniform", 0, 0.9)),
        "threat": st.fixed_dictionaries({"eps": numbers("uniform", 0, 1)}),
        "defense": branches(DEFENSES),
        "schedule": branches(
            with_options("cosine", lr=numbers("loguniform", 1e-4, 10))
            | with_options("one_cycle", warmup=numbers("uniform", 0.01, 0.99), epochs=numbers("int", 1, 90))
        ),
        "averaging": st.sampled_from(["none", "ema", {"choice": ["none", "ema"]}]),
    },
)


@given(TEMPLATES, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_space(template: dict[str, Any], seed: int) -> None:
    sweep = make(template)
    names = [parameter.name for parameter in sweep.space]
    assert len(names) == len(set(names))

    # What is asked is what is filled in, in template order, and every condition above it holds.
    params = sweep.ask(drawn(seed))
    assert sweep.trial_config(params).judge == sweep.judge
    assert [name for name in names if name in params] == list(params)
    conditions = {parameter.name: parameter.condition for parameter in sweep.space}
    for name in names:
        assert (name in params) == all(params.get(choice) == label for choice, label in conditions[name])
    for name in params:
        with pytest.raises(UserError):
            sweep.trial_config({key: value for key, value in params.items() if key != name})

    # What is written is read back: through JSON and through YAML, to the same space.
    resolved = sweep.resolved()
    for text in (json.loads(json.dumps(resolved)), yaml.safe_load(yaml.safe_dump(resolved, sort_keys=False))):
        again = Sweep.model_validate(text)
        assert again.space_hash == sweep.space_hash
        assert again.space == sweep.space
        assert again.resolved() == resolved
        assert again.difference(resolved) == []
        assert again.trial_config(params) == sweep.trial_config(params)


# --------------------------------------------------------------------------------------------------- hash, difference


def test_hash_ignores_trials_and_resources_and_nothing_else(write: Callable[[str], Path]) -> None:
    path = write(EXAMPLE)
    base = Sweep.from_yaml(path)
    same = [
        "search.trials=99",
        "search.duplicates=replicate",
        "description=why beta matters",
        "resources.cpus=2",
        "resources.max_failures=0",
        "resources={trials_per_device: 3}",
        "trial.defense.beta={loguniform: [1e-1, 20.0]}",
    ]
    assert Sweep.from_yaml(path, overrides=same).space_hash == base.space_hash
    assert Sweep.from_yaml(path, overrides=same).difference(base.resolved()) == []
    changes = [
        "name=other",
        "judge.data.validation=300",
        "judge.version=apgd",
        "trial.batch.size=50",
        "trial.defense.beta={loguniform: [0.1, 10]}",
        "trial.defense.beta={uniform: [0.1, 20]}",
        "trial.seed=0",
        "objectives.cost_seconds=min",
        "constraints.clean_accuracy.min=0.5",
        "search.sampler=random",
        "search.seed=1",
    ]
    sweeps = [Sweep.from_yaml(path, overrides=[change]) for change in changes]
    assert len({base.space_hash, *(sweep.space_hash for sweep in sweeps)}) == len(changes) + 1
    for sweep, change in zip(sweeps, changes, strict=True):
        lines = sweep.difference(base.resolved())
        assert len(lines) == 1, change
        assert lines[0].startswith(change.split("=")[0].removesuffix(".min")), change


def test_difference_says_what_changed(write: Callable[[str], Path]) -> None:
    path = write(EXAMPLE)
    old = Sweep.from_yaml(path).resolved()
    changes = ["trial.defense.beta={uniform: [1, 2]}", "trial.seed=3", "search.sampler=random", "trial.batch={}"]
    new = Sweep.from_yaml(path, overrides=changes)
    assert new.difference(old) == [
        "trial.batch.size: 100 -> (absent)",
        'trial.defense.beta: {"loguniform": [0.1, 20.0]} -> {"uniform": [1.0, 2.0]}',
        "trial.seed: (absent) -> 3",
        'search.sampler: "tpe" -> "random"',
    ]


def test_an_option_that_is_newer_than_a_sweep_is_no_difference_at_its_default(write: Callable[[str], Path]) -> None:
    path = write(EXAMPLE)
    old = Sweep.from_yaml(path).resolved()
    del old["search"]["seed"], old["search"]["duplicates"], old["judge"]["accelerated"], old["stopping"]
    assert Sweep.from_yaml(path).difference(old) == []
    assert Sweep.from_yaml(path, overrides=["search.seed=1"]).difference(old) == ["search.seed: 0 -> 1"]
    old["search"]["gone"] = 1
    assert "search.gone: 1 -> (absent)" in Sweep.from_yaml(path).difference(old)


def test_objectives_have_one_order() -> None:
    first, second = list(METRICS)[:2]
    assert list(make(objectives=dict.fromkeys((second, first), "max")).objectives) == [first, second]


# ---------------------------------------------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("overrides", "get", "expected"),
    [
        (["trial.defense.beta=3"], lambda c: c.defense.beta, 3),
        (["trial.defense.beta=8/255"], lambda c: c.defense.beta, 8 / 255),
        (["trial.defense=natural"], lambda c: c.defense.name, "natural"),
        (["trial.defense=adversarial", "trial.defense.keep_clean=true"], lambda c: c.defense.keep_clean, True),
        (["trial.checkpoints.minutes=5"], lambda c: c.checkpoints.minutes, 5),
        (["trial.attack=null", "trial.attack.steps=3"], lambda c: c.attack.steps, 3),
        (["trial.batch.augment=[crop]", "trial.batch.augment.0=flip"], lambda c: c.batch.augment[0].name, "flip"),
        (["trial.batch.augment=[crop]", "trial.batch.augment.0.padding=2"], lambda c: c.batch.augment[0].padding, 2),
        (["trial.schedule.lr.loguniform=[0.3, 0.3000001]"], lambda c: round(c.schedule.lr, 3), 0.3),
        (["trial.schedule.lr = 0.25"], lambda c: c.schedule.lr, 0.25),
    ],
)
def test_overrides(
    write: Callable[[str], Path], overrides: list[str], get: Callable[[Any], object], expected: object
) -> None:
    sweep = Sweep.from_yaml(write(EXAMPLE), overrides=overrides)
    assert get(sweep.trial_config(sweep.ask(drawn(0)))) == expected


def test_overrides_outside_the_template(write: Callable[[str], Path]) -> None:
    sweep = Sweep.from_yaml(write(EXAMPLE), overrides=["search.trials=4", "resources.cpus=1", "name=b", "name=c"])
    assert (sweep.search.trials, sweep.resources.cpus, sweep.name) == (4, 1, "c")


def test_override_with_a_distribution(write: Callable[[str], Path]) -> None:
    sweep = Sweep.from_yaml(
        write(EXAMPLE), overrides=["trial.defense={choice: [natural, {name: trades}]}", "trial.defense.choice.1.beta=2"]
    )
    assert sweep.space[0].distribution.choices == ("natural", "trades")
    assert sweep.trial_config({"defense": "trades", "schedule.lr": 0.1}).model_dump()["defense"]["beta"] == 2


@pytest.mark.parametrize(("end", "base"), [(0, SmallCnn(width=2)), (-1, Resnet18(width=8, dropout=0.1))])
def test_a_part_inside_a_part_of_its_kind_is_searched(end: int, base: Architecture) -> None:
    branches = [{"name": "small_cnn", "width": {"int": [2, 4]}}, {"name": "resnet18", "width": 8, "dropout": 0.1}]
    model = {"name": "noise_smoothed", "sigma": {"uniform": [0.1, 0.2]}, "base": {"choice": branches}}
    sweep = make({"model": model})

    def suggest(parameter: Parameter) -> object:
        distribution = parameter.distribution
        return distribution.choices[end] if distribution.kind == "choice" else distribution.at(float(end != 0))

    assert {parameter.name for parameter in sweep.space} == {"model.sigma", "model.base", "model.base.small_cnn.width"}
    config = sweep.trial_config(sweep.ask(suggest))
    assert config.model == NoiseSmoothed(base=base, sigma=0.1 + 0.1 * (end != 0))


def test_a_part_inside_a_part_of_its_kind_is_in_the_schema() -> None:
    """By the same definitions, without itself, and without end."""
    validator = Draft7Validator(schema())
    bases: list[Any] = [
        "small_cnn",
        {"name": "small_cnn", "width": {"int": [2, 4]}},
        {"choice": ["small_cnn", "vgg16"]},
    ]
    for base in bases:
        assert validator.is_valid(_smoothed(base)), base
        make(_smoothed(base)["trial"])
    for base in ("noise_smoothed", {"name": "noise_smoothed"}, {"choice": ["noise_smoothed", "small_cnn"]}):
        assert not validator.is_valid(_smoothed(base)), base
        with pytest.raises(ValidationError):
            make(_smoothed(base)["trial"])


@pytest.mark.parametrize(
    "threat",
    [{"norm": "linf"}, {}, {"choice": [{"norm": "linf", "label": "as-judged"}, {"eps": 0.2, "label": "more"}]}],
)
def test_what_a_training_threat_leaves_out_is_the_judges_also_in_the_schema(threat: Any) -> None:
    space = {"name": "test", "judge": JUDGE, "trial": {"threat": threat}}
    assert Draft7Validator(schema()).is_valid(space)
    own = make(space["trial"])
    first, last = (
        own.ask(lambda each: each.distribution.choices[0]),
        own.ask(lambda each: each.distribution.choices[-1]),
    )
    assert own.trial_config(first).training_threat == own.judge.threat
    assert own.trial_config(last).training_threat.eps == (0.2 if "choice" in threat else own.judge.threat.eps)
    assert not Draft7Validator(schema()).is_valid({**space, "judge": {**JUDGE, "threat": {"norm": "linf"}}})


def _smoothed(base: Any) -> dict[str, Any]:
    return {"name": "test", "judge": JUDGE, "trial": {"model": {"name": "noise_smoothed", "base": base}}}
