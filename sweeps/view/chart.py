"""A frontier as text: a mark per member, braille dots for other trials and for the staircase between members."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from rich.text import Text

Point = tuple[float, float]
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # braille: two columns of four dots
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


def chart(members: Iterable[Member], others: Iterable[Point], width: int, height: int, marks: Marks = MARKS) -> Text:
    """Clean accuracy to the right, robust accuracy upwards, both in percent; exactly `height` lines of at most `width`.

    The axes hold the frontier with some room around it, so one collapsed trial does not squash it; what lies outside is
    not drawn.

    Args:
        members: of the frontier. others: (clean, robust) of other trials, as fractions.
    """
    shown = [member for member in members if _finite((member.clean, member.robust))]
    dots = [point for point in others if _finite(point)]
    columns, rows = max(1, width - _LABEL - 1), max(1, height - 2)
    place = _Place.around([(m.clean, m.robust) for m in shown] or dots, columns, rows)
    grid = [[0] * columns for _ in range(rows)]
    if marks.braille:
        for x, y in _staircase(shown, place):
            _dot(grid, x, y)
    cells: dict[tuple[int, int], str] = {}
    for clean, robust in dots:
        at = place.dot(clean, robust)
        if at is None:
            continue
        if marks.braille:
            _dot(grid, *at)
        else:
            cells[at[1] // 4, at[0] // 2] = "."
    for member in sorted(shown, key=lambda member: member.judged):  # judged ones last, so that they are on top
        at = place.dot(member.clean, member.robust)
        if at is not None:
            cells[at[1] // 4, at[0] // 2] = marks.of(member)
    return _drawn(grid, cells, place, marks)


def _drawn(grid: list[list[int]], cells: dict[tuple[int, int], str], place: _Place, marks: Marks) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    styles = {marks.judged: "bold green", marks.cheap: "bold yellow"}
    labels: dict[int, float] = {0: place.top, len(grid) - 1: place.bottom}
    if len(grid) >= 7:
        labels[len(grid) // 2] = place.top + (place.bottom - place.top) * (len(grid) // 2) / (len(grid) - 1)
    for row, dots in enumerate(grid):
        text.append(f"{labels[row]:>{_LABEL - 1}.0f} " if row in labels else " " * _LABEL, "dim")
        text.append(marks.spine, "dim")
        line = [chr(0x2800 + bits) if bits else " " for bits in dots]
        for column in range(len(line)):
            line[column] = cells.get((row, column), line[column])
        for mark, run in groupby(line, key=lambda mark: mark if mark in styles else ""):
            text.append("".join(run), styles.get(mark, "dim"))
        text.append("\n")
    width = len(grid[0])
    text.append(" " * _LABEL + marks.corner + marks.floor * width + "\n", "dim")
    left, right = f"{place.left:.0f}", f"{place.right:.0f}"
    between = width - len(left) - len(right)
    title = next((title for title in ("robust % over clean %", "clean %") if len(title) + 4 <= between), "")
    text.append(" " * (_LABEL + 1) + (left + title.center(between) + right if between > 0 else ""), "dim")
    return text


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
    def around(cls, points: Sequence[Point], columns: int, rows: int) -> _Place:
        clean = _range([100 * x for x, _ in points])
        robust = _range([100 * y for _, y in points])
        return cls(*clean, *robust, columns, rows)

    def dot(self, clean: float, robust: float) -> tuple[int, int] | None:
        """Column and row of a dot, from the top left; None outside."""
        x = (100 * clean - self.left) / (self.right - self.left)
        y = (self.top - 100 * robust) / (self.top - self.bottom)
        if not (-1e-9 <= x <= 1 + 1e-9 and -1e-9 <= y <= 1 + 1e-9):
            return None
        return round(min(1.0, max(0.0, x)) * (2 * self.columns - 1)), round(min(1.0, max(0.0, y)) * (4 * self.rows - 1))


def _range(percents: Sequence[float]) -> tuple[float, float]:
    """Whole percents around the values, inside 0 to 100, at least two apart."""
    if not percents:
        return 0.0, 100.0
    low, high = (min(100.0, max(0.0, end)) for end in (min(percents), max(percents)))
    room = max(_AROUND * (high - low), _LEAST / 2)
    low, high = max(0.0, math.floor(low - room)), min(100.0, math.ceil(high + room))
    return (low, high) if high - low >= _LEAST else (max(0.0, high - _LEAST), max(_LEAST, high))


def _staircase(members: Sequence[Member], place: _Place) -> Iterator[tuple[int, int]]:
    """Dots of the line through the members: it falls at the clean accuracy of the more robust one, then runs right."""
    best: list[tuple[int, int]] = []
    for member in sorted(members, key=lambda m: (-m.clean, -m.robust)):
        at = place.dot(member.clean, member.robust)
        if at is not None and (not best or at[1] < best[-1][1]):
            best.append(at)
    for (right, low), (left, high) in pairwise(best):
        yield from ((left, y) for y in range(high, low + 1))
        yield from ((x, low) for x in range(left, right + 1))


def _dot(grid: list[list[int]], x: int, y: int) -> None:
    grid[y // 4][x // 2] |= _DOTS[x % 2][y % 4]


def _finite(point: Point) -> bool:
    return all(math.isfinite(value) for value in point)
