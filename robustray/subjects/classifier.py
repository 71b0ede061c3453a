"""What is known of a network that is judged, measured or trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from robustray.errors import UserError
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

    @classmethod
    def of(cls, model: nn.Module, name: str, architecture: str, trial: TrialConfig | None = None) -> Classifier:
        """A network, on the CPU, in float32 and eval mode, frozen.

        Raises:
            UserError: it has parameters that get their shapes from the first images only, or a state that cannot be read.
        """
        lazy = next((key for key, part in (*model.named_parameters(), *model.named_buffers()) if is_lazy(part)), None)
        if lazy is not None:
            raise UserError(f"{name}: {lazy} has no shape before it has seen an image; show it one where it is made")
        if isinstance(model, torch.jit.ScriptModule):
            model = nn.Sequential(model)  # a scripted module takes no hooks, and cannot be frozen as others are
        model = model.cpu().float().eval().requires_grad_(False)
        try:
            weights = weights_hash(model.state_dict())
        except Exception as error:  # `get_extra_state` of the user's own may raise or give anything
            raise UserError(f"{name}: its state cannot be read ({type(error).__name__}: {line(error)})") from None
        return cls(model, name, weights, architecture, trial)
