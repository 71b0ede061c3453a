"""What is known of a network that is judged, measured or trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from robustray.errors import UserError
from robustray.judge import Judge
from robustray.numerics import plain_where_needed
from robustray.plain import line
from robustray.training.checkpoints import weights_hash
from robustray.trial import TrialConfig


@dataclass(frozen=True)
class Classifier:
    """A network from pixels [B, C, H, W] in [0, 1] to logits [B, K], and what is known of it."""

    model: nn.Module
    name: str
    weights: str  # SHA-256 of its state
    architecture: str
    trial: TrialConfig | None = None  # where it comes from a trial of ours
    notes: tuple[str, ...] = ()  # what a user should know of how it was found, a line each
    judge: Judge | None = None  # where it comes from a sweep: what it was to be judged by

    def __post_init__(self) -> None:
        plain_where_needed(self.model)

    @classmethod
    def of(cls, model: nn.Module, name: str, architecture: str, trial: TrialConfig | None = None) -> Classifier:
        """A network, on the CPU, in float32 and eval mode, frozen.

        Raises:
            UserError: it has parameters without shapes or values yet, cannot be put into that state, or its own cannot be read.
        """
        parts = (*model.named_parameters(), *model.named_buffers())
        lazy = next((key for key, part in parts if is_lazy(part)), None)
        if lazy is not None:
            raise UserError(f"{name}: {lazy} has no shape before it has seen an image; show it one where it is made")
        empty = next((key for key, part in parts if part.is_meta), None)
        if empty is not None:
            raise UserError(f"{name}: {empty} is on the device `meta`, where weights have no values; load some into it")
        if isinstance(model, torch.jit.ScriptModule):
            model = nn.Sequential(model)  # a scripted module takes no hooks, and cannot be frozen as others are
        try:
            model = model.cpu().float().eval().requires_grad_(False)
        except Exception as error:  # kinds of modules that are fixed as they are, exported or quantised ones
            raise UserError(
                f"{name}: a {type(model).__name__} cannot be judged: it must go to the CPU, to float32 and into eval mode "
                f"({line(error)})"
            ) from None
        try:
            weights = weights_hash(model.state_dict())
        except Exception as error:  # `get_extra_state` of the user's own may raise or give anything
            raise UserError(f"{name}: its state cannot be read ({type(error).__name__}: {line(error)})") from None
        return cls(model, name, weights, architecture, trial, judge=None if trial is None else trial.judge)
