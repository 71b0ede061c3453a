"""A frontier as text: a mark per member, braille dots for other trials and for the staircase between members."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.text import Text

Whole = NDArray[np.intp]
_DOTS = np.array([[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]])  # braille: two columns of four dots
_LABEL = 4  # columns for numbers at the left
_AROUND = 0.15  # of the frontier's extent, on every side
_LEAST = 2.0  # points in percent


@dataclass(frozen=True)
class Member:
    """A point on the frontier, accuracies as fractions."""

    clean: float
    robust: float
    judged: bool


@dataclass(frozen=True)
class Marks:
    """What things look like; shapes tell them apart where there is no colour."""

    judged: str = "\N{BLACK CIRCLE}"
    cheap: str = "\N{WHITE CIRCLE}"
    spine: str = "\N{BOX DRAWINGS LIGHT VERTICAL}"
    corner: str = "\N{BOX DRAWINGS LIGHT UP AND RIGHT}"
    floor: str = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"
    bar: str = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"
    braille: bool = True

    def of(self, member: Member) -> str:
        return self.judged if member.judged else self.cheap


MARKS = Marks()
ASCII = Marks("#", "o", "|", "+", "-", "=", braille=False)


def chart(members: Iterable[Member], others: ArrayLike, width: int, height: int, marks: Marks = MARKS) -> list[Text]:
    """Clean accuracy to the right, robust accuracy upwards, both in percent; exactly `height` lines of at most `width`.

    The axes hold the frontier with some room around it, so one collapsed trial does not squash it; what lies outside is
    not drawn.

    Args:
        members: of the frontier. others: [n, 2] (clean, robust) of other trials, as fractions.
    """
    shown = [member for member in members if math.isfinite(member.clean) and math.isfinite(member.robust)]
    points = np.asarray(others, dtype=float).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    columns, rows = max(1, width - _LABEL - 1), max(1, height - 2)
    shown.sort(key=lambda member: member.judged)  # judged ones last, so that they are on top
    leading = np.array([(member.clean, member.robust) for member in shown]).reshape(-1, 2)
    place = _Place.around(leading if shown else points, columns, rows)
    grid = np.zeros((rows, columns), dtype=np.intp)
    if marks.braille:
        _dot(grid, *_staircase(leading, place))
    cells: dict[tuple[int, int], str] = {}
    xs, ys, _ = place.dots(points)
    if marks.braille:
        _dot(grid, xs, ys)
    else:
        cells.update(dict.fromkeys(zip((ys // 4).tolist(), (xs // 2).tolist(), strict=True), "."))
    xs, ys, inside = place.dots(leading)
    cells.update(
        ((y // 4, x // 2), marks.of(member))
        for x, y, member in zip(xs.tolist(), ys.tolist(), compress(shown, inside), strict=True)
    )
    return _drawn(grid.tolist(), cells, place, marks)


def _drawn(grid: list[list[int]], cells: dict[tuple[int, int], str], place: _Place, marks: Marks) -> list[Text]:
    styles = {marks.judged: "bold green", marks.cheap: "bold yellow"}
    labels: dict[int, float] = {0: place.top, len(grid) - 1: place.bottom}
    if len(grid) >= 7:
        labels[len(grid) // 2] = place.top + (place.bottom - place.top) * (len(grid) // 2) / (len(grid) - 1)
    by_row: dict[int, dict[int, str]] = {}
    for (row, column), mark in cells.items():
        by_row.setdefault(row, {})[column] = mark
    lines = []
    for row, dots in enumerate(grid):
        line = [chr(0x2800 + bits) if bits else " " for bits in dots]
        marked = by_row.get(row, {})
        for column, mark in marked.items():
            line[column] = mark
        label = f"{labels[row]:>{_LABEL - 1}.0f} " if row in labels else " " * _LABEL
        text = Text(f"{label}{marks.spine}{''.join(line)}", "dim", no_wrap=True, overflow="crop")
        for column, mark in sorted(marked.items()):
            if mark in styles:
                text.stylize(f"not dim {styles[mark]}", len(label) + 1 + column, len(label) + 2 + column)
        lines.append(text)
    width = len(grid[0])
    lines.append(Text(" " * _LABEL + marks.corner + marks.floor * width, "dim", no_wrap=True, overflow="crop"))
    left, right = f"{place.left:.0f}", f"{place.right:.0f}"
    between = width - len(left) - len(right)
    title = next((title for title in ("robust % over clean %", "clean %") if len(title) + 4 <= between), "")
    below = left + title.center(between) + right if between > 0 else ""
    lines.append(Text(" " * (_LABEL + 1) + below, "dim", no_wrap=True, overflow="crop"))
    return lines


@dataclass(frozen=True)
class _Place:
    """Where percents lie on a grid of dots, two to a column and four to a row."""

    left: float
    right: float
    bottom: float
    top: float
    columns: int
    rows: int

    @classmethod
    def around(cls, points: NDArray[np.float64], columns: int, rows: int) -> _Place:
        return cls(*_range(points[:, 0]), *_range(points[:, 1]), columns, rows)

    def dots(self, points: NDArray[np.float64]) -> tuple[Whole, Whole, NDArray[np.bool_]]:
        """Columns and rows of dots, from the top left, of the points that lie inside, and which do."""
        with np.errstate(over="ignore"):  # one may be as far away as a float can be
            x = (100 * points[:, 0] - self.left) / (self.right - self.left)
            y = (self.top - 100 * points[:, 1]) / (self.top - self.bottom)
        inside = (np.abs(x - 0.5) <= 0.5 + 1e-9) & (np.abs(y - 0.5) <= 0.5 + 1e-9)
        across, down = np.clip(x[inside], 0, 1), np.clip(y[inside], 0, 1)
        columns = np.rint(across * (2 * self.columns - 1)).astype(np.intp)
        return columns, np.rint(down * (4 * self.rows - 1)).astype(np.intp), inside


def _range(fractions: NDArray[np.float64]) -> tuple[float, float]:
    """Whole percents around the values, inside 0 to 100, at least two apart."""
    if not len(fractions):
        return 0.0, 100.0
    low, high = (100 * min(1.0, max(0.0, float(end))) for end in (fractions.min(), fractions.max()))
    room = max(_AROUND * (high - low), _LEAST / 2)
    low, high = max(0.0, math.floor(low - room)), min(100.0, math.ceil(high + room))
    return (low, high) if high - low >= _LEAST else (max(0.0, high - _LEAST), max(_LEAST, high))


def _staircase(members: NDArray[np.float64], place: _Place) -> tuple[Whole, Whole]:
    """Dots of the line through the members: it falls at the clean accuracy of the more robust one, then runs right."""
    xs, ys, _ = place.dots(members[np.lexsort((-members[:, 1], -members[:, 0]))])
    best: list[tuple[int, int]] = []
    for at in zip(xs.tolist(), ys.tolist(), strict=True):
        if not best or at[1] < best[-1][1]:
            best.append(at)
    dots: list[tuple[int, int]] = []
    for (right, low), (left, high) in pairwise(best):
        dots += [(left, y) for y in range(high, low + 1)]
        dots += [(x, low) for x in range(left, right + 1)]
    line = np.array(dots, dtype=np.intp).reshape(-1, 2)
    return line[:, 0], line[:, 1]


def _dot(grid: Whole, xs: Whole, ys: Whole) -> None:
    np.bitwise_or.at(grid, (ys // 4, xs // 2), _DOTS[xs % 2, ys % 4])
