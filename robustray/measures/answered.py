"""What a model answers, to images as they are and under an attack: functions of each image and its row alone."""

from __future__ import annotations

from collections.abc import Iterator

from robustray._later import F, Tensor, torch
from robustray.attacks.base import Attack, Objective
from robustray.data.splits import Indices
from robustray.errors import NotFinite, UserError
from robustray.measures.base import Ground
from robustray.seeding import derive


def logits(ground: Ground, x: Tensor, rows: Indices) -> Tensor:
    """What the model says of x [B, C, H, W], float64 [B, K].

    Raises:
        UserError: a logit is not finite.
    """
    with torch.no_grad():
        found: Tensor = ground.model(x).double()
    finite = found.isfinite().all(1)
    if not bool(finite.all()):
        row = int(rows[int(finite.int().argmin())])
        raise UserError(f"{ground.spec or 'the model'}: its logits of {ground.split} image {row} are not finite")
    return found


def confidence(z: Tensor) -> Tensor:
    """log max_k p_k [B] of logits [B, K], exact to rounding where p is 1 to rounding:

    -log(1 + sum over k != k* of exp(z_k - z_k*)), k* the class that is predicted: a saturated softmax still has an order.
    """
    top, at = z.max(1)
    rest = z.scatter(1, at[:, None], -torch.inf).logsumexp(1)
    return -F.softplus(rest - top)


def attacked(
    attack: Attack, ground: Ground, x: Tensor, y: Tensor, rows: Indices, objective: Objective | None = None
) -> Tensor:
    """x' [B, C, H, W], each started from random numbers of its own row: the same in every batch and on every device.

    Args:
        objective: what an attack without a loss of its own climbs; None: cross-entropy.

    Raises:
        UserError: the model or its gradients are not finite.
    """
    given = [attack.starts(image, ground.threat, generator) for image, generator in _each(x, rows)]
    drawn = [start for start in given if start is not None]
    start = torch.cat(drawn, 1).to(x) if drawn else None
    generator = ground.generator("attack", *rows[:1].tolist())
    try:
        return attack(ground.model, x, y, ground.threat, start=start, generator=generator, objective=objective)
    except NotFinite as error:
        raise UserError(f"{ground.spec or 'the model'}: {error}") from None


def near(ground: Ground, x: Tensor, rows: Indices) -> Tensor:
    """A point of the threat around each image [B, C, H, W], drawn uniformly, and for its row alone."""
    return torch.cat([ground.threat.uniform(image, generator) for image, generator in _each(x, rows)]).to(x)


def _each(x: Tensor, rows: Indices) -> Iterator[tuple[Tensor, torch.Generator]]:
    """Images [1, C, H, W] on the CPU, with random numbers that belong to their row."""
    for at, row in enumerate(rows.tolist()):
        yield x[at : at + 1].cpu(), torch.Generator().manual_seed(derive("measure", "start", row))


def in_evaluation(attack: Attack | None) -> None:
    """Raises UserError where an attack would see another model than the one that answers."""
    if attack is not None and attack.mode != "eval":
        raise UserError(f"attack.mode: {attack.mode}: a model is measured as it answers; use mode: eval")
