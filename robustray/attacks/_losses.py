"""Losses an attack climbs and a defense descends. All reductions are written out; all are float-preserving."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean over the batch of -log softmax(logits)[y]. logits [B, K]; y [B] labels or [B, K] soft labels."""
    return F.cross_entropy(logits, y)


def kl(p: Tensor, logits: Tensor) -> Tensor:
    """KL(p || softmax(logits)), summed over classes, divided by the batch size (`batchmean`).

    Gradients flow through both arguments unless p is detached. p [B, K] probabilities, logits [B, K].
    """
    return F.kl_div(F.log_softmax(logits, dim=1), p, reduction="batchmean")


def kl_between(clean: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(logits)), summed over classes, divided by the batch size; both [B, K] logits.

    Gradients flow through both, and stay finite where a probability underflows: its logarithm does not.
    """
    log_p, log_q = F.log_softmax(clean, dim=1), F.log_softmax(logits, dim=1)
    return (log_p.exp() * (log_p - log_q)).sum(1).mean()


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j != y of z_j - z_y, per image [B]: above zero exactly where the image is misclassified."""
    true = F.one_hot(y, logits.shape[1]).bool()
    return logits.masked_fill(true, -torch.inf).amax(1) - logits.gather(1, y[:, None])[:, 0]
