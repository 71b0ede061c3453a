"""Judging one model: each attack on each shard, verdicts kept per image, nothing done twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from robustray.attacks import _autoattack
from robustray.attacks._guard import attack_mode
from robustray.attacks.threats import Threat
from robustray.errors import UserError, nearest
from robustray.evaluation.plan import SEED, SHARD
from robustray.seeding import derive
from robustray.trial import VERSIONS, AttackName
from robustray.verdicts import CLEAN, Shard, Verdicts, judgement_folder, read_shard, write_shard

Progress = Callable[[Shard], None]


def judge_shard(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    threat: Threat,
    *,
    attack: str,
    earlier: tuple[str, ...],
    shard: int,
    seed: int,
    folder: Path,
) -> Shard:
    """Runs one attack on the images of one shard that no earlier attack broke, and writes their verdicts.

    Args:
        model: maps pixels [B, C, H, W] in [0, 1] to logits; judged in eval mode, float32, parameters frozen.
        x, y: the whole shard, [n, C, H, W] and [n]; rows: their rows in the split.
        attack: `clean`, or an attack of AutoAttack. earlier: the attacks before it, `clean` first.
        seed: of the judgement; the attack's own is derived from it, the attack and the shard.

    Raises:
        RuntimeError: an earlier attack has no verdicts on this shard, or a broken image lies outside the threat.
    """
    begun = time.monotonic()
    standing = np.ones(len(rows), dtype=bool)
    for name in earlier:
        before = read_shard(folder, name, shard)
        if before is None:
            raise RuntimeError(f"{attack} needs the verdicts of {name} on shard {shard} in {folder}")
        standing &= ~np.isin(rows, before.image[before.broken])
    done = read_shard(folder, attack, shard)
    if done is not None and np.array_equal(done.image, rows[standing]):  # else an earlier attack was run anew since
        return done
    keep = torch.from_numpy(standing).to(x.device)
    x, y = x[keep].float(), y[keep]
    pieces = 1
    with attack_mode(model, "eval"):
        x_adv = x
        if attack != CLEAN and len(x):
            x_adv, pieces = _attacked(attack, model, x, y, threat, derive(seed, attack, shard) % 2**31)
        with torch.no_grad():
            predicted = model(x_adv).argmax(1) if len(x) else y
    broken = predicted != y
    if bool(broken.any()) and bool(threat.violated(x_adv[broken], x[broken])):
        raise RuntimeError(
            f"{attack} broke images outside the {threat.norm} ball of eps {threat.eps:g} or outside [0, 1]"
        )
    verdicts = Shard(
        attack,
        shard,
        rows[standing].astype(np.int32),
        y.cpu().numpy().astype(np.int16),
        predicted.cpu().numpy().astype(np.int16),
        broken.cpu().numpy(),
        {"seconds": time.monotonic() - begun, "seed": seed, "device": x.device.type, "pieces": pieces},
    )
    write_shard(folder, verdicts)
    return verdicts


def _attacked(attack: str, model: nn.Module, x: Tensor, y: Tensor, threat: Threat, seed: int) -> tuple[Tensor, int]:
    """x' and in how many pieces it was made: where a batch does not fit into memory, its fixed halves are attacked."""
    try:
        return _autoattack.run(attack, model, x, y, threat, seed), 1
    except torch.cuda.OutOfMemoryError:
        if len(x) == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler: the exception holds the tensors that did not fit
    half = len(x) // 2
    first, before = _attacked(attack, model, x[:half], y[:half], threat, seed)
    second, after = _attacked(attack, model, x[half:], y[half:], threat, seed)
    return torch.cat([first, second]), before + after


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
        version: `standard` (AutoAttack), `apgd`, or attacks joined by `+`.
        folder: where verdicts lie; a fingerprint of weights, images and settings names the judgement inside it.
        progress: called with every finished shard.

    Returns:
        Verdicts per image, rows numbered as in x.

    Raises:
        ValueError: x is outside [0, 1]. UserError: there is no such version, or an attack does not fit the model.
    """
    from robustray.training._checkpoints import weights_hash

    if not bool(((x >= 0) & (x <= 1)).all()):  # a NaN is outside
        raise ValueError("images must be pixels in [0, 1]: put normalisation into the model's first layer")
    attacks: tuple[str, ...] = VERSIONS[version] if version in VERSIONS else tuple(version.split("+"))
    known = get_args(AttackName)
    if not set(attacks) <= set(known) or len(set(attacks)) < len(attacks):
        raise UserError(f"there is no version {version!r}; {nearest(version, VERSIONS)}, or different ones of "
                        f"{', '.join(known)} joined by +")  # fmt: skip
    with attack_mode(model, "eval"), torch.no_grad():
        answers = model(x[:8].float()).double().round(decimals=2)
    parts = {
        "weights": weights_hash(model.state_dict()),
        "answers": weights_hash({"logits": answers}),  # equal weights need not be equal functions
        "images": weights_hash({"x": x, "y": y}),
        "threat": threat.model_dump(),
        "attacks": list(attacks),
        "seed": seed,
        "shard": shard_size,
        "dtype": "float32",
    }
    inside = judgement_folder(folder, "images", version, parts)
    rows = np.arange(len(x), dtype=np.int64)
    for number, begin in enumerate(range(0, len(x), shard_size)):
        part = slice(begin, begin + shard_size)
        for position, attack in enumerate((CLEAN, *attacks)):
            verdicts = judge_shard(
                model,
                x[part],
                y[part],
                rows[part],
                threat,
                attack=attack,
                earlier=(CLEAN, *attacks)[:position],
                shard=number,
                seed=seed,
                folder=inside,
            )
            if progress is not None:
                progress(verdicts)
    return Verdicts.read(inside, attacks)
