"""Judging a classifier on images in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
from torch import Tensor, nn

from robustray.attacks.threats import Threat
from robustray.attacks.versions import VERSIONS, AttackName, strength
from robustray.derived.mixture import known_flags, parts_of
from robustray.errors import UserError, nearest
from robustray.judging import identity
from robustray.judging.answers import Copies
from robustray.judging.bench import Bench
from robustray.judging.first_look import look
from robustray.judging.plan import SEED, SHARD, Plan, family
from robustray.judging.stage import judge_shard
from robustray.judging.through_parts import Parts
from robustray.training.checkpoints import weights_hash
from robustray.verdicts import PARTS, Shard, Verdicts, judgement_folder

Progress = Callable[[Shard], None]


def judge(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    version: str = "standard",
    folder: Path = Path("judgement"),
    *,
    shard_size: int = SHARD,
    seed: int = SEED,
    progress: Progress | None = None,
) -> Verdicts:
    """Judges a classifier on a batch of images; run again, it goes on where it was.

    Args:
        model: maps pixels [B, C, H, W] in [0, 1] to logits [B, K].
        x: images [N, C, H, W] in [0, 1]; y: labels [N].
        threat: norm and eps in pixels.
        version: `standard` (AutoAttack), `plus`, `rand`, `apgd`, or attacks joined by `+`.
        folder: where verdicts lie; a fingerprint of weights, images and settings names the judgement inside it.
        progress: called with every finished shard.

    Returns:
        Verdicts per image, rows numbered as in x.

    Raises:
        ValueError: x is outside [0, 1]. UserError: there is no such version, or an attack does not fit the model.
    """
    if not bool(((x >= 0) & (x <= 1)).all()):  # a NaN is outside
        raise ValueError("images must be pixels in [0, 1]: put normalisation into the model's first layer")
    attacks: tuple[str, ...] = VERSIONS[version] if version in VERSIONS else tuple(version.split("+"))
    known = get_args(AttackName)
    if not set(attacks) <= set(known) or len(set(attacks)) < len(attacks):
        raise UserError(f"there is no version {version!r}; {nearest(version, VERSIONS)}, or different ones of "
                        f"{', '.join(known)} joined by +")  # fmt: skip
    power = strength(version)
    name = family(attacks, power)
    if len(x):
        look("the model", model, x[: identity.IMAGES].float(), 1 + int(y.max()), attacks, threat.norm)
    parts = {
        "weights": weights_hash(model.state_dict()),
        "images": weights_hash({"x": x, "y": y}),
        "threat": threat.model_dump(),
        "family": name,
        "attacks": list(VERSIONS.get(name, attacks)),
        "seed": seed,
        "shard": shard_size,
        "dtype": "float32",
    }
    mixed = parts_of(model)
    extras = (PARTS,) if mixed else ()
    if extras:
        parts["extras"] = list(extras)
    answers = identity.answers(model, x)
    if answers is None:
        parts["drawn"] = identity.drawn(model)
    else:
        before = (path.parent for path in folder.glob("*/judgement.json"))
        parts["answers"] = identity.known(before, answers, str(parts["weights"]), "answers")
    rows = np.arange(len(x), dtype=np.int64)
    plan = Plan("images", version, attacks, power, threat, rows, shard_size, seed, parts, extras)
    folder.mkdir(parents=True, exist_ok=True)
    kept = judgement_folder(folder, "images", name, parts)
    bench = Bench(Copies(model), plan, kept, Parts.of(mixed, None), known_flags(model))
    for number, begin in enumerate(range(0, len(x), shard_size)):
        part = slice(begin, begin + shard_size)
        for stage in plan.stages:
            verdicts = judge_shard(bench, x[part], y[part], stage, number)
            if progress is not None:
                progress(verdicts)
    return Verdicts.read(bench.folder, plan.stages[1:])
