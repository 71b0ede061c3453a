"""Choices are independent: every two of different kinds train together, and every part keeps the loop's promises."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from robustray.errors import UserError
from robustray.registry import Part, kinds, parts
from robustray.testing.options import INSIDE, found, placed
from robustray.training import Trainer
from robustray.trial import TrialConfig
from sweeps import Sweep
from tests.robustray.combinations import covering, pairwise
from tests.robustray.made import Passes, made, state, trial
from tests.robustray.test_trainer import watched


@pytest.mark.usefixtures("extra_images")
@pairwise()
def test_every_pair_of_choices_trains_a_step(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the host waiting for the device, at the declared cost, to finite weights that are others."""
    trainer = Trainer(trial(**options), tmp_path, device="cpu")
    counted, before = Passes(trainer.model), state(trainer.model)
    trainer.progress.batch_in_epoch = 1  # one_cycle and others begin low
    with trainer.at_work():
        watched(trainer, monkeypatch).train_step(torch.arange(30))
    after = state(trainer.model)
    assert all(value.isfinite().all() for value in after.values())
    moved = [name for name, _ in trainer.model.named_parameters() if not torch.equal(after[name], before[name])]
    assert len(moved) >= len(list(trainer.model.parameters())) - 2  # of dead units maybe
    assert trainer.progress.passes == counted.images


@pytest.mark.usefixtures("extra_images")
@covering()
def test_every_part_is_a_function_of_the_seed(options: dict[str, Any], tmp_path: Path) -> None:
    ends: list[dict[str, Tensor]] = []
    for number in range(2):
        torch.manual_seed(number)
        trainer = Trainer(trial(**options), tmp_path / str(number), device="cpu")
        trainer.epoch()
        ends.append(state(trainer.model))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


PARTS = [
    pytest.param(cls, id=f"{kind}-{name}")
    for kind in kinds()
    if kind != "data" and (kind in INSIDE or kind in TrialConfig.model_fields)
    for name, cls in parts(kind).items()
]


def leaves(tree: Any, keys: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every value of an option, by its keys; what tells parts apart is none."""
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = [leaf for key, value in inside if key != "name" for leaf in leaves(value, (*keys, key))]
    return found if isinstance(tree, dict | list) else [(keys, tree)]


def put(tree: Any, keys: tuple[Any, ...], value: Any) -> Any:
    """The same options with another value at one place."""
    if not keys:
        return value
    changed = copy.deepcopy(tree)
    here = changed
    for key in keys[:-1]:
        here = here[key]
    here[keys[-1]] = value
    return changed


def others(value: Any) -> list[Any]:
    """Values near one, some of which an option may take."""
    if isinstance(value, bool):
        return [not value]
    near = (
        (0.9 * value, value + 0.02, value - 0.02, value + 1, value - 1, value + 6, value + 16)
        if isinstance(value, int | float)
        else ()
    )
    return [other for other in dict.fromkeys(near) if other != value]


@pytest.mark.parametrize("cls", PARTS)
def test_every_leaf_may_be_searched(cls: type[Part]) -> None:
    """A space in which every option is a distribution has the trial in it, and says each by its path."""
    plain = made(cls).model_dump(mode="json")
    tree = plain
    for keys, value in leaves(plain):
        tree = put(tree, keys, {"choice": [value]})
    space = placed(tree, cls.kind)
    sweep = Sweep.model_validate({"name": "leaves", "judge": space.pop("judge"), "trial": space})
    assert len(sweep.space) == len(leaves(plain))
    config = sweep.trial_config(sweep.ask(lambda parameter: parameter.distribution.choices[0]))
    assert found(config, cls.kind) == made(cls)


@pytest.mark.parametrize("cls", PARTS)
def test_another_number_is_another_trial(cls: type[Part]) -> None:
    """What is asked for is what the resolved trial says: no option is lost, none stands for another."""
    plain = made(cls).model_dump(mode="json")
    said = {TrialConfig.model_validate(placed(plain, cls.kind)).to_yaml()}
    count = 1
    for keys, value in leaves(plain):
        taken = 0
        for other in others(value):
            try:
                config = TrialConfig.model_validate(placed(put(plain, keys, other), cls.kind))
            except ValidationError:
                continue
            taken += 1
            said.add(config.to_yaml())
            assert TrialConfig.model_validate(yaml.safe_load(config.to_yaml())) == config.resolved()
        count += taken
        assert taken or not others(value), keys
    assert len(said) == count


def test_rows_are_different_trials() -> None:
    rows = [parameter.values[0] for mark in (covering(), pairwise()) for parameter in mark.args[1]]
    assert len({trial(**row).to_yaml() for row in rows}) >= len(rows) - len(covering().args[1])


HEAD = """name: x
judge:
  data: {name: digits, validation: 400}
  threat: {norm: linf, eps: 0.12}
trial:
"""
SCHEDULE = "trial.schedule"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("curriculum: {name: cuspp}", "trial.curriculum.name: there is no curriculum 'cuspp'; did you mean 'cusp'?"),
        ("curriculum: {name: stages, stages: [{}, {begin: {drop: 1}}]}", "trial.curriculum: waits for drop 1"),
        ("curriculum: {name: stages, stages: [{}, {begin: {epoch: 5}, eps_scal: 1}]}",
         "trial.curriculum.stages.1.eps_scal: unknown key; did you mean 'eps_scale'?"),
        ("curriculum: {name: ramps, rotation: {first: 0, last: 200}}", "trial.curriculum.rotation: must stay between"),
        ("batch: {size: 100, mix: {name: generated}}", "trial.batch.mix.path: is missing"),
        ("batch: {size: 9, mix: {name: generated, path: a.npz, fraction: 0.1}}", "trial.batch.mix: a fraction of 0.1"),
        ("batch: {augment: [{name: cutout, sise: 3}]}", "trial.batch.augment.0.sise: unknown key; did you mean 'size'?"),
        ("batch: {augment: [cutmix]}\n  defense: mart", "trial.defense: mart needs labels of one class, but cutmix"),
        ("schedule: {name: multi_step, milestones: [0.5, 0.4]}", f"{SCHEDULE}.milestones: must be in ascending order"),
        ("schedule: {name: cyclic, cycles: {int: [1, 9]}, epochs: 5}", f"{SCHEDULE}.cycles: must be at most epochs"),
        ("schedule: {name: one_cycle, momentum_swing: 0.2}", f"{SCHEDULE}.momentum_swing: momentum_swing 0.2 takes"),
        ("update: {name: awp, xi: -1}", "trial.update.xi: must be at least 0, not -1"),
        ("optimiser: {name: adam, clip: 0}", "trial.optimiser.clip: must be more than 0, not 0"),
        ("checkpoints: {every: 0}", "trial.checkpoints.every: must be at least 1, not 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{HEAD}  {text}\n")
    with pytest.raises(UserError) as caught:
        Sweep.from_yaml(path)
    line, _, rest = str(caught.value).removeprefix(f"{path}:").partition(": ")
    assert rest.startswith(said)
    assert line in ("6", "7")
    assert "\n" not in rest
