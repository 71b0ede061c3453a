"""What a measure of a model is: pieces of work that a killed run goes on from, and what follows from all of them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, nn, torch
from robustray.attacks.threats import Threat
from robustray.data.base import DataSource
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures.metrics import Direction
from robustray.registry import Part
from robustray.seeding import derive

Piece = Mapping[str, NDArray[Any]]
"""What one piece of work found: plain arrays by name."""
SplitName = Literal["train", "validation", "test"]
SHARD = 100
"""Images in a piece of a measure that looks at images one by one: what a killed run loses at most."""


@dataclass(frozen=True)
class Judged:
    """A finished judgement by AutoAttack of the model on a ground's images, in the order of its rows.

    Attributes:
        clean, robust: [N] classified correctly, as they are and by AutoAttack's verdicts. broken_by: [N] by which attack;
            "" where an image stands.
        mark: what tells this judgement from others.
        images: of rows [n] with their pixels x [n, C, H, W], the saved adversarial images, x where none was saved.
    """

    clean: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    broken_by: NDArray[np.str_]
    mark: str
    images: Callable[[Indices, Tensor], Tensor] = lambda rows, x: x


def no_other(spec: str) -> tuple[nn.Module, str]:
    """Raises UserError: no other model can be loaded here."""
    raise UserError(f"{spec}: other models are loaded by `python -m robustray measure` alone")


def not_judged() -> Judged:
    """Raises UserError: there is no judgement here."""
    raise UserError("judgements are found by `python -m robustray measure` alone")


@dataclass(frozen=True)
class Ground:
    """Where a measure is taken: a model, some images of a split, and the threat.

    Attributes:
        model: pixels [B, C, H, W] in [0, 1] to logits [B, K]; in eval mode and float32, on `device`, its weights frozen. A
            measure that changes weights works on a copy.
        classes: K. rows: int64 [N], the images' rows in their split.
        spec: how the user named the model. tell: hears which share of the piece at work is done.
        other: another model by a few words, as `model` is one, and the hash of its weights. judged: AutoAttack's verdicts
            on these images. Both raise UserError where there is none.
    """

    model: nn.Module
    data: DataSource
    split: SplitName
    rows: Indices
    threat: Threat
    classes: int
    device: torch.device
    spec: str = ""
    tell: Callable[[float], None] = lambda share: None
    other: Callable[[str], tuple[nn.Module, str]] = no_other
    judged: Callable[[], Judged] = not_judged

    def __len__(self) -> int:
        return len(self.rows)

    def shards(self, size: int = SHARD) -> int:
        """How many pieces of so many images there are."""
        return -(-len(self.rows) // size)

    def shard(self, number: int, size: int = SHARD) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1] and labels [B] of one piece, on the device."""
        return self.images(self.split, self.rows[number * size : (number + 1) * size])

    def images(self, split: SplitName, rows: Indices | None = None) -> tuple[Tensor, Tensor]:
        """Images [n, C, H, W] in [0, 1] and labels [n] of any split, on the device; all of it without rows."""
        from robustray.data.device import DeviceImages

        there = self.data.load(split)
        return DeviceImages(there if rows is None else there.take(rows), self.device).batch(slice(None))

    def generator(self, *path: object) -> torch.Generator:
        """Random numbers on the device that are a function of the path alone."""
        return torch.Generator(self.device).manual_seed(derive("measure", *path))


@dataclass(frozen=True)
class Result:
    """What was measured.

    Attributes:
        value: the number that stands for all. low, high: ends of its 95 % interval, None where there is none.
        interval: over what and how: "images, Wilson", "draws, Student's t".
        values: further numbers by name. columns: [N] each, per image, in the order of the ground's rows.
        tables: rows of further tables by name: a curve, a histogram. pictures: uint8 [H, W, 3] each, by name.
        notes: what a reader should know, a line each.
    """

    value: float
    low: float | None = None
    high: float | None = None
    interval: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Measure(Part):
    """Something to be known of a model, or of images. One file each.

    Attributes:
        unit: of its value: `fraction` (of images, printed in percent) or `number`.
        better: which way is better for a robust and accurate model; None where neither is.
        needs_model: False where it looks at images alone.
        reads: other splits that it looks at besides the one it is asked for: they are part of its identity.
        fixed_cost: whether `passes` is met exactly; else it is the most that it takes.
        cheap: options with which its contracts are tried where the defaults take long: counts of steps and draws. Choices
            do not belong here: each is tried with every value.
    """

    kind: ClassVar[str] = "measure"
    unit: ClassVar[Literal["fraction", "number"]] = "number"
    better: ClassVar[Direction | None] = None
    needs_model: ClassVar[bool] = True
    reads: ClassVar[tuple[SplitName, ...]] = ()
    fixed_cost: ClassVar[bool] = True
    cheap: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def pieces(self, ground: Ground) -> int:
        """How many pieces of work there are.

        Raises:
            UserError: the options do not fit this ground.
        """

    @abstractmethod
    def piece(self, number: int, ground: Ground) -> Piece:
        """Does one piece. A function of the number and the ground alone, whatever was done before it, and kept as it is.

        Raises:
            UserError: this model cannot be measured so.
        """

    @abstractmethod
    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        """What follows from all pieces. No pass through the model here."""

    @abstractmethod
    def passes(self, ground: Ground) -> float:
        """Passes of images through the model in all, as `cost_passes` counts them: a forward of an image is 1, a backward to
        it 1, to the weights (and it) 2.
        """

    def check(self, ground: Ground) -> None:
        """Looks at the options before anything is computed. Raises UserError: they do not fit."""

    def depends(self, ground: Ground) -> Mapping[str, Any]:
        """What its pieces depend on besides options, model, images and threat: hashes of other models, of files."""
        return {}

    def files(self, folder: Path, result: Result, ground: Ground) -> Sequence[str]:
        """Writes files of its own beside `result.json`, and returns what a reader should know of them, a line each."""
        return ()


class PerImage(Measure):
    """A measure that looks at images one by one, a shard at a time. The size of shards changes no value.

    Attributes:
        at_once: images in a shard.
    """

    at_once: ClassVar[int] = SHARD

    @abstractmethod
    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        """Columns [B, ...] of a shard: x [B, C, H, W] in [0, 1], y [B], rows [B] in their split. What is drawn at random is a
        function of an image's row, not of its neighbours: `per_row`.
        """

    def pieces(self, ground: Ground) -> int:
        return ground.shards(self.at_once)

    def piece(self, number: int, ground: Ground) -> Piece:
        x, y = ground.shard(number, self.at_once)
        found = self.each(x, y, ground.rows[number * self.at_once : (number + 1) * self.at_once], ground)
        return {name: column.detach().cpu().numpy() for name, column in found.items()}

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        return self.summary({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}, ground)

    @abstractmethod
    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        """What follows from the columns of all images, [N, ...] each, in the order of rows."""


def per_row(x: Tensor, rows: Indices, *path: object, kind: Literal["uniform", "normal"] = "uniform") -> Tensor:
    """Random numbers like x [B, C, H, W], those of an image drawn for its row alone: uniform in [0, 1), or standard normal.

    They are drawn on the CPU, so that they are the same on every device and in every batch.
    """
    drawn = []
    for row in rows.tolist():
        generator = torch.Generator().manual_seed(derive("measure", *path, row))
        draw = torch.rand if kind == "uniform" else torch.randn
        drawn.append(draw(x.shape[1:], generator=generator, dtype=x.dtype))
    return torch.stack(drawn).to(x.device) if drawn else torch.empty_like(x)


def finite(number: float) -> float | None:
    """A number as JSON takes it: None where it is not finite."""
    return float(number) if math.isfinite(number) else None
