"""What is left of AutoAttack's survivors by stronger attacks: the lowest robust accuracy that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.base import Attack
from robustray.attacks.pma import Pma
from robustray.attacks.versions import too_few
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.attacked import attacked
from robustray.measures.base import SHARD, Ground, Measure, Piece, Result
from robustray.measures.metrics import Direction
from robustray.registry import Count, Registered, register
from robustray.seeding import derive

Apgd = Literal["apgd-ce", "apgd-dlr", "apgd-t"]
_PASSES = {"apgd-ce": 1100, "apgd-dlr": 1100, "apgd-t": 2000}
"""At most, of AutoAttack's `plus`: five restarts, or nine targets, of 100 steps, two passes each and a few around them."""


@register
class BestKnown(Measure):
    """Robust accuracy by AutoAttack and by stronger attacks on what it left.

    Its survivors meet `attack`, then the authors' APGD with the restarts of their `plus`, as often as `rounds` says, from
    other starts each. It begins with the finished judgement by AutoAttack of the same model, images and threat (`python -m
    robustray judge --version standard`), which stays what it is: this number is never above it, carries its own name, and
    stands beside it. Every image is looked at again in the end: at its saved x', inside the threat, the model is wrong. Where
    the judgement kept its adversarial images (`--save-adversarial`), `adversarial.pt` has one image for each of the split's
    rows, what RobustBench asks of an external evaluation, with `external.json` and the issue's text; they are checked once
    more as they lie on disk. Interval: Wilson's, over images.

    Passes per image, at most: 3, of survivors the attack's and 1 more, and 1,100 for apgd-ce and apgd-dlr, 2,000 for apgd-t in
    each round.
    """

    name: Literal["best_known"] = "best_known"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    fixed_cost: ClassVar[bool] = False
    attack: Annotated[Attack, Registered("attack")] = Field(
        Pma(), description="the first attack on what AutoAttack left"
    )
    apgd: tuple[Apgd, ...] = Field(("apgd-ce", "apgd-t"), description="then these attacks of AutoAttack's authors")
    rounds: Count = Field(1, ge=1, le=1000, description="how often each of them, from other starts")

    def check(self, ground: Ground) -> None:
        for attack in self.apgd:
            if why := too_few(attack, ground.classes, "the model"):
                raise UserError(f"best_known.apgd: {why}; leave it out of {list(self.apgd)}")
        ground.judged()

    def depends(self, ground: Ground) -> Mapping[str, Any]:
        return {"judgement": ground.judged().mark}

    def pieces(self, ground: Ground) -> int:
        return ground.shards()

    def piece(self, number: int, ground: Ground) -> Piece:
        from robustray.measures.accuracy import answers

        x, y = ground.shard(number)
        judged, here = ground.judged(), slice(number * SHARD, (number + 1) * SHARD)
        rows = ground.rows[here]
        robust, broken_by = judged.robust[here], judged.broken_by[here].astype("U64")
        x_adv = judged.images(rows, x)
        with torch.no_grad():
            stands = torch.from_numpy(robust).to(y.device) & (answers(ground.model(x)) == y)
        broken_by[robust & ~stands.cpu().numpy()] = "clean"
        for name, attack in self._attacks(ground):
            left = stands.nonzero()[:, 0]
            if not len(left):
                break
            found = attack(x[left], y[left], rows[left.cpu().numpy()])
            with torch.no_grad():
                fallen = (answers(ground.model(found)) != y[left]) & ground.threat.inside(found, x[left])
            gone = left[fallen]
            x_adv[gone] = found[fallen]
            stands[gone] = False
            broken_by[gone.cpu().numpy()] = name
            ground.tell(1 - len(left) / max(1, len(y)))
        with torch.no_grad():
            wrong = (answers(ground.model(x_adv)) != y) & ground.threat.inside(x_adv, x)
        return {
            "clean": judged.clean[here],
            "autoattack": robust,
            "best_known": stands.cpu().numpy(),
            "broken_by": broken_by,
            "verified": wrong.cpu().numpy(),
            "x_adv": x_adv.float().cpu().numpy(),
        }

    def _attacks(self, ground: Ground) -> list[tuple[str, Any]]:
        """Functions (x, y, rows) -> x', by name, in order."""

        def first(x: Tensor, y: Tensor, rows: Indices) -> Tensor:
            return attacked(self.attack, ground.model, x, y, rows, ground.threat)

        def later(name: str, seed: int) -> Any:
            def run(x: Tensor, y: Tensor, rows: Indices) -> Tensor:
                from robustray.attacks import autoattack

                return autoattack.run(name, ground.model, x, y, ground.threat, seed, "plus")[0]

            return run

        more = [
            (name, later(name, derive("measure", "best_known", name, number) % 2**31))
            for number in range(self.rounds)
            for name in self.apgd
        ]
        return [(self.attack.name, first), *more]

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        columns: dict[str, NDArray[Any]] = {
            name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]
        }
        stands, verified = columns["best_known"], columns["verified"]
        low, high = intervals.share(int(stands.sum()), len(stands))
        values = {
            "clean_accuracy": float(columns["clean"].mean()),
            "autoattack": float(columns["autoattack"].mean()),
            "verified_accuracy": float((~verified).mean()),
        }
        missing = int((~stands & ~verified).sum())
        notes = [
            f"{missing} broken images are not saved, so that there is no adversarial.pt: judge with --save-adversarial"
        ]
        return Result(
            float(stands.mean()), low, high, "images, Wilson", values, columns, notes=tuple(notes if missing else ())
        )

    def files(self, folder: Path, result: Result, ground: Ground) -> Sequence[str]:
        from robustray.measures.external import written

        if (~result.columns["best_known"] & ~result.columns["verified"]).any():
            return ()
        return written(folder, self.model_dump(mode="json"), result, ground)

    def passes(self, ground: Ground) -> float:
        return float(
            len(ground)
            * (
                3
                + self.attack.passes
                + len(self.apgd) * self.rounds
                + self.rounds * sum(_PASSES[name] for name in self.apgd)
            )
        )
