"""The documentation says what the program does: generated pages are current, examples are valid."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft7Validator

from robustray import explained
from robustray import words as about
from robustray.errors import UserError
from robustray.options.yaml import Document
from robustray.plain import first_sentence
from robustray.registry import Part, kinds, name_of, parts
from robustray.trial import TrialConfig
from sweeps.space import Sweep
from sweeps.space import reference as written_reference
from sweeps.space import schema as written_schema
from sweeps.space.distributions import KINDS, MEANING
from sweeps.space.searching import Search
from sweeps.space.stopping import Stopping
from tests.sweeps.test_space_errors import GOOD, MISTAKES, NAME, with_line

ROOT = Path(__file__).parents[1]
SPACES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
EVERY = [pytest.param(cls, id=f"{kind}-{name}") for kind in kinds() for name, cls in parts(kind).items()]
SCHEMA = Draft7Validator(written_schema.schema())


# ---------------------------------------------------------------------------------------------------------- reference


def test_the_reference_is_current() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in written_reference.FOLDER.glob("*.md")}
    assert written == written_reference.pages(), "make reference"


def test_every_part_and_every_option_is_in_the_reference() -> None:
    pages = written_reference.pages()
    for kind in kinds():
        for name, cls in parts(kind).items():
            assert f"\n## {name}\n" in pages[f"{kind}.md"]
            assert f"({kind}.md#{name})" in pages["README.md"]
            section = pages[f"{kind}.md"].partition(f"\n## {name}\n")[2].partition("\n## ")[0]
            for option in cls.model_fields:
                assert option == "name" or f"| `{option}` |" in section


def test_every_option_has_a_meaning() -> None:
    for cls in [*written_reference.SECTIONS.values(), *(cls for kind in kinds() for cls in parts(kind).values())]:
        assert [option.name for option in about.options(cls) if not option.description] == []
    assert set(MEANING) == set(KINDS)


@pytest.mark.parametrize("cls", EVERY)
def test_the_example_of_a_part_is_a_valid_search_space(cls: type[Part]) -> None:
    tree = yaml.safe_load(about.example(cls))
    whole = yaml.safe_load(GOOD)
    for section, options in tree.items():
        whole[section] = options if isinstance(options, list) else {**whole[section], **options}
    sweep = Sweep.model_validate(whole)
    assert name_of(cls) in json.dumps(sweep.resolved())
    assert list(SCHEMA.iter_errors(whole)) == []


def test_what_a_name_means() -> None:
    none = {kind: "none" in parts(kind) for kind in kinds()}
    assert sum(none.values()) >= 1
    text = explained.found("none", {})
    assert all(f"{kind} none\n" in text for kind, has in none.items() if has)
    assert "every schedule:\n" in explained.found("schedule", {})
    assert "search.trials" not in explained.found("search", written_reference.SECTIONS)
    trials = (
        "  trials = auto  how many trials; auto is 24, and all settings of a grid\n      auto or a whole number, at "
    )
    assert trials + "least 1\n" in explained.found("search", written_reference.SECTIONS)
    with pytest.raises(UserError, match=r"^--explain one_cicle: nothing has this name; did you mean 'one_cycle'\?$"):
        explained.found("one_cicle", written_reference.SECTIONS)
    with pytest.raises(
        UserError, match=r"nothing has this name; lists of parts: attack, .*; sections: budget, .*wandb$"
    ):
        explained.found("xyzzyq", written_reference.SECTIONS, written_reference.TERMS)


def test_every_section_option_and_value_of_a_space_is_explained_under_its_own_name() -> None:
    def of(name: str) -> str:
        return explained.found(name, written_reference.SECTIONS, written_reference.TERMS)

    for name in written_reference.SECTIONS:
        assert of(name).startswith(f"{name}\n\n")  # and not the name of a class
    for option in {*Sweep.model_fields, *TrialConfig.model_fields} - {*written_reference.SECTIONS, *kinds()}:
        assert option in of(option)
    assert of("batch").startswith("trial.batch\n\nBatches of training images.\n")
    assert "  validate_every = 1  epochs between validations" in of("checkpoints")
    assert of("fidelity").startswith("fidelity\n\nA look at a setting")
    assert of("objectives").startswith("objectives, an option\n\n  objectives = {clean_accuracy: max")
    assert of("seed").count(", an option\n") == 2  # of the search and of a trial
    for value in {*get_args(Search.model_fields["sampler"].annotation)} - {"auto", "none"}:
        assert f"{value}, a value of search.sampler\n\n  sampler = auto  auto is the model" in of(value)
        assert "\n\nWhat stands beside it: --explain search" in of(value)
    for value in {*get_args(Stopping.model_fields["name"].annotation)} - {"auto", "none"}:
        assert of(value).startswith(f"{value}, a value of stopping.name\n\n  name = auto  race pauses every trial")
    assert "the logarithm is uniform" in of("loguniform")
    assert "A metric, for `objectives`" in of("cost_passes")


def test_a_summary_is_a_whole_sentence() -> None:
    """It is what a list of parts says of each, and an editor: docstrings break their lines, and go on in formulas."""
    for cls in [*written_reference.SECTIONS.values(), *(cls for kind in kinds() for cls in parts(kind).values())]:
        said = about.summary(cls)
        assert said.endswith("."), said
        assert said.count("(") - said.count(")") == 0, said
        assert "\n" not in said
    soup = about.summary(parts("derive")["soup"])
    assert soup.startswith("Weight interpolation: ")
    assert soup.endswith("Croce et al., arXiv:2302.10164).")
    assert about.summary(parts("measure")["nearest_neighbour"]).endswith(" is certain within eps.")
    for kind in kinds():
        assert all(line.startswith("  ") and len(line) < 120 for line in about.listed(kind).splitlines()[2:])


def test_a_sentence_ends_where_another_begins() -> None:
    assert first_sentence("One of Yang et al. (2020. Not yet), arXiv:2003.02460 as it is. Two.") == (
        "One of Yang et al. (2020. Not yet), arXiv:2003.02460 as it is."
    )
    assert first_sentence("One. `Two` is code.") == "One."
    assert first_sentence("Of 1.5 to 2") == "Of 1.5 to 2"


def test_values_in_words() -> None:
    said = {option.name: option.values for option in about.options(parts("attack")["pgd"])}
    assert said["density"] == "a number, above 0 and at most 1"
    assert said["tau"] == "a whole number, at least 0, or null"
    assert said["start"] == "uniform, gaussian or none"
    assert said["step_size"] == "a number, at least 0, or a mapping"
    assert said["step_size.of_eps"] == "a number, above 0, or null"


def test_costs_are_the_attacks_own() -> None:
    """What a step of a defense or an update costs is counted, and stands in its docstring as a formula."""
    assert about.cost(parts("attack")["pgd"]) == "20 passes per image, with the options' defaults"
    assert "Passes per image with K attack steps: 1 + 2K + 6." in about.text(parts("defense")["trades"])
    assert all(
        "Passes per image" in (cls.__doc__ or "") for kind in ("defense", "update") for cls in parts(kind).values()
    )


# ------------------------------------------------------------------------------------------------------------- schema


def test_the_schema_is_current() -> None:
    assert (ROOT / "search_spaces" / written_schema.FILE).read_text(encoding="utf-8") == written_schema.text(), (
        "make schema"
    )


def test_the_schema_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA.schema)
    used = set(_references(SCHEMA.schema))
    assert {f"#/definitions/{key}" for key in SCHEMA.schema["definitions"]} <= {_definition(ref) for ref in used}


def _references(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [tree["$ref"]] if "$ref" in tree else [ref for inside in tree.values() for ref in _references(inside)]
    return [ref for inside in tree for ref in _references(inside)] if isinstance(tree, list) else []


def _definition(reference: str) -> str:
    return "/".join(reference.split("/")[:3])


@pytest.mark.parametrize("path", SPACES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_shipped_space_names_the_schema_and_keeps_to_it(path: Path) -> None:
    schema = os.path.relpath(ROOT / "search_spaces" / written_schema.FILE, path.parent)
    assert path.read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={schema}\n")
    assert list(SCHEMA.iter_errors(Document.read(path).value)) == []


LEFT_TO_SWEEP = (
    r"not 'a\n'", "not inf", "not nan", "not -inf", "a finite number", "at most 1000000", "needs validation images of its",
    "must be at most 1, not 1.5", "at most 9007", "low below high", "are both", "in the choice twice", "a step above 0",
    "whole number of steps", "needs at least one of", "needs a min, a max", "is above 1", "a smaller number",
    "is given twice", "too wide", "but not both",
)  # fmt: skip
"""Mistakes that a schema cannot tell: about two values at once, the infinite, YAML itself, what another option allows."""


@pytest.mark.parametrize(("line", "new", "key", "said"), MISTAKES, ids=lambda value: str(value)[:60])
def test_typical_mistakes_fail(line: int, new: str, key: str, said: str) -> None:
    try:
        tree = yaml.safe_load(with_line(line, new))
    except (yaml.YAMLError, ValueError):
        return  # the editor's YAML parser says it
    except RecursionError:
        return
    if line == NAME and new == "name: on":
        return  # true in YAML 1.1, text in the 1.2 that editors read
    if not any(words in said for words in LEFT_TO_SWEEP) and "loop" not in new:
        assert not SCHEMA.is_valid(tree)


VALID = [
    "trial.defense=natural",
    "trial.defense={choice: [natural, trades, {name: trades, beta: {uniform: [1, 2]}, label: wide}]}",
    "trial.defense={name: {choice: [trades, adversarial]}}",
    "trial.defense.beta=6/5",
    "trial.defense.beta=1e-3",
    "trial.defense.beta={choice: [1, 8/255, 1e-3]}",
    "trial.defense.beta={stepped: [0, 1, 1/4]}",
    "trial.defense.beta={int: [0, 1e1]}",
    "trial.model.width={logint: [2, 64]}",
    "trial.model.width=1e1",
    "trial.schedule={choice: [{label: short, epochs: 5}, {name: cosine, epochs: {int: [5, 9]}}, one_cycle]}",
    "trial.schedule={epochs: 3}",
    "trial.batch={choice: [{label: small, size: 50}, {label: large, size: {choice: [100, 200]}}]}",
    "trial.batch.augment=[flip, {name: crop, padding: {int: [1, 2]}}]",
    "trial.attack={steps: {int: [1, 5]}, step_size: {of_eps: {uniform: [0.1, 1]}}}",
    "trial.attack={step_size: {loguniform: [1/255, 0.1]}}",
    "trial.attack={choice: [null, {name: pgd, step_size: {choice: [{label: a, of_eps: 1}, {label: b, pixels: 0.1}]}}]}",
    "trial.threat={eps: {uniform: [4/255, 12/255]}}",
    "trial.averaging=none",
    "trial.precision={choice: [fp32, bf16]}",
    "trial.seed={int: [0, 9]}",
    "trial=null",
    "judge.version=[apgd-ce, square]",
    "judge.images={validation: 1e2, test: all}",
    "judge.cheap={loss: ce}",
    "stopping=fifo",
    "stopping={name: fifo}",
    "stopping={name: pareto_halving, rungs: [0.2, 0.5], keep_paused: 9}",
    "stopping={name: pareto_halving, rungs: auto, eta: 4}",
    "resources={cpus: 1/2, gpus: 0}",
    "constraints={clean_accuracy: {min: 3/4}}",
    "objectives={robust_accuracy: max, cost_passes: min}",
]


@pytest.mark.parametrize("change", VALID)
def test_the_schema_refuses_nothing_that_is_valid(change: str, tmp_path: Path) -> None:
    from sweeps.space.overrides import override

    (tmp_path / "x.yaml").write_text(GOOD)
    if change == "trial=null":
        change = "trial={}"
    document = Document.read(tmp_path / "x.yaml")
    override(document, change)
    Sweep.model_validate(document.value)
    assert list(SCHEMA.iter_errors(document.value)) == []


def _searchable() -> list[Any]:
    """Every option of a part in `trial` whose default is a number."""
    trial = [cls for kind in kinds() if about.place(kind)[0] == "trial" for cls in parts(kind).values()]
    return [
        pytest.param(cls, option, field.default, id=f"{cls.kind}-{name_of(cls)}-{option}")
        for cls in trial
        for option, field in cls.model_fields.items()
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    ]


@pytest.mark.parametrize(("cls", "option", "default"), _searchable())
def test_any_number_may_be_searched(cls: type[Part], option: str, default: float) -> None:
    tree = yaml.safe_load(about.example(cls))
    at: Any = tree
    for key in about.place(cls.kind):
        at = at[key]
    at[option] = {"choice": [default]}
    whole = yaml.safe_load(GOOD)
    whole["trial"] |= tree["trial"]
    Sweep.model_validate(whole)
    assert list(SCHEMA.iter_errors(whole)) == []
    at[option] = {"choise": [default]}
    assert not SCHEMA.is_valid(whole)
