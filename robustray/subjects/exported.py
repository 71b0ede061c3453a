"""The model of a folder that `python -m robustray export` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.data.base import DataSource
from robustray.derived import point
from robustray.errors import UserError
from robustray.files import from_json
from robustray.judge import Judge
from robustray.options.recorded import recorded
from robustray.plain import line
from robustray.subjects import program, weight_files
from robustray.subjects.classifier import Classifier
from robustray.training.checkpoints import DamagedCheckpoint, weights_hash
from robustray.training.checkpoints import load as load_checkpoint
from robustray.trial import TrialConfig

ABOUT, WEIGHTS, PROGRAM, TRIAL = "export.json", "model.safetensors", "model.pt2", "trial.yaml"
"""Files of an export: what is known of the model, its weights, the program with them, and the trial that it comes from."""
FORMAT = 1


def there(folder: Path) -> bool:
    """Whether a folder is an export."""
    return (folder / ABOUT).is_file()


def about(folder: Path) -> dict[str, Any]:
    """What `export.json` of a folder says.

    Raises:
        UserError: there is no such file, or it says something else.
    """
    try:
        told = from_json((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / ABOUT}: cannot be read ({line(error)}); export the model again") from None
    if not isinstance(told, dict) or not {"format", "weights", "architecture"} <= told.keys():
        raise UserError(f"{folder / ABOUT}: is not what an export writes; export the model again")
    if told["format"] > FORMAT:
        raise UserError(f"{folder / ABOUT}: a newer robustray wrote it (format {told['format']}); take that one")
    return told


def load(folder: Path, data: DataSource | None = None) -> Classifier:
    """The model of an export, under the folder's name, on the CPU, in eval mode and frozen.

    What comes from trials of ours is built by our code and given its weights, so that it is in every respect the model that
    was exported: a mixture is judged through its parts, and noise that a network was trained with is known. Any other is the
    program that lies beside the weights.

    Args:
        data: images whose shape networks of ours are built for; None: those of the trial.

    Raises:
        UserError: a file is missing or damaged, or the weights are others than those that were exported.
    """
    told = about(folder)
    state = weight_files.read(folder / WEIGHTS)
    if weights_hash(state) != told["weights"]:
        raise UserError(
            f"{folder / WEIGHTS}: is not what was exported ({ABOUT} has weights {str(told['weights'])[:12]}, the file "
            f"{weights_hash(state)[:12]}); export the model again"
        )
    notes: tuple[str, ...] = ()
    trial, judge = None, None
    model: nn.Module
    if (folder / TRIAL).is_file():
        trial = TrialConfig.from_yaml(folder / TRIAL)
        model, judge = _network(trial, data), trial.judge
    elif (made := _point(folder, data)) is not None:
        model, judge = made
    else:
        model = program.read(folder / PROGRAM)
        notes = tuple(told.get("notes", ()))
    try:
        program.inside(model).load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{folder}: the weights do not fit {told['architecture']} ({line(error, 1)})") from None
    model = model.eval().requires_grad_(False)
    return Classifier(
        model,
        folder.absolute().name,
        told["weights"],
        told["architecture"],
        trial,
        notes,
        judge or _judge(folder, told),
    )


def builds(folder: Path) -> bool:
    """Whether the derived point of a folder can be built by our code alone: all of its parents are trials of ours.

    Raises:
        UserError: its file is damaged.
    """
    return all(parent["config"] is not None for parent in _kept(folder)["parents"])


def _network(trial: TrialConfig, data: DataSource | None) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # building draws initial weights, which are replaced at once
        return trial.model.build(data or trial.judge.data, trial.defense.aux_outputs)


def _point(folder: Path, data: DataSource | None) -> tuple[nn.Module, Judge] | None:
    """A derived point with blank parents, whose weights are among its own; None where one is no network of ours."""
    if not (folder / point.FILE).is_file() or not builds(folder):
        return None
    kept = _kept(folder)
    recipe = point.Recipe.from_yaml(kept["recipe"], folder)
    trials = [TrialConfig.model_validate(recorded(parent["config"])) for parent in kept["parents"]]
    blank = [_network(trial, data).eval().requires_grad_(False) for trial in trials]
    state: Mapping[str, Tensor] = kept["state"]
    return recipe.maker.build(blank, recipe.numbers, state), recipe.judge


def _kept(folder: Path) -> dict[str, Any]:
    try:
        return load_checkpoint(folder / point.FILE)
    except DamagedCheckpoint as error:
        raise UserError(f"{folder}: {error}; put the file back, or derive the point again") from None


def _judge(folder: Path, told: Mapping[str, Any]) -> Judge | None:
    """What a model of no trial is judged by, where the export knows."""
    if told.get("judge") is None:
        return None
    try:
        return Judge.model_validate(told["judge"])
    except ValidationError as error:
        raise UserError(f"{folder / ABOUT}: judge: {line(error)}; export the model again") from None
