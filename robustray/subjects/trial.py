"""The model of a trial's folder."""

from __future__ import annotations

from pathlib import Path

import torch
import yaml
from torch import nn

from robustray.devices import pick_device
from robustray.errors import UserError
from robustray.training import checkpoints
from robustray.trial import TrialConfig


def load_model(folder: Path, device: str = "auto") -> tuple[TrialConfig, nn.Module, str]:
    """The selected model of a trial's folder, in eval mode and frozen, with its options and the hash of its weights.

    Raises:
        UserError: there is no whole checkpoint.
    """
    state, damage = checkpoints.load_last(folder)
    if state is None:
        raise UserError(f"{folder}: no checkpoint{': ' + '; '.join(damage) if damage else ' (last.pt)'}")
    config = TrialConfig.model_validate(yaml.safe_load(state["config"]))
    weights = state["average"]
    if state["best"] is not None:
        try:
            weights = checkpoints.load(folder / f"best-{int(state['best']['epoch']):04d}.pt")["average"]
        except checkpoints.DamagedCheckpoint as error:
            raise UserError(f"{folder}: {error}") from None
    with torch.random.fork_rng(devices=[]):  # building draws initial weights, which are replaced at once
        model = config.model.build(config.judge.data, config.defense.aux_outputs)
    model.load_state_dict(weights)
    model = model.to(pick_device(device)).eval().requires_grad_(False)
    return config, model, checkpoints.weights_hash(weights)
