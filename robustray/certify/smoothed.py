"""Which classifier of a model is smoothed by noise, and what share of a mixture it then has."""

from __future__ import annotations

import copy
from typing import NamedTuple

from torch import nn

from robustray.derived.mixture import Mixed, Mixture, Scale
from robustray.errors import UserError
from robustray.models.noise import NoiseVote
from robustray.models.noise_smoothed import NoiseSmoothed
from robustray.subjects import Classifier


class Base(NamedTuple):
    """A classifier to smooth."""

    model: nn.Module  # pixels [B, C, H, W] to logits [B, K]
    alpha: float  # its smoothed share of the mixture; 1: there is no other
    sigma: float | None  # deviation in pixels of [0, 1] of the noise it was trained with, where that is known
    robust_part: bool  # whether it is a mixture's robust parent


def base_of(found: Classifier) -> Base:
    """What is smoothed of a classifier.

    Of a mixture with a fixed share it is the robust parent: a class of (1 - alpha) g + alpha h is certified by h alone, here
    the distribution of the parent's answers under noise. A `noise_smoothed` network votes on a few copies itself; what votes is
    taken, so that there is one noise.

    Raises:
        UserError: nothing bounds the mixture's answers.
    """
    model, trial = found.model, found.trial
    if isinstance(model, Mixture):
        if not isinstance(model.robust_map, Scale):
            raise UserError(
                f"{found.name}: a mixture with a power map has no certificate here: its share was chosen for mapped logits, "
                "and votes under noise are none; certify its robust parent, with --alpha for a mixture of those votes"
            )
        return Base(_without_votes(model.robust), float(model.share), None, robust_part=True)
    if isinstance(model, Mixed):
        raise UserError(
            f"{found.name}: a mixing network has no certificate: it says another alpha at every image, and nothing bounds "
            "what it says nearby; certify a smoothing point with a fixed alpha"
        )
    own = trial.model.sigma if trial is not None and isinstance(trial.model, NoiseSmoothed) else None
    return Base(_without_votes(model), 1.0, own, robust_part=False)


def _without_votes(model: nn.Module) -> nn.Module:
    if not any(isinstance(module, NoiseVote) for module in model.modules()):
        return model
    if isinstance(model, NoiseVote):
        return model.network
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, NoiseVote):
                setattr(module, name, child.network)
    return model
