"""Judging one model: each stage on each shard, verdicts kept per image, nothing done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from robustray.attacks import autoattack, norms
from robustray.attacks.mode import attack_mode
from robustray.attacks.threats import Threat
from robustray.attacks.versions import VERSIONS, AttackName, strength
from robustray.errors import UserError, nearest
from robustray.judging import checks, early, images
from robustray.judging.plan import CLAIMED, EARLY, JOINED, SEED, SHARD, Plan, family
from robustray.judging.time_left import forwards
from robustray.numerics import numerics
from robustray.seeding import derive
from robustray.verdicts import CLEAN, Shard, Verdicts, judgement_folder, read_shard, write_shard

Progress = Callable[[Shard], None]
Tick = Callable[[float], None]
"""Told how far a running attack has come, 0 to 1, now and then."""


def judge_shard(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    plan: Plan,
    folder: Path,
    stage: str,
    shard: int,
    *,
    keep_images: bool = False,
    ahead: bool = False,
    tick: Tick | None = None,
) -> Shard:
    """Runs one stage on the images of one shard that no earlier one broke, and writes their verdicts.

    Args:
        model: maps pixels [B, C, H, W] in [0, 1] to logits; judged in eval mode, float32, parameters frozen.
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
    rows = plan.shard(shard)
    standing = np.ones(len(rows), dtype=bool)
    for name in plan.before(stage):
        before = read_shard(folder, name, shard)
        if before is None and ahead:
            continue
        if before is None:
            raise RuntimeError(f"{stage} needs the verdicts of {name} on shard {shard} in {folder}")
        standing &= ~np.isin(rows, before.image[before.broken])
    done = read_shard(folder, stage, shard)
    if (
        done is not None
        and np.array_equal(done.image, rows[standing])  # else an earlier attack was run anew since
        and (not keep_images or stage in (CLEAN, CLAIMED) or images.there(folder, done))
    ):
        return done
    keep = torch.from_numpy(standing).to(x.device)
    x, y = x[keep].float(), y[keep]
    with numerics(), attack_mode(model, "eval"), _seeded(derive(plan.seed, stage, shard), x.device):
        found = _run(model, x, y, plan, stage, shard, rows[standing], tick)
    image = rows[standing].astype(np.int32)
    if keep_images and stage not in (CLEAN, CLAIMED):
        images.save(folder, stage, shard, image, found.x_adv, found.correct == 0)
    verdicts = Shard(
        stage,
        shard,
        image,
        y.cpu().numpy().astype(np.int16),
        found.predicted.cpu().numpy().astype(np.int16),
        (found.correct == 0).cpu().numpy(),
        found.correct.float().cpu().numpy(),
        {"seconds": time.monotonic() - begun, "seed": plan.seed, "device": x.device.type, **found.info},
    )
    write_shard(folder, verdicts)
    return verdicts


class _Found:
    """What a stage did to a batch: x' [n, C, H, W], predicted class [n], fraction of passes that were right [n]."""

    def __init__(self, x_adv: Tensor, predicted: Tensor, correct: Tensor, info: dict[str, Any]) -> None:
        self.x_adv = x_adv
        self.predicted = predicted
        self.correct = correct
        self.info = info


def _run(
    model: nn.Module, x: Tensor, y: Tensor, plan: Plan, stage: str, shard: int, rows: Any, tick: Tick | None
) -> _Found:
    if not len(x):
        return _Found(x, y, y.float(), {})
    if stage == CLEAN:
        info: dict[str, Any] = {"flags": checks.flags(model, x)}
        return _Found(x, *answers(model, x, y, plan, stage, shard), info)
    if stage == CLAIMED:
        right = torch.from_numpy(images.claimed(plan.files[CLAIMED], rows)).to(x.device)
        return _Found(x, torch.where(right, y, -1), right.float(), {})
    info = {}
    if stage == JOINED:
        x_adv, info["outside"] = _joined(model, x, y, plan, shard, rows)
    elif stage == EARLY:
        x_adv = early.attack(model, x, y, plan.threat)
    else:
        with _counting(model, forwards(stage, plan.threat.norm, plan.strength), tick):
            x_adv, info["pieces"], info["zero_gradients"] = _attacked(
                stage, model, x, y, plan, derive(plan.seed, stage, shard) % 2**31
            )
    predicted, correct = answers(model, x_adv, y, plan, stage, shard)
    outside = ~plan.threat.inside(x_adv, x) & (correct < 1)
    if bool(outside.any()):  # broken outside the rules is not broken
        info["outside"] = info.get("outside", 0) + int(outside.sum())
        predicted, correct = torch.where(outside, y, predicted), torch.where(outside, 1.0, correct)
        x_adv = torch.where(outside[:, None, None, None], x, x_adv)
    broken = correct == 0
    if bool(broken.any()):
        info["largest"] = float(norms.length((x_adv[broken].double() - x[broken]), plan.threat.norm).max())
    return _Found(x_adv, predicted, correct, info)


def answers(model: nn.Module, x: Tensor, y: Tensor, plan: Plan, stage: str, shard: int) -> tuple[Tensor, Tensor]:
    """The class [B] that most passes give, and the fraction [B] of passes that give the label.

    Random numbers inside the model are a function of plan, stage and shard, so that the same question has one answer.
    """
    with _seeded(derive(plan.seed, stage, shard, "answers"), x.device), torch.no_grad():
        votes = torch.stack([model(x).argmax(1) for _ in range(plan.passes)])
    return votes.mode(0).values, (votes == y).float().mean(0)


def _joined(model: nn.Module, x: Tensor, y: Tensor, plan: Plan, shard: int, rows: Any) -> tuple[Tensor, int]:
    """Others' images: of several files the one that fewest passes get right; and how many break the rules."""
    x_adv, least, outside = x, torch.full(y.shape, torch.inf, device=x.device), 0
    for file in plan.files[JOINED]:
        theirs, beyond = images.joined(file, rows, x, plan.threat)
        _, correct = answers(model, theirs, y, plan, JOINED, shard)
        x_adv = torch.where((correct < least)[:, None, None, None], theirs, x_adv)
        least, outside = torch.minimum(correct, least), outside + beyond
    return x_adv, outside


def _attacked(attack: str, model: nn.Module, x: Tensor, y: Tensor, plan: Plan, seed: int) -> tuple[Tensor, int, int]:
    """x', in how many pieces it was made, and how many gradients were zero.

    Where a batch does not fit into memory, its fixed halves are attacked.
    """
    try:
        x_adv, zero = autoattack.run(attack, model, x, y, plan.threat, seed, plan.strength)
        return x_adv, 1, zero
    except torch.cuda.OutOfMemoryError:
        if len(x) == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler: the exception holds the tensors that did not fit
    half = len(x) // 2
    first, before, zero = _attacked(attack, model, x[:half], y[:half], plan, seed)
    second, after, also_zero = _attacked(attack, model, x[half:], y[half:], plan, seed)
    return torch.cat([first, second]), before + after, zero + also_zero


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers inside the model are a function of the seed; the caller's state is untouched."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _counting(model: nn.Module, expected: int, tick: Tick | None) -> Iterator[None]:
    """Tells `tick` at the beginning and after about every hundredth of the forward passes that an attack makes."""
    if tick is None:
        yield
        return
    every, passed = max(1, expected // 100), 0
    tick(0.0)

    def count(*_: object) -> None:
        nonlocal passed
        passed += 1
        if passed % every == 0:
            tick(min(1.0, passed / expected))

    handle = model.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()


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
    from robustray.training.checkpoints import weights_hash

    if not bool(((x >= 0) & (x <= 1)).all()):  # a NaN is outside
        raise ValueError("images must be pixels in [0, 1]: put normalisation into the model's first layer")
    attacks: tuple[str, ...] = VERSIONS[version] if version in VERSIONS else tuple(version.split("+"))
    known = get_args(AttackName)
    if not set(attacks) <= set(known) or len(set(attacks)) < len(attacks):
        raise UserError(f"there is no version {version!r}; {nearest(version, VERSIONS)}, or different ones of "
                        f"{', '.join(known)} joined by +")  # fmt: skip
    power = strength(version)
    name = family(attacks, power)
    parts = {
        "weights": weights_hash(model.state_dict()),
        "answers": answers_hash(model, x),  # equal weights need not be equal functions
        "images": weights_hash({"x": x, "y": y}),
        "threat": threat.model_dump(),
        "family": name,
        "attacks": list(VERSIONS.get(name, attacks)),
        "seed": seed,
        "shard": shard_size,
        "dtype": "float32",
    }
    rows = np.arange(len(x), dtype=np.int64)
    plan = Plan("images", version, attacks, power, threat, rows, shard_size, seed, parts)
    inside = judgement_folder(folder, "images", name, parts)
    for number, begin in enumerate(range(0, len(x), shard_size)):
        part = slice(begin, begin + shard_size)
        for stage in plan.stages:
            verdicts = judge_shard(model, x[part], y[part], plan, inside, stage, number)
            if progress is not None:
                progress(verdicts)
    return Verdicts.read(inside, attacks)


def answers_hash(model: nn.Module, x: Tensor) -> str:
    """What a model says of the first few images, to two decimals."""
    from robustray.training.checkpoints import weights_hash

    with attack_mode(model, "eval"), _seeded(0, x.device), torch.no_grad():
        return weights_hash({"logits": model(x[:8].float()).double().round(decimals=2)})
