"""The model of a trial's folder, or of one of its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.subjects.classifier import Classifier
from robustray.training import checkpoints
from robustray.trial import TrialConfig


def load_model(folder: Path, device: str = "auto") -> tuple[TrialConfig, nn.Module, str]:
    """The selected model of a trial's folder, in eval mode and frozen, with its options and the hash of its weights.

    Raises:
        UserError: there is no whole checkpoint.
    """
    state, damage = checkpoints.load_last(folder)
    if state is None:
        if (folder / "study.journal").exists():
            raise UserError(
                f"{folder}: is a whole sweep; name one of its trials, {folder / 'trials' / '0000'} for example"
            )
        raise UserError(f"{folder}: no checkpoint{': ' + '; '.join(damage) if damage else ' (last.pt)'}")
    weights = state["average"]
    if state["best"] is not None:
        try:
            weights = checkpoints.load(folder / f"best-{int(state['best']['epoch']):04d}.pt")["average"]
        except checkpoints.DamagedCheckpoint as error:
            raise UserError(f"{folder}: {error}") from None
    config, model = _built(state["config"], weights, folder)
    model = model.to(pick_device(device)).eval().requires_grad_(False)
    return config, model, checkpoints.weights_hash(weights)


def selected(folder: Path) -> Classifier:
    """The selected model of a trial's folder, under the folder's name; raises as `load_model`."""
    config, model, weights = load_model(folder, "cpu")
    return Classifier(model, folder.absolute().name, weights, config.architecture, config, judge=config.judge)


def checkpoint(path: Path) -> Classifier:
    """A checkpoint of a trial: its averaged weights, the ones that are judged.

    Raises:
        UserError: it is damaged.
    """
    try:
        state = checkpoints.load(path)
    except checkpoints.DamagedCheckpoint as error:
        raise UserError(str(error)) from None
    config, model = _built(state["config"], state["average"], path.parent)
    return Classifier.of(model, f"{path.absolute().parent.name}-{path.stem}", config.architecture, config)


def _built(options: str, weights: Mapping[str, Tensor], folder: Path) -> tuple[TrialConfig, nn.Module]:
    config = TrialConfig.recorded(options, folder)
    with torch.random.fork_rng(devices=[]):  # building draws initial weights, which are replaced at once
        model = config.network()
    model.load_state_dict(weights)
    return config, model
