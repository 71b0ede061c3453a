"""Every mistake in a search space is one line: file, line, key, what is wrong, and the way out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps.space import Sweep

GOOD = """\
name: trades_beta
judge:
  data: {name: digits, validation: 400}
  threat: {norm: linf, eps: 0.2}
  version: standard
trial:
  batch: {size: 100}
  model: {name: small_cnn, width: 8}
  defense:
    name: trades
    beta: {loguniform: [0.1, 20]}
  schedule: {name: one_cycle, epochs: 25}
objectives: {clean_accuracy: max}
search: {sampler: tpe, trials: 24}
"""
NAME, DATA, THREAT, VERSION, TRIAL, BATCH, MODEL, DEFENSE = 1, 3, 4, 5, 6, 7, 8, 9
BETA, SCHEDULE, OBJECTIVES, SEARCH = 11, 12, 13, 14
BETA_KEY = "trial.defense.beta"


@pytest.fixture
def message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What reading a text (or bytes) as `x.yaml` says."""
    monkeypatch.chdir(tmp_path)

    def message(text: str | bytes, *overrides: str) -> str:
        Path("x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(UserError) as error:
            Sweep.from_yaml("x.yaml", overrides=overrides)
        return str(error.value)

    return message


def with_line(number: int, new: str) -> str:
    lines = GOOD.splitlines()
    old = lines[number - 1]
    indent = old[: len(old) - len(old.lstrip())]
    lines[number - 1] = "\n".join(indent + line for line in new.split("\n"))
    return "\n".join(lines) + "\n"


# fmt: off
MISTAKES: list[tuple[int, str, str, str]] = [
    # (the line, what stands there instead, the key that is named, what is said)
    # -- unknown keys and names
    (BETA, "betta: 3", "trial.defense.betta", "unknown key; did you mean 'beta'?"),
    (BATCH, "bach: {size: 100}", "trial.bach", "unknown key; did you mean 'batch'?"),
    (BATCH, "batch: {siez: 100}", "trial.batch.siez", "unknown key; did you mean 'size'?"),
    (SEARCH, "serach: {trials: 3}", "serach", "unknown key; did you mean 'search'?"),
    (SEARCH, "logging: {}", "logging", "unknown key; known: budget, constraints, derive, description, disk, fidelity, "
     "judge, listeners, measures, measuring, name, objectives, plugins, resources, search, stopping, trial"),
    (SEARCH, "search: {sample: tpe}", "search.sample", "unknown key; did you mean 'sampler'?"),
    (THREAT, "threat: {norm: linf, eps: 0.2, epz: 1}", "judge.threat.epz", "unknown key; did you mean 'eps'?"),
    (DATA, "data: {name: digit}", "judge.data.name", "there is no data 'digit'; did you mean 'digits'?"),
    (DATA, "data: digit", "judge.data", "there is no data 'digit'; did you mean 'digits'?"),
    (BATCH, "batch: {augment: [flip, crp]}", "trial.batch.augment.1", "there is no augmentation 'crp'; did you mean "
     "'crop'?"),
    (BATCH, "averaging: {name: [ema]}", "trial.averaging.name", "there is no averaging '['ema']'"),
    (VERSION, "version: standrd", "judge.version", "there is no version 'standrd'; did you mean 'standard'?"),
    (VERSION, "version: [apgd]", "judge.version", "a list of different attacks; did you mean 'apgd-t'?"),
    (VERSION, "version: 3", "judge.version", "must be 'standard', 'plus', 'rand' or 'apgd' or a list, not 3"),
    (VERSION, "cheap: {loss: marg}", "judge.cheap.loss", "not 'marg'; did you mean 'margin'?"),
    (BATCH, "judge: {}", "trial.judge", "stands beside trial, not inside: all trials of a sweep share one judge"),
    # -- missing
    (THREAT, "threat: {norm: linf}", "judge.threat.eps", "is missing"),
    (DATA, "data: {validation: 3}", "judge.data", "needs a name: one of cifar10, cifar100, digits"),
    (SCHEDULE, "update: null", "trial.update", "must be a name or a mapping with a name: one of awp, "),
    # -- the name is a folder
    (NAME, "name: ../up", "name", "must be up to 100 letters, digits, '.', '_' or '-', not '.' first, not '../up'"),
    (NAME, "name: .hidden", "name", "not '.hidden'"),
    (NAME, "name: a/b", "name", "not 'a/b'"),
    (NAME, 'name: ""', "name", "not ''"),
    (NAME, f"name: {'a' * 101}", "name", "must be up to 100 letters"),
    (NAME, 'name: "a\\n"', "name", r"not 'a\n'"),
    (NAME, "name: 12", "name", "must be text, not 12; put it in quotes"),
    (NAME, "name: on", "name", "must be text, not true; put it in quotes"),
    # -- bounds and types of constants
    (BETA, "beta: -1", BETA_KEY, "must be at least 0, not -1"),
    (BETA, "beta: yes", BETA_KEY, "must be a number, not true"),
    (BETA, "beta: 8/0", BETA_KEY, "must be a number, not '8/0'"),
    (BETA, "beta: six", BETA_KEY, "must be a number, not 'six'"),
    (BETA, "beta: 1e400", BETA_KEY, "must be a finite number, not inf"),
    (BETA, "beta: 1e999999999", BETA_KEY, "must be a finite number, not inf"),
    (BETA, "beta: .nan", BETA_KEY, "must be a finite number, not nan"),
    (BETA, "beta: -.inf", BETA_KEY, "must be a finite number, not -inf"),
    (BETA, "beta: " + "9" * 5000, BETA_KEY, "cannot be read as int"),
    (BETA, "beta:", BETA_KEY, "must be a number, not null"),
    (BETA, "beta: [1]", BETA_KEY, "must be a number, not a list"),
    (BETA, "beta: {a: 1}", BETA_KEY, "must be a number, not a mapping"),
    (SCHEDULE, "schedule: {epochs: 2.5}", "trial.schedule.epochs", "must be a whole number, not 2.5"),
    (SCHEDULE, "schedule: {epochs: 1e9}", "trial.schedule.epochs", "must be at most 1000000, not 1000000000"),
    (SCHEDULE, "schedule: {lr: 0}", "trial.schedule.lr", "must be more than 0, not 0"),
    (SCHEDULE, "precision: bf61", "trial.precision", "must be 'fp32', 'tf32' or 'bf16', not 'bf61'; did you mean 'bf16'?"),
    (SCHEDULE, "checkpoints: best", "trial.checkpoints", "must be a mapping, not 'best'"),
    (SCHEDULE, "checkpoints: {select: best_robust}", "trial.checkpoints.select", "needs validation images of its own"),
    (BATCH, "batch: {augment: flip}", "trial.batch.augment", "must be a list, not 'flip'"),
    (DATA, "data: {name: digits, validation: 4000}", "judge.data.validation", "must be at most 1290, not 4000"),
    (VERSION, "images: {validation: al}", "judge.images.validation", "must be a number or 'all', not 'al'; did you mean "
     "'all'?"),
    # -- numbers of distributions
    (BETA, "beta: {uniform: [-1, 5]}", BETA_KEY, "must be at least 0, not -1"),
    (MODEL, "model: {name: small_cnn, dropout: {uniform: [0, 1]}}", "trial.model.dropout", "must be less than 1, not 1"),
    (SCHEDULE, "threat: {eps: {stepped: [0.5, 1.5, 0.5]}}", "trial.threat.eps", "must be at most 1, not 1.5"),
    (SCHEDULE, "schedule: {epochs: {uniform: [1, 9]}}", "trial.schedule.epochs", "must be a whole number, not 4.048; "
     "use int"),
    (SCHEDULE, "schedule: {epochs: {loguniform: [1, 9]}}", "trial.schedule.epochs", "use logint"),
    (BETA, "beta: {uniform: [5, 1]}", BETA_KEY, "uniform needs low below high, not [5, 1]"),
    (BETA, "beta: {int: [5, 1]}", BETA_KEY, "int needs low below high, not [5, 1]"),
    (BETA, "beta: {uniform: [5, 5]}", BETA_KEY, "low and high are both 5; write 5 instead of uniform"),
    (BETA, "beta: {uniform: [5]}", BETA_KEY, "uniform needs [low, high], not a list of 1"),
    (BETA, "beta: {uniform: 5}", BETA_KEY, "uniform needs [low, high], not 5"),
    (BETA, "beta: {loguniform:}", BETA_KEY, "loguniform needs [low, high], not null"),
    (BETA, "beta: {stepped: [0, 1]}", BETA_KEY, "stepped needs [low, high, step], not a list of 2"),
    (BETA, "beta: {uniform: [yes, 5]}", BETA_KEY, "low of uniform must be a number, not true"),
    (BETA, "beta: {uniform: [0, 8/0]}", BETA_KEY, "high of uniform must be a number, not '8/0'"),
    (BETA, "beta: {uniform: [0, 1e400]}", BETA_KEY, "high of uniform must be a finite number"),
    (BETA, "beta: {uniform: [.nan, 1]}", BETA_KEY, "low of uniform must be a finite number, not nan"),
    (BETA, "beta: {uniform: [-1.0e+308, 1.0e+308]}", BETA_KEY, "the range of uniform is too wide"),
    (BETA, "beta: {int: [0.5, 2]}", BETA_KEY, "low of int must be a whole number, not 0.5"),
    (BETA, f"beta: {{int: [0, {10**400}]}}", BETA_KEY, "high of int must be at most 9007199254740992"),
    (BETA, "beta: {loguniform: [0, 5]}", BETA_KEY, "loguniform needs numbers above 0, not 0"),
    (BETA, "beta: {logint: [-2, 5]}", BETA_KEY, "logint needs numbers above 0, not -2"),
    (BETA, "beta: {stepped: [0, 1, 0]}", BETA_KEY, "stepped needs a step above 0, up to high - low, not 0"),
    (BETA, "beta: {stepped: [0, 1, 2]}", BETA_KEY, "stepped needs a step above 0, up to high - low, not 2"),
    (BETA, "beta: {stepped: [0, 1, 0.3]}", BETA_KEY, "from 0 to 1 is not a whole number of steps of 0.3"),
    # -- where distributions may stand
    (BETA, "beta: {uniform: [0, 1], int: [0, 1]}", f"{BETA_KEY}.uniform", "a distribution must be the only key of its "
     "mapping but for prior, not beside 'int'"),
    (BETA, "beta: {choice: [1, 2], low: 1}", f"{BETA_KEY}.choice", "not beside 'low'"),
    (THREAT, "threat: {eps: {uniform: [0, 1]}}", "judge.threat.eps", "takes constants; only trial may hold a "
     "distribution"),
    (SEARCH, "search: {seed: {int: [0, 9]}}", "search.seed", "takes constants; only trial may hold a distribution"),
    (OBJECTIVES, "objectives: {clean_accuracy: {choice: [max, min]}}", "objectives.clean_accuracy", "takes constants"),
    (NAME, "name: {choice: [a, b]}", "name", "takes constants"),
    # -- choices
    (BETA, "beta: {choice: []}", BETA_KEY, "choice needs a list of values or branches, not an empty list"),
    (BETA, "beta: {choice: 3}", BETA_KEY, "choice needs a list of values or branches, not 3"),
    (BETA, "beta: {choice: {a: 1}}", BETA_KEY, "choice needs a list of values or branches, not a mapping"),
    (BETA, "beta: {choice: [1, [2]]}", f"{BETA_KEY}.choice.1", "must be a value, a name or a mapping, not a list"),
    (BETA, "beta: {choice: [1, {uniform: [0, 1]}]}", f"{BETA_KEY}.choice.1", "must be a value, a name or a mapping, not "
     "a distribution"),
    (BETA, "beta: {choice: [1, 1.0]}", f"{BETA_KEY}.choice.1", "1 is in the choice twice"),
    (BETA, "beta: {choice: [0.5, 1/2]}", f"{BETA_KEY}.choice.1", "0.5 is in the choice twice"),
    (BETA, "beta: {choice: [1, .inf]}", f"{BETA_KEY}.choice.1", "must be a finite number, not inf"),
    (BETA, "beta: {choice: [1, -1]}", BETA_KEY, "must be at least 0, not -1"),
    (BETA, "beta: {choice: [1, {a: 2}]}", f"{BETA_KEY}.choice.1", "this branch needs a label"),
    (BETA, "beta: {choice: [1, six]}", BETA_KEY, "must be a number, not 'six'"),
    (BETA, "beta: {choice: [1, true]}", f"{BETA_KEY}.choice.1", "true is in the choice twice; to the search it is 1"),
    (BETA, "beta: {choice: [2, true]}", BETA_KEY, "must be a number, not true"),
    (BETA, "beta: {choice: [1, null]}", BETA_KEY, "must be a number, not null"),
    (MODEL, "model: {choice: [small_cnn, 3]}", "trial.model", "must be a name or a mapping with a name"),
    (MODEL, "model: {choice: [small_cnn, smal_cnn]}", "trial.model", "there is no model 'smal_cnn'; did you mean 'small_cnn'"),
    # -- the other sections
    (OBJECTIVES, "objectives: {clean_acuracy: max}", "objectives.clean_acuracy", "is not a metric; did you mean "
     "'clean_accuracy'?"),
    (OBJECTIVES, "objectives: {clean_accuracy: maxi}", "objectives.clean_accuracy", "must be 'max' or 'min', not 'maxi'; "
     "did you mean 'max'?"),
    (OBJECTIVES, "objectives: {}", "objectives", "needs at least one of clean_accuracy, robust_accuracy"),
    (OBJECTIVES, "objectives: [clean_accuracy]", "objectives", "must be a mapping, not a list"),
    (OBJECTIVES, "constraints: {smoothness: {max: 1}}", "constraints.smoothness",
     "is not a metric; known: adversarial_fooling_rate, clean_accuracy"),
    (OBJECTIVES, "constraints: {cost_passes: {}}", "constraints.cost_passes", "needs a min, a max, or both"),
    (OBJECTIVES, "constraints: {cost_passes: {min: 2, max: 1}}", "constraints.cost_passes", "2 is above 1"),
    (OBJECTIVES, "constraints: {cost_passes: {minn: 2}}", "constraints.cost_passes.minn", "did you mean 'min'?"),
    (
        SEARCH,
        "search: {sampler: tpee}",
        "search.sampler",
        "must be 'auto', 'tpe', 'nsga2', 'nsga3', 'gp', 'qmc', 'random' or 'grid', not 'tpee'; did you mean 'tpe'?",
    ),
    (SEARCH, "search: {trials: 0}", "search.trials", "must be 'auto' or at least 1, not 0"),
    (SEARCH, "search: {trials: 1e300}", "search.trials", "must be 'auto' or a smaller number"),
    (SEARCH, "search: {seed: -1}", "search.seed", "must be at least 0, not -1"),
    (SEARCH, "search: 3", "search", "must be a mapping, not 3"),
    (SEARCH, "stopping: rase", "stopping.name",
     "must be 'auto', 'race', 'pareto_halving' or 'none', not 'rase'; did you mean 'race'?"),
    (SEARCH, "resources: {cpus: 0}", "resources.cpus", "must be 'auto' or more than 0, not 0"),
    (SEARCH, "resources: {gpus: atuo}", "resources.gpus", "must be 'auto' or a number, not 'atuo'; did you mean 'auto'?"),
    (SEARCH, "resources: {trials_per_device: 0}", "resources.trials_per_device", "must be 'auto' or at least 1, not 0"),
    (SEARCH, "resources: {trials_per_device: 2, gpus: 0.5}", "resources",
     "takes trials_per_device, or cpus and gpus, but not both: each says what a trial gets"),
    (SEARCH, "resources: {max_failures: -1}", "resources.max_failures", "must be at least 0, not -1"),
    # -- YAML itself
    (SEARCH, "name: again", "name", "is given twice, first on line 1"),
    (SEARCH, "search: {seed: 1, seed: 2}", "search.seed", "is given twice, first on line 14"),
    (SEARCH, "yes: 3", "", "the key 'yes' is not text but true in YAML; put it in quotes"),
    (SEARCH, "1: 3", "", "the key '1' is not text but 1 in YAML; put it in quotes"),
    (SEARCH, "search: {null: 1}", "search", "the key 'null' is not text but null in YAML; put it in quotes"),
    (SEARCH, "? [a]\n: 3", "", "a key must be text, not a mapping or a list"),
    (SEARCH, "<<: {a: 3}", "", "merging with << is not supported"),
    (SEARCH, "search: !!python/object/apply:os.system [ls]", "search", "has the tag !!python/object/apply:os.system, but "
     "only plain values are read"),
    (SEARCH, "search: !!set {a}", "search", "has the tag !!set"),
    (SEARCH, "search: !!int x", "search", "'x' cannot be read as int"),
    (SEARCH, "search: &loop [*loop]", "search.0.0", "is nested too deeply, or an alias contains itself"),
    (SEARCH, "search: *nowhere", "", "is not valid YAML: found undefined alias 'nowhere' (column 9)"),
    (SEARCH, "search: {trials: 3", "", "is not valid YAML: while parsing a flow mapping"),
    (SEARCH, 'search: "open', "", "is not valid YAML: while scanning a quoted scalar"),
    (SEARCH, "search: a: b", "", "is not valid YAML: mapping values are not allowed here (column 10)"),
    (SEARCH, "--- \nname: x", "", "expected a single document in the stream, but found another document"),
    (SEARCH, "search: \x07", "", r"has the character '\x07', which YAML does not allow"),
]
# fmt: on


@pytest.mark.parametrize(("line", "new", "key", "said"), MISTAKES, ids=lambda value: str(value)[:60])
def test_one_mistake(message: Callable[..., str], line: int, new: str, key: str, said: str) -> None:
    text = message(with_line(line, new))
    assert text.startswith(f"x.yaml:{line}: {key}: " if key else f"x.yaml:{line}: ")
    assert said in text
    assert "\n" not in text
    assert "Input should" not in text
    assert len(text) < 300


BRANCHES = """\
defense:
  choice:
    - natural
    - {name: trades, beta: {uniform: [1, 2]}}
    - %s"""


@pytest.mark.parametrize(
    ("branch", "place", "said"),
    [
        ("{name: trades, betta: 1, label: b}", "2.betta", "unknown key; did you mean 'beta'?"),
        ("{name: trades, beta: {uniform: [-1, 1]}, label: b}", "2.beta", "must be at least 0, not -1"),
        ("{name: trades, beta: {choice: [1, 2, -3]}, label: b}", "2.beta", "must be at least 0, not -3"),
        ("{name: trades, beta: {uniform: [2, 1]}, label: b}", "2.beta", "uniform needs low below high, not [2, 1]"),
        ("{name: trades, beta: 3}", "2", "'trades' is in the choice twice; give one of them a label"),
        ("{beta: 3}", "2", "this branch needs a label of letters, digits, _ and -, because it has no such name"),
        ("{name: trades, label: a.b}", "2", "this branch needs a label"),
        ("{name: {choice: [trades, natural]}}", "2", "this branch needs a label"),
        ("{name: tradez}", "2.name", "there is no defense 'tradez'; did you mean 'trades'?"),
        ("tradez", "2", "there is no defense 'tradez'; did you mean 'trades'?"),
        ("null", "2", "must be a name or a mapping with a name: one of adversarial, "),
        ("natural", "2", "'natural' is in the choice twice"),
        ("{uniform: [0, 1]}", "2", "must be a value, a name or a mapping, not a distribution"),
    ],
)
def test_mistakes_in_branches(message: Callable[..., str], branch: str, place: str, said: str) -> None:
    lines = GOOD.splitlines()
    inside = [f"  {line}" for line in (BRANCHES % branch).splitlines()]
    text = message("\n".join([*lines[: DEFENSE - 1], *inside, *lines[BETA:]]))
    assert text.startswith(f"x.yaml:13: trial.defense.choice.{place}: {said}")


def test_branch_of_a_branch(message: Callable[..., str]) -> None:
    deep = "{choice: [null, {name: pgd, step_size: {choice: [{label: a, of_eps: 1}, {label: b, of_eps: {uniform: [0, 1]}}]}}]}"
    assert message(with_line(SCHEDULE, f"attack: {deep}")) == (
        "x.yaml:12: trial.attack.choice.1.step_size.choice.1.of_eps: must be more than 0, not 0"
    )


RAMPS = "{name: ramps, eps_scale: null, beta_scale: {first: 0, last: 1}}"


@pytest.mark.parametrize(
    ("defenses", "curricula", "said"),
    [
        ("[trades, adversarial]", f"[null, {RAMPS}]", "adversarial' and trial.curriculum is 'ramps'"),
        (
            "[trades, {name: mart}, adversarial]",
            f"[null, cusp, {RAMPS}]",
            "adversarial' and trial.curriculum is 'ramps'",
        ),
        ("[adversarial, trades]", f"[{RAMPS}, null]", "defense adversarial has no beta"),
        ("[trades, adversarial]", f"[null, {{name: cusp}}, {RAMPS}]", "adversarial' and trial.curriculum is 'ramps'"),
    ],
)
def test_branches_that_do_not_go_together(
    message: Callable[..., str], defenses: str, curricula: str, said: str
) -> None:
    """Each is right beside the first of the other choice; a sweep would end at the first draw of both."""
    lines = GOOD.splitlines()
    inside = [f"  defense: {{choice: {defenses}}}", f"  curriculum: {{choice: {curricula}}}"]
    text = message("\n".join([*lines[: DEFENSE - 1], *inside, *lines[BETA:]]))
    assert "trial.curriculum" in text
    assert "beta_scale needs something to scale" in text
    assert said in text


def test_ranges_that_overlap_where_they_must_not(message: Callable[..., str]) -> None:
    """Both low and both high are in order; one low and the other high are not. Other numbers are not blamed."""
    ranges = "curriculum: {name: cusp, boundaries: [{uniform: [0.3, 0.7]}, {uniform: [0.5, 0.9]}]}"
    text = message(with_line(SCHEDULE, ranges))
    assert "trial.curriculum.boundaries: must be in ascending order" in text
    assert "where trial.curriculum.boundaries.0 is 0.7 and trial.curriculum.boundaries.1 is 0.5" in text


# ------------------------------------------------------------------------------------------------- several, elsewhere


def test_the_first_in_the_file_and_how_many_more(message: Callable[..., str]) -> None:
    text = message(
        with_line(BETA, "betta: 3\nnamee: x").replace("size: 100", "size: 0").replace("trials: 24", "trials: 0")
    )
    assert text == "x.yaml:7: trial.batch.size: must be at least 1, not 0 (and 3 more)"
    assert "more" not in message(with_line(BETA, "beta: {uniform: [-2, -1]}"))  # two corners, one mistake


def test_several_malformed_distributions(message: Callable[..., str]) -> None:
    text = with_line(BETA, "beta: {uniform: [1]}").replace("epochs: 25", "epochs: {int: [2, 1]}")
    assert message(text) == "x.yaml:11: trial.defense.beta: uniform needs [low, high], not a list of 1 (and 1 more)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_line(BETA, "beta:\n  low: 1\n  uniform: [1, 2]"), "x.yaml:13: trial.defense.beta.uniform: a distribution must"),
        (with_line(BETA, "beta:\n  uniform:\n    - -1\n    - 2"), "x.yaml:11: trial.defense.beta: must be at least 0"),
        (with_line(SEARCH, "search:\n\ttrials: 3"), "x.yaml:15: is not valid YAML: a tab cannot stand here"),
        (with_line(SEARCH, "search: " + "[" * 5000), "x.yaml:14: is not valid YAML: is nested too deeply (column 210)"),
        (with_line(SEARCH, "search: " + "[" * 60 + "]" * 60), "x.yaml:14: search.0.0: is nested too deeply"),
        (with_line(TRIAL, "trial: [1]\nx:"), "x.yaml:6: trial: must be a mapping, not a list"),
        (with_line(TRIAL, "trial: {uniform: [0, 1]}\nx:"), "x.yaml:6: trial: must be a mapping of options, not a distrib"),
        (with_line(TRIAL, "trial:\n  choice: [a]"), "x.yaml:7: trial.choice: a distribution must be the only key of its"),
        (with_line(2, "judge:\n  images: {validation: 500}"), "x.yaml:2: judge: images.validation is 500, but data.valid"),
        ("", "x.yaml: is empty"),
        ("# only a comment\n", "x.yaml: is empty"),
        ("- a\n- b\n", "x.yaml:1: must be a mapping of keys to values, not a list"),
        ("\n\njust words", "x.yaml:3: must be a mapping of keys to values, not 'just words'"),
        ("{}", "x.yaml:1: name: is missing (and 1 more)"),
        (b"name: \xff\xfe", "x.yaml:1: is not UTF-8 text"),
        (GOOD.encode() + b"\x80", "x.yaml:15: is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n\x00", "x.yaml:1: is not UTF-8 text"),
        (b"PK\x03\x04", "x.yaml:1: has the character"),
        (GOOD.encode("utf-16"), "x.yaml:1: is not UTF-8 text"),
        (GOOD.replace("trades_beta", "müller").encode("latin-1"), "x.yaml:1: is not UTF-8 text"),
        (with_line(THREAT, "threat:\n  norm: linf\n  epz: 0.2"), "x.yaml:6: judge.threat.epz: unknown key; did you mean"),
        ("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{new}: &{new} [{', '.join(['*' + old] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ), "expands to more than 100,000 values"),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_other_places(message: Callable[..., str], text: str | bytes, said: str) -> None:
    said_here = message(text)
    assert said in said_here
    assert said_here.startswith("x.yaml:")
    assert "\n" not in said_here


def test_nothing_in_a_message_breaks_the_line(message: Callable[..., str]) -> None:
    text = message(with_line(SEARCH, '"a\\n\\e[31mb": 1'))
    assert text.startswith("x.yaml:14: a  [31mb: unknown key")
    assert text.isprintable()


# -------------------------------------------------------------------------------------------------------------- files


def test_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "trades_beta.yaml").write_text(GOOD)
    with pytest.raises(UserError, match=r"trade_beta\.yaml: no such file; did you mean 'trades_beta\.yaml'\?$"):
        Sweep.from_yaml(tmp_path / "trade_beta.yaml")
    with pytest.raises(UserError, match=r"nowhere.x\.yaml: no such file$"):
        Sweep.from_yaml(tmp_path / "nowhere" / "x.yaml")


def test_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r": is a folder, not a YAML file$"):
        Sweep.from_yaml(tmp_path)
    with pytest.raises(UserError, match=r": cannot be read \("):
        Sweep.from_yaml(str(tmp_path / "a\0b"))
    with pytest.raises(UserError, match=r": cannot be read \("):
        Sweep.from_yaml(tmp_path / ("a" * 5000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.touch(mode=0)
    with pytest.raises(UserError, match=r": cannot be read \(Permission denied\)$"):
        Sweep.from_yaml(path)


# ---------------------------------------------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trial.defense.beta=-1", "trial.defense.beta: must be at least 0, not -1"),
        ("trial.defense.betta=1", "trial.defense.betta: unknown key; did you mean 'beta'?"),
        ("trial.defense.beta={uniform: [2, 1]}", "trial.defense.beta: uniform needs low below high, not [2, 1]"),
        ("trial.defense={name: trades, betta: 1}", "trial.defense.betta: unknown key; did you mean 'beta'?"),
        ("trial.averaging.x=1", "trial.averaging.x: unknown key; known: "),
        ("serach.trials=1", "serach: unknown key; did you mean 'search'?"),
        ("judge.threat.eps={uniform: [0, 1]}", "judge.threat.eps: takes constants; only trial may hold a distribution"),
        ("trial.defense.beta", "must look like trial.defense.beta=3"),
        ("=3", "must look like trial.defense.beta=3"),
        ("trial..beta=3", "must look like trial.defense.beta=3"),
        ("trial.seed=", "has no value; write null for nothing"),
        ("trial.seed=[1", "is not valid YAML: while parsing a flow sequence"),
        ("trial.seed=!!python/name:os.system", "has the tag !!python/name:os.system, but only plain values are read"),
        ("trial.defense={a: 1, a: 2}", "a: is given twice"),
        (
            "trial.defense.beta.low=1",
            "trial.defense.beta is a distribution (loguniform), with no 'low' inside; replace it",
        ),
        ("trial.defense.name.x=1", "trial.defense.name is 'trades', with no 'x' inside; replace it whole"),
        ("search.trials.x=1", "search.trials is 24, with no 'x' inside; replace it whole"),
        ("search.sampler.x=1", "search.sampler is 'tpe', with no 'x' inside; replace it whole"),
        ("trial.defense.beta.loguniform.2=1", "is a list with indices 0 to 1, with no '2' inside; replace it whole"),
        ("trial.defense.beta.loguniform.x=1", "is a list with indices 0 to 1, with no 'x' inside; replace it whole"),
    ],
)
def test_overrides(message: Callable[..., str], text: str, said: str) -> None:
    place, _, rest = message(GOOD, text).partition(f"--set {text}: ")
    assert place == ""
    assert said in rest


def test_file_before_overrides(message: Callable[..., str]) -> None:
    text = message(GOOD.replace("size: 100", "size: 0"), "judge.threat.eps=2", "search.seed=-1")
    assert text == "x.yaml:7: trial.batch.size: must be at least 1, not 0 (and 2 more)"


# --------------------------------------------------------------------------------------------------------------- any

ATOMS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["trades", "ema", "8/255", "1e400", "auto", "linf", "uniform", "digits", "max"])
)  # fmt: skip
KEYS = st.sampled_from(
    ["name", "judge", "trial", "data", "threat", "eps", "norm", "defense", "beta", "batch", "augment", "size", "label",
     "choice", "uniform", "int", "stepped", "objectives", "constraints", "clean_accuracy", "min", "search", "trials",
     "stopping", "resources", "cpus", "schedule", "version", "images", "validation", "attack", "step_size", "of_eps"]
) | st.text(max_size=5)  # fmt: skip
TREES: st.SearchStrategy[Any] = st.recursive(
    ATOMS, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(KEYS, inside, max_size=5), max_leaves=12
)


@given(
    tree=TREES,
    key=st.sampled_from(["", "judge", "trial", "trial", "trial.defense", "trial.attack", "objectives", "search"]),
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_tree_is_a_sweep_or_one_line(tmp_path: Path, tree: Any, key: str) -> None:
    base = yaml.safe_load(GOOD)
    if key:
        parent = base
        *above, last = key.split(".")
        for step in above:
            parent = parent[step]
        parent[last] = tree
    else:
        base = tree
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(base, allow_unicode=True), encoding="utf-8", errors="surrogateescape")
    try:
        sweep = Sweep.from_yaml(path)
    except UserError as error:
        assert re.match(re.escape(str(path)) + r"(:\d+: .+|: is empty)", str(error))  # noqa: PT017
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert Sweep.model_validate(sweep.resolved()).space_hash == sweep.space_hash
