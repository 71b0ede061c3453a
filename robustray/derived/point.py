"""`point.pt`: a derived point as it is kept, naming its parents by hash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import yaml
from pydantic import TypeAdapter
from torch import nn

from robustray.derived.base import Ground, Made, Maker, Parent
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.options.recorded import recorded as read_yaml
from robustray.plugins import Names, recorded
from robustray.registry import Registered
from robustray.training import checkpoints
from robustray.trial import TrialConfig

FILE = "point.pt"
FORMAT = 1
_MAKER: TypeAdapter[Maker] = TypeAdapter(Annotated[Maker, Registered("derive")])
Find = Callable[[str], Parent]
"""Loads a parent by its spec, onto the CPU."""


@dataclass(frozen=True)
class Recipe:
    """A point before it is made: `point.yaml` in its folder."""

    maker: Maker
    numbers: Mapping[str, Any]
    parents: Sequence[str]  # specs, in the order that the maker takes them; paths relative to the point's folder
    judge: Judge
    plugins: Names = Names()  # noqa: RUF009  not to be changed

    def to_yaml(self) -> str:
        """As text; `from_yaml` reads it."""
        about = {
            **({"plugins": dict(self.plugins)} if self.plugins else {}),
            "maker": self.maker.model_dump(mode="json"),
            "numbers": dict(self.numbers),
            "parents": list(self.parents),
            "judge": self.judge.model_dump(mode="json"),
        }
        return yaml.safe_dump(about, sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str, folder: Path) -> Recipe:
        """Reads what `to_yaml` wrote into a file of a folder, which holds the plugins that it names.

        Raises:
            UserError: a plugin is missing, has changed, or is not trusted.
        """
        about = read_yaml(text)
        names = Names(about.get("plugins", {}))
        recorded(names, folder)
        maker = _MAKER.validate_python(about["maker"])
        return cls(maker, about["numbers"], about["parents"], Judge.model_validate(about["judge"]), names)


@dataclass(frozen=True)
class Point:
    """A derived classifier and what is known of it."""

    recipe: Recipe
    model: nn.Module  # in eval mode, frozen
    weights: str  # SHA-256 of the state of all of it
    said: Mapping[str, Any]
    parents: Sequence[Parent]
    passes: float = 0.0  # that making it took; 0 where it was made before they were kept


def make(recipe: Recipe, ground: Ground, find: Find) -> Point:
    """Makes a point and keeps it in the ground's folder, with the passes it took: a process may die before it has told them.

    Raises:
        UserError: a parent cannot be found, or they do not go together. Paused: the ground's stop was set.
    """
    parents = [_moved(find(spec), ground.device) for spec in recipe.parents]
    made = recipe.maker.make(parents, recipe.numbers, ground)
    weights = checkpoints.weights_hash(made.model.state_dict())
    checkpoints.save(ground.folder / FILE, _state(recipe, parents, made, weights))
    return Point(recipe, made.model, weights, made.said, parents, made.passes)


def _state(recipe: Recipe, parents: Sequence[Parent], made: Made, weights: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "recipe": recipe.to_yaml(),
        "parents": [
            {
                "spec": parent.spec,
                "weights": parent.weights,
                "config": None if parent.config is None else parent.config.to_yaml(),
            }
            for parent in parents
        ],
        "state": {name: value.detach().cpu().contiguous() for name, value in made.state.items()},
        "said": dict(made.said),
        "weights": weights,
        "passes": made.passes,
    }


def load(folder: Path, find: Find) -> Point:
    """The point of a folder, on the CPU.

    A soup whose parents come from trials of ours needs them no more; mixtures do, and whatever is found in their place must
    have the weights that the point was made of.

    Raises:
        UserError: the file is damaged, a parent is missing or has other weights.
    """
    try:
        kept = checkpoints.load(folder / FILE)
    except checkpoints.DamagedCheckpoint as error:
        raise UserError(f"{folder}: {error}") from None
    recipe = Recipe.from_yaml(kept["recipe"], folder)
    parents = [_parent(each, recipe, find, folder) for each in kept["parents"]]
    model = recipe.maker.build([parent.model for parent in parents], recipe.numbers, kept["state"])
    model = model.eval().requires_grad_(False)
    weights = checkpoints.weights_hash(model.state_dict())
    if weights != kept["weights"]:
        raise UserError(f"{folder}: gives a model with weights {weights[:12]}, but {kept['weights'][:12]} were made")
    return Point(recipe, model, weights, kept["said"], parents, kept.get("passes", 0.0))


def judge_of(folder: Path) -> Judge:
    """What a point is judged by; raises as `load`."""
    try:
        return Recipe.from_yaml(checkpoints.load(folder / FILE)["recipe"], folder).judge
    except checkpoints.DamagedCheckpoint as error:
        raise UserError(f"{folder}: {error}") from None


def _parent(kept: Mapping[str, Any], recipe: Recipe, find: Find, folder: Path) -> Parent:
    spec, config = kept["spec"], kept["config"]
    if recipe.maker.whole and config is not None:
        trial = TrialConfig.recorded(config, folder)
        with torch.random.fork_rng(devices=[]):  # building draws initial weights, which are replaced at once
            return Parent(spec, trial.network(), kept["weights"], trial)
    found = find(spec)
    if found.weights != kept["weights"]:
        raise UserError(
            f"{folder}: was made of {spec} with weights {kept['weights'][:12]}, which has {found.weights[:12]} now; put the "
            "parent back, or derive the point again"
        )
    return found


def _moved(parent: Parent, device: torch.device) -> Parent:
    return Parent(parent.spec, parent.model.to(device).eval().requires_grad_(False), parent.weights, parent.config)
