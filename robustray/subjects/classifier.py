"""What is known of a network that is judged, measured or trained on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

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
        """A network, on the CPU, in float32 and eval mode, frozen."""
        model = model.cpu().float().eval().requires_grad_(False)
        return cls(model, name, weights_hash(model.state_dict()), architecture, trial)


def line(error: Exception, at: int = 0) -> str:
    """One line of an error's message; its type where it says nothing."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return lines[min(at, len(lines) - 1)]
