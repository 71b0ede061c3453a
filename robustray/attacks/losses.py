"""Losses an attack climbs and a defense descends. All reductions are written out; all are float-preserving."""

from __future__ import annotations

from typing import Literal

from robustray._later import F, Tensor, torch
from robustray.errors import UserError

Reduction = Literal["mean", "none"]
Onto = Literal["all", "others"]


def cross_entropy(logits: Tensor, y: Tensor, reduction: Reduction = "mean") -> Tensor:
    """-log softmax(logits)[y], mean over the batch or per image [B]. logits [B, K]; y [B] labels or [B, K] soft labels."""
    return F.cross_entropy(logits, y, reduction=reduction)


def smoothed(y: Tensor, logits: Tensor, amount: float, onto: Onto) -> Tensor:
    """Targets [B, K] that give `amount` s of the mass of labels y, [B] or soft [B, K], to other classes.

    all      (1 - s) e_y + s / K: the true class keeps 1 - s + s / K (Szegedy et al., CVPR 2016).
    others   (1 - s) e_y + s / (K - 1) on the K - 1 others: it keeps 1 - s. `all` with s K / (K - 1) is the same.

    Args:
        logits: [B, K]; tells the number of classes and the type.
    """
    classes = logits.shape[1]
    p = (F.one_hot(y, classes) if y.ndim == 1 else y).to(logits.dtype)
    amount = amount if onto == "all" else amount * classes / (classes - 1)
    return (1 - amount) * p + amount / classes


def kl(p: Tensor, logits: Tensor, reduction: Reduction = "mean") -> Tensor:
    """KL(p || softmax(logits)), summed over classes; mean over the batch (`batchmean`) or per image [B].

    Gradients flow through both arguments unless p is detached. p [B, K] probabilities, logits [B, K].
    """
    each = F.kl_div(F.log_softmax(logits, dim=1), p, reduction="none").sum(1)
    return each.mean() if reduction == "mean" else each


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """max over j != y of z_j - z_y, per image [B]: above zero exactly where the image is misclassified.

    With a target class t [B] it is z_t - z_y, the loss of the multi-targeted attack (Gowal et al., arXiv:1910.09338).
    """
    return _of(logits, target) - _of(logits, y) if target is not None else _wrong(logits, y).amax(1) - _of(logits, y)


def probability_margin(logits: Tensor, y: Tensor) -> Tensor:
    """max over j != y of p_j - p_y, p = softmax(logits), per image [B], in [-1, 1]: above zero exactly where the image is
    misclassified (Xie et al., CVPR 2025, arXiv:2411.15210). Its gradient vanishes where the softmax saturates.
    """
    return margin(logits.softmax(1), y)


def dlr(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Difference of logits ratio, per image [B] (Croce and Hein, ICML 2020, arXiv:2003.01690).

    max over j != y of (z_j - z_y) / (z_1st - z_3rd); with a target class t [B]
    (z_t - z_y) / (z_1st - (z_3rd + z_4th) / 2), n-th in decreasing order. Unchanged where logits are shifted or scaled.
    1e-12 is added to the denominator, as the authors do: it is zero where the first three (four) logits tie.

    Raises:
        UserError: there are fewer than 3 classes, or 4 with a target.
    """
    needed = 3 if target is None else 4
    if logits.shape[1] < needed:
        name = "dlr" if target is None else "dlr-targeted"
        raise UserError(f"the loss {name} compares {needed} classes, but the model has {logits.shape[1]}: use margin")
    highest = logits.topk(needed, dim=1).values
    scale = highest[:, 0] - (highest[:, 2] if target is None else highest[:, 2:4].mean(1))
    return margin(logits, y, target) / (scale + 1e-12)


def wrong_classes(logits: Tensor, y: Tensor) -> Tensor:
    """The classes other than y, the most likely first, [B, K - 1]; logits [B, K], y [B]."""
    return _wrong(logits, y).argsort(dim=1, descending=True, stable=True)[:, :-1]


def _of(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _wrong(logits: Tensor, y: Tensor) -> Tensor:
    return logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -torch.inf)
