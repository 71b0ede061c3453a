"""The stage `parts`: what breaks the parts of a mixture, tried on it. A part's images are made once for all its mixtures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robustray import arrays
from robustray.attacks.versions import too_few
from robustray.derived.mixture import Bypassed
from robustray.judging.answers import Copies, classes_of
from robustray.judging.plan import Plan
from robustray.judging.ticks import Tick, counting
from robustray.judging.time_left import forwards
from robustray.training.checkpoints import weights_hash
from robustray.verdicts import fingerprint

Attack = Callable[[str, nn.Module, Tensor, Tensor], Tensor]
"""Runs an attack on a part: its name, the part, x [n, C, H, W] and y [n], all classified correctly; gives x'."""
_SAME = ("data", "rows", "split", "threat", "seed", "shard", "packages", "dtype")
"""What of a judgement the images of a part depend on, besides its weights and the attack."""


@dataclass(frozen=True)
class Parts:
    """What stands in for a mixture, and where the images that break it are kept; None: nowhere."""

    modules: Sequence[nn.Module] = ()
    shared: Path | None = None

    @classmethod
    def of(cls, modules: Sequence[nn.Module], shared: Path | None) -> Parts:
        """The parts, given copies of images as the whole is."""
        return cls(tuple(map(Copies, modules)), shared)

    def __bool__(self) -> bool:
        return bool(self.modules)

    def attacked(
        self,
        plan: Plan,
        shard: int,
        x: Tensor,
        y: Tensor,
        standing: Tensor,
        run: Attack,
        stands: Callable[[Tensor], Tensor],
        tick: Tick | None,
    ) -> Tensor:
        """x' for every image of a shard [n, C, H, W]: the first part's image that breaks the whole, else the last one tried.

        A part is attacked where it is right itself; where it is wrong, the image as it is has been asked about already. What
        several mixtures share is attacked whatever the whole says, so that its images are a function of the part; what
        belongs to this mixture alone, only where the whole stands. Only `standing` [n] images are asked about.

        Args:
            stands: which of x' [n, C, H, W] the whole still classifies correctly, [n].
        """
        x_adv, standing = x.clone(), standing.clone()
        attacks = [(part, attack) for part in self.modules for attack in self._attacks(plan, part, x)]
        for number, (part, attack) in enumerate(attacks):
            if not bool(standing.any()):
                break
            wanted = standing if _alone(part) else torch.ones_like(standing)
            theirs = self._images(plan, shard, x, y, wanted, part, attack, run, _within(tick, number, len(attacks)))
            x_adv = torch.where(standing[:, None, None, None], theirs, x_adv)
            standing &= stands(x_adv)
        return x_adv

    def _attacks(self, plan: Plan, part: nn.Module, x: Tensor) -> tuple[str, ...]:
        """APGD, untargeted and, where there are classes enough, targeted."""
        with torch.no_grad():
            classes = part(x[:1]).shape[1]
        wanted = ("apgd-ce", "apgd-dlr" if plan.strength == "rand" else "apgd-t")
        return tuple(attack for attack in wanted if too_few(attack, classes, "") is None)

    def _images(
        self,
        plan: Plan,
        shard: int,
        x: Tensor,
        y: Tensor,
        wanted: Tensor,
        part: nn.Module,
        attack: str,
        run: Attack,
        tick: Tick | None,
    ) -> Tensor:
        """x' of a part, [n, C, H, W]; the image as it is where the part is wrong or it is not `wanted` [n]."""
        path = self._path(plan, shard, part, attack)
        if path is not None and (known := _read(path, x)) is not None:
            return known
        with torch.no_grad():
            right = wanted & (classes_of(part(x)) == y)
        made = x.clone()
        if bool(right.any()):
            with counting(part, forwards(attack, plan.threat.norm, plan.strength), tick):
                made[right] = run(attack, part, x[right], y[right])
        if path is not None:
            arrays.keep(path, x_adv=made.cpu().numpy())
        return made

    def _path(self, plan: Plan, shard: int, part: nn.Module, attack: str) -> Path | None:
        """None for what belongs to one mixture alone."""
        inner = part.model if isinstance(part, Copies) else part
        if self.shared is None or _alone(part):
            return None
        about = {key: plan.parts[key] for key in _SAME}
        about |= {"weights": weights_hash(inner.state_dict()), "attack": attack, "strength": plan.strength}
        return self.shared / f"parts-{fingerprint(about)}-{shard:04d}.npz"


NO_PARTS = Parts()
"""Of any model that is no mixture."""


def _alone(part: nn.Module) -> bool:
    """Whether a part is of one mixture only."""
    return isinstance(part.model if isinstance(part, Copies) else part, Bypassed)


def _within(tick: Tick | None, number: int, of: int) -> Tick | None:
    return None if tick is None else lambda share: tick((number + share) / of)


def _read(path: Path, x: Tensor) -> Tensor | None:
    known = (arrays.kept(path) or {}).get("x_adv")
    if known is None or known.shape != x.shape:
        return None
    return torch.from_numpy(known).to(x)
