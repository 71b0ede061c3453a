"""The weights that a training begins with, where they are not drawn."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robustray.errors import UserError
from robustray.files import digest
from robustray.models.given import ZOO
from robustray.subjects import weight_files, zoo
from robustray.trial import TrialConfig


def begin(model: nn.Module, config: TrialConfig) -> None:
    """Puts the weights of `model.from` into a network that was built for a trial; without it the network stays as it is.

    Of a checkpoint of a trial they are the averaged ones, which are judged. Batch norm's statistics and the normalisation of
    pixels are among them: the network computes what it computed there.

    Raises:
        UserError: there is no such file, it is not the one that the trial was described with, or its weights do not fit.
    """
    source, what = config.model.source, f"model {config.model.name}"
    if source is None:
        return
    if source.startswith(ZOO):
        found = zoo.model(source[len(ZOO) :], config.judge.data, config.training_threat.norm)
        weight_files.put(model, {"": found.model.state_dict()}, source, what)
        return
    path = Path(source)
    try:
        now = digest(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror} (model.from)") from None
    if now != config.model.fingerprint:
        raise UserError(
            f"{path}: is not the file that the trial was described with (model.fingerprint begins with "
            f"{str(config.model.fingerprint)[:8]}, the file's own with {now[:8]}); put that one back, or make another trial"
        )
    state = weight_files.read(path)
    kept = {"average": state["average"]} if weight_files.whole(state) else weight_files.plain(path, state)
    weight_files.put(model, kept, str(path), what, config.model)


def check(config: TrialConfig) -> None:
    """Sees whether a trial can begin with the weights that it names; raises as `begin`."""
    if config.model.source is None:
        return
    with torch.random.fork_rng(devices=[]):
        begin(config.model.build(config.judge.data, config.defense.aux_outputs), config)
