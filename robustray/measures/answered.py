"""What a model answers, and how sure it is."""

from __future__ import annotations

from robustray._later import F, Tensor, torch
from robustray.attacks.base import Attack
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures.base import Ground
from robustray.seeding import derive


def logits(ground: Ground, x: Tensor) -> Tensor:
    """What the model says of x [B, C, H, W], float64 [B, K]."""
    with torch.no_grad():
        found: Tensor = ground.model(x).double()
    return found


def finite_logits(ground: Ground, x: Tensor, rows: Indices) -> Tensor:
    """The same for who needs probabilities.

    Raises:
        UserError: a logit is not finite.
    """
    found = logits(ground, x)
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


def near(ground: Ground, x: Tensor, rows: Indices) -> Tensor:
    """A point of the threat around each image [B, C, H, W], drawn uniformly, and for its row alone."""
    drawn = []
    for at, row in enumerate(rows.tolist()):
        generator = torch.Generator().manual_seed(derive("measure", "near", row))
        drawn.append(ground.threat.uniform(x[at, None].cpu(), generator))
    return torch.cat(drawn).to(x)


def passes(images: int, attack: Attack | None) -> float:
    """Of one answer for each image, and with an attack of it and one more."""
    return float(images * (1 if attack is None else attack.passes + 2))


def in_evaluation(attack: Attack | None) -> None:
    """Raises UserError where an attack would see another model than the one that answers."""
    if attack is not None and attack.mode != "eval":
        raise UserError(f"attack.mode: {attack.mode}: a model is measured as it answers; use mode: eval")
