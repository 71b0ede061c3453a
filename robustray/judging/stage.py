"""One stage on one shard: verdicts kept per image, nothing done twice."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.attacks.mode import attack_mode
from robustray.judging import examples, images
from robustray.judging.answers import seeded
from robustray.judging.bench import Batch, Bench
from robustray.judging.plan import CLAIMED, Plan
from robustray.judging.ticks import Tick
from robustray.numerics import numerics
from robustray.verdicts import CLEAN, Shard, read_shard, write_shard


def judge_shard(
    bench: Bench,
    x: Tensor,
    y: Tensor,
    stage: str,
    shard: int,
    *,
    keep_images: bool = False,
    ahead: bool = False,
    tick: Tick | None = None,
) -> Shard:
    """Runs one stage on the images of one shard that no earlier one broke, and writes their verdicts.

    Args:
        x, y: the whole shard, [n, C, H, W] and [n], in the order of `plan.shard(shard)`.
        stage: `clean`, or another of `plan.stages`. The attack's seed is derived from the plan's, stage and shard.
        keep_images: also write the broken images, for `verify`.
        ahead: earlier stages without verdicts are taken to break nothing. Where they do not, the stage's own turn finds its
            verdicts done; where they do, it is run again.

    Returns:
        The verdicts; those on disk where they are there already.

    Raises:
        RuntimeError: an earlier stage has no verdicts on this shard, and the stage is not run ahead.
        UserError: the model has too few classes for the attack.
    """
    begun = time.monotonic()
    plan, folder = bench.plan, bench.folder
    standing = _standing(bench, stage, shard, ahead)
    rows = plan.shard(shard)[standing]
    saves = keep_images and stage not in (CLEAN, CLAIMED)
    done = read_shard(folder, stage, shard)
    if (
        done is not None
        and np.array_equal(done.image, rows)  # else an earlier attack was run anew since
        and (not saves or images.there(folder, done))
    ):
        return done
    keep = torch.from_numpy(standing).to(x.device)
    batch = Batch(stage, shard, rows, x[keep].float(), y[keep], (x.float(), y, keep))
    with numerics(), attack_mode(bench.model, "eval"), seeded(bench.seed(batch), x.device):
        found = bench.run(batch, tick)
    image = rows.astype(np.int32)
    if saves:
        images.save(folder, stage, shard, image, found.x_adv, found.correct == 0)
    if shard == 0 and stage not in (CLEAN, CLAIMED):
        examples.save(folder, stage, batch, found)
    verdicts = Shard(
        stage,
        shard,
        image,
        batch.y.cpu().numpy().astype(np.int16),
        found.predicted.cpu().numpy().astype(np.int16),
        (found.correct == 0).cpu().numpy(),
        found.correct.float().cpu().numpy(),
        {"seconds": time.monotonic() - begun, "seed": plan.seed, "device": x.device.type, **found.info},
    )
    write_shard(folder, verdicts)
    return verdicts


def broken_first(plan: Plan, folder: Path, verdicts: Shard) -> int:
    """How many images a stage broke that none before it had: those that an early Square broke are attacked once more."""
    broken = verdicts.image[verdicts.broken]
    earlier = plan.stages[: plan.stages.index(verdicts.attack)]
    for stage in set(earlier) - set(plan.before(verdicts.attack)):
        done = read_shard(folder, stage, verdicts.shard)
        if done is not None:
            broken = broken[~np.isin(broken, done.image[done.broken])]
    return len(broken)


def _standing(bench: Bench, stage: str, shard: int, ahead: bool) -> NDArray[np.bool_]:
    """Which images of a shard no earlier stage broke, [n]."""
    rows = bench.plan.shard(shard)
    standing = np.ones(len(rows), dtype=bool)
    for name in bench.plan.before(stage):
        before = read_shard(bench.folder, name, shard)
        if before is None and ahead:
            continue
        if before is None:
            raise RuntimeError(f"{stage} needs the verdicts of {name} on shard {shard} in {bench.folder}")
        standing &= ~np.isin(rows, before.image[before.broken])
    return standing
