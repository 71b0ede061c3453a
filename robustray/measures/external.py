"""Adversarial images as an external evaluation of RobustBench: a tensor, numbers, and the text of the issue."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustray._later import torch
from robustray.attacks.threats import in_255ths
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.measures.base import SHARD, Ground, Result

IMAGES, NUMBERS, ISSUE = "adversarial.pt", "external.json", "issue.md"


def written(folder: Path, settings: Mapping[str, Any], result: Result, ground: Ground) -> list[str]:
    """Writes the three files, reads the tensor back, and checks it as a stranger would: each image inside the threat, and
    robust accuracy what it is said to be.

    Args:
        settings: of `best_known`, whose result this is.

    Returns:
        What a reader should know, a line each.

    Raises:
        UserError: the images on disk are not what was found.
    """
    x_adv = torch.from_numpy(result.columns["x_adv"])
    buffer = io.BytesIO()
    torch.save(x_adv, buffer)
    write_whole(folder / IMAGES, buffer.getvalue())
    robust = checked(folder / IMAGES, ground)
    if abs(robust - result.value) > 1e-9:
        raise UserError(
            f"{folder / IMAGES}: robust accuracy is {robust:.2%} on what lies there, not {result.value:.2%}: the model answers "
            "otherwise when it is asked again"
        )
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    numbers = _numbers(settings, result, ground, digest)
    write_whole(folder / NUMBERS, json.dumps(numbers, indent=2) + "\n")
    write_whole(folder / ISSUE, issue(numbers))
    whole = ground.split == "test" and len(ground) == len(ground.data.load("test"))
    left = "" if whole else f"; RobustBench takes all test images, these are {len(ground)} of {ground.split}"
    return [f"{folder / ISSUE}: for RobustBench, with {IMAGES}, checked from disk{left}"]


def checked(file: Path, ground: Ground) -> float:
    """Robust accuracy on images [N, C, H, W] as they lie on disk, in the order of the ground's rows.

    Raises:
        UserError: it is no such tensor, or an image is outside the threat.
    """
    from robustray.measures.accuracy import answers, at_rest
    from robustray.numerics import numerics

    images = torch.load(file, weights_only=True)
    if not isinstance(images, torch.Tensor) or len(images) != len(ground):
        raise UserError(f"{file}: not a tensor of {len(ground)} images")
    right = 0
    with numerics(), at_rest(ground.model, ground.device), torch.no_grad():
        for number in range(ground.shards()):
            x, y = ground.shard(number)
            x_adv = images[number * SHARD : (number + 1) * SHARD].to(x)
            if bool(ground.threat.violated(x_adv, x)):
                raise UserError(f"{file}: an image of rows {number * SHARD} and on is outside the threat")
            right += int((answers(ground.model(x_adv)) == y).sum())
    return right / len(ground)


def _numbers(settings: Mapping[str, Any], result: Result, ground: Ground, digest: str) -> dict[str, Any]:
    by, count = _counts(result)
    return {
        "model": ground.spec,
        "dataset": ground.data.name,
        "split": ground.split,
        "images": len(ground),
        "threat": ground.threat.model_dump(mode="json"),
        "clean_acc": f"{100 * result.values['clean_accuracy']:.2f}",
        "autoattack_acc": f"{100 * result.values['autoattack']:.2f}",
        "external": f"{100 * result.value:.2f}",
        "broken": dict(zip(by, count, strict=True)),
        **{name: settings[name] for name in ("attack", "apgd", "rounds")},
        "adversarial_images": IMAGES,
        "sha256": digest,
    }


def _counts(result: Result) -> tuple[list[str], list[int]]:
    """By which attack images were broken, and how many by each."""
    by = [str(name) for name in dict.fromkeys(result.columns["broken_by"].tolist()) if name]
    return by, [int((result.columns["broken_by"] == name).sum()) for name in by]


def issue(numbers: dict[str, Any]) -> str:
    """The text of RobustBench's issue "New external evaluation(s)"; what only its author knows stands in <>."""
    threat, spec = numbers["threat"], str(numbers["model"])
    name = spec.removeprefix("zoo:")
    norm, eps = {"linf": "Linf", "l2": "L2", "l1": "L1"}[threat["norm"]], in_255ths(threat["eps"])
    shares = ", ".join(f"{attack} {count}" for attack, count in numbers["broken"].items())
    after = [numbers["attack"]["name"], *numbers["apgd"]]
    images = f"{numbers['images']} images of {numbers['split']}"
    method = f"{', '.join(after)}, {numbers['rounds']} round(s)"
    return f"""title: [New evaluation] {name}

## Target model
+ **Model identifier(s):** {name if name != spec else f"<as in the Model Zoo> ({spec})"}
+ **Leaderboard(s):** {numbers["dataset"]}, {norm}, eps {eps}

## New evaluation
+ **Link to adversarial images:** <a link to {IMAGES}, {images}, sha256 {numbers["sha256"]}>
+ **Robust accuracy:** {numbers["external"]} % (AutoAttack: {numbers["autoattack_acc"]} %, clean: {numbers["clean_acc"]} %)
+ **Author(s):** <your names>
+ **Description of the method used:** AutoAttack (standard), then {method}, on the images it left; APGD with the restarts of
  AutoAttack's plus version. Images broken by each: {shares}. Every image was checked from disk: inside the threat and [0, 1],
  and classified as counted.
"""
