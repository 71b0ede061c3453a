"""Adversarial examples of members as pictures, from the few that the judge keeps beside its verdicts."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from analysis import points
from robustray.errors import UserError
from robustray.verdicts import stages
from sweeps.record import Snapshot

FOLDER = "examples"  # in a judgement, as `robustray.judging.examples` writes them
_MEMBERS, _STRIPS = 12, 5  # at most, on a page
_SHOWN = 64  # pixels; smaller images are drawn larger, larger ones are made smaller


@dataclass(frozen=True)
class Strip:
    """One image: as it is, attacked, and the difference, side by side in one PNG."""

    source: str  # data:image/png;base64, ...
    width: int  # as drawn, in pixels
    height: int
    label: int
    predicted: int
    attack: str
    alt: str


def of_sweep(folder: Path, snapshot: Snapshot, df: pd.DataFrame, split: str) -> list[tuple[int, list[Strip]]]:
    """Strips of each trial on the frontier, by number; trials that nothing was kept of are left out.

    Args:
        folder: the sweep's. snapshot: its record. df: as `analysis.load` gives it.
        split: whose judgements are looked at.
    """
    leading = sorted(points.leaders(df, snapshot.objectives))
    judged = {number: snapshot.judged[number, split] for number in leading if (number, split) in snapshot.judged}
    found = [(number, _strips(folder / one.folder, number, split)) for number, one in judged.items()]
    return [(number, strips) for number, strips in found if strips][:_MEMBERS]


def _strips(judgement: Path, number: int, split: str) -> list[Strip]:
    """The first of each attack, then more of those that broke most, each image once."""
    try:
        kept = [(attack, list(_kept(judgement / FOLDER / f"{attack}.npz"))) for attack in stages(judgement)]
    except UserError:
        return []
    turns = [(turn, at, attack, one) for at, (attack, all_) in enumerate(kept) for turn, one in enumerate(all_)]
    chosen = sorted(turns, key=lambda found: (found[0], found[1]))[:_STRIPS]
    return [_strip(one, attack, number, split) for _, _, attack, one in sorted(chosen, key=lambda found: found[1])]


def _kept(path: Path) -> Iterator[dict[str, Any]]:
    """Images of one file; none where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            columns = {name: file[name] for name in ("image", "label", "predicted", "x", "x_adv")}
        if columns["x"].ndim != 4 or columns["x"].dtype != np.uint8 or columns["x"].shape != columns["x_adv"].shape:
            return
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    except Exception:  # a damaged zip raises whatever it likes
        return
    yield from rows


def _strip(one: dict[str, Any], attack: str, number: int, split: str) -> Strip:
    clean, attacked = (np.moveaxis(one[name], 0, -1) for name in ("x", "x_adv"))
    moved = attacked.astype(np.float64) - clean
    stretched = 127.5 * (1 + moved / max(float(np.abs(moved).max()), 1.0))
    gap = np.zeros((clean.shape[0], max(1, clean.shape[1] // 12), 4), dtype=np.uint8)
    first, second, third = (_seen(part) for part in (clean, attacked, stretched.round().astype(np.uint8)))
    picture = Image.fromarray(np.concatenate([first, gap, second, gap, third], axis=1))
    if clean.shape[0] > _SHOWN:
        picture = picture.resize((round(_SHOWN * picture.width / picture.height), _SHOWN))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    label, predicted, row = int(one["label"]), int(one["predicted"]), int(one["image"])
    return Strip(
        "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(),
        round(_SHOWN * picture.width / picture.height),
        _SHOWN,
        label,
        predicted,
        attack,
        f"image {row} of {split}, label {label}, taken for {predicted} by trial {number} after {attack}",
    )


def _seen(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[H, W, 4] of an image [H, W, C]: three channels in colour, else the first in grey; nothing shows through."""
    colours = pixels[..., :3] if pixels.shape[-1] >= 3 else np.repeat(pixels[..., :1], 3, axis=-1)
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=-1)
