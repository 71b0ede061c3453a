"""The robust parent's logits where it holds under attack and where it errs as it is: taken once, kept for every point."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray import arrays
from robustray.data.base import Images
from robustray.data.device import DeviceImages
from robustray.derived.base import Ground, Parent
from robustray.errors import Paused
from robustray.judge import Judge
from robustray.numerics import numerics
from robustray.seeding import derive
from robustray.verdicts import fingerprint

_BATCH = 256


@dataclass(frozen=True)
class Margins:
    """Logits float64 [n, K] of attacked images that are still classified correctly, [m, K] of clean ones that are not."""

    held: NDArray[np.float64]
    wrong: NDArray[np.float64]


def of(parent: Parent, ground: Ground, which: str, limit: int) -> tuple[Margins, float]:
    """The margins' logits of a parent, and the passes they took; none where another point has left them in `ground.kept`.

    The attack is the judge's cheap one, `judge.cheap`.

    Raises:
        Paused: the ground's stop was set.
    """
    images = _images(ground.judge, which)
    images = images.take(np.arange(min(limit, len(images))))
    path = ground.kept / f"margins-{fingerprint(_about(parent, ground.judge, which, limit))}.npz"
    attack = ground.judge.cheap.bind(ground.judge.threat)
    passes = float(len(images) * (1 + attack.attack.passes))
    if (known := arrays.kept(path) or {}).keys() >= {"held", "wrong"}:
        # where it was this very point, a process died before it could tell
        ours = "by" in known and str(known["by"]) == ground.folder.name
        return Margins(known["held"], known["wrong"]), passes if ours else 0.0
    kept = DeviceImages(images, ground.device)
    generator = torch.Generator(ground.device).manual_seed(derive("margins"))
    held, wrong = list[Tensor](), list[Tensor]()
    with numerics():
        for begin in range(0, len(kept), _BATCH):
            if ground.stop.is_set():
                raise Paused
            x, y = kept.batch(slice(begin, begin + _BATCH))
            with torch.no_grad():
                clean = parent.model(x)
            right = clean.argmax(1) == y
            wrong.append(clean[~right])
            if bool(right.any()):
                x_adv = attack(parent.model, x[right], y[right], generator=generator)
                with torch.no_grad():
                    attacked = parent.model(x_adv)
                held.append(attacked[attacked.argmax(1) == y[right]])
            ground.tell({"images": min(begin + _BATCH, len(kept)), "of": len(kept)})
    found = Margins(_array(held), _array(wrong))
    arrays.keep(path, held=found.held, wrong=found.wrong, by=np.array(ground.folder.name))
    return found, passes


def _images(judge: Judge, which: str) -> Images:
    if which == "train":
        return judge.data.load("train")
    return judge.data.load("validation").take(judge.lists()[1])


def _about(parent: Parent, judge: Judge, which: str, limit: int) -> dict[str, Any]:
    split = "train" if which == "train" else "validation"
    return {
        "weights": parent.weights,
        "data": judge.data.identity(split),  # type: ignore[arg-type]
        "judge": json.loads(judge.model_dump_json()),
        "images": [which, limit],
    }


def _array(parts: list[Tensor]) -> NDArray[np.float64]:
    return torch.cat(parts).double().cpu().numpy() if parts else np.zeros((0, 0))
