"""Where the numbers of marks are written: on whichever side of a mark the fewest lines and other marks are in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Place = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels, downwards

_SIDES = ("top right", "top left", "bottom right", "bottom left")
"""The first is usual; the others that there are lie on a mark's own intervals."""
_WIDTH, _HEIGHT = 900.0, 500.0  # pixels of a plot, about, on a page and in a picture
_LETTER, _LINE = 6.6, 10.0  # pixels: the width of a digit, and its height
_BESIDE = 7.5  # pixels from the middle of a mark to its label
_GAP = 5.0  # pixels between two numbers of a line, which would be read as one
_MARK = 5.5  # pixels from the middle of a mark to its edge
_OUTSIDE, _ON_LABEL, _ON_MARK = 200.0, 60.0, 20.0  # as bad as so many pixels of a line that strikes a label through


def sides(
    labelled: Mapping[int, Place],
    *,
    lines: Sequence[tuple[Place, Place]],
    marks: Sequence[Place],
    view: tuple[list[float], list[float]],
) -> dict[int, str]:
    """Plotly's `textposition` by trial.

    Args:
        labelled: where the marks of trials are, as they are drawn.
        lines: from where to where there are lines. marks: all marks, the labelled ones too.
        view: the ranges of both axes.
    """
    at = {trial: _pixels(place, view) for trial, place in labelled.items()}
    drawn = [(_pixels(start, view), _pixels(end, view)) for start, end in lines]
    others = [_pixels(mark, view) for mark in marks]
    found = dict.fromkeys(at, _SIDES[0])
    for _ in range(2):  # once more, for labels that came later are in the way too
        for trial, place in at.items():
            taken = [_box(at[other], other, side) for other, side in found.items() if other != trial]
            costs = [_cost(_box(place, trial, side), drawn, others, taken) for side in _SIDES]
            found[trial] = _SIDES[costs.index(min(costs))]
    return found


def _pixels(place: Place, view: tuple[list[float], list[float]]) -> Place:
    (left, right), (bottom, top) = view
    return _WIDTH * (place[0] - left) / (right - left), _HEIGHT * (top - place[1]) / (top - bottom)


def _box(place: Place, trial: int, side: str) -> Box:
    x, y = place
    width = _LETTER * len(str(trial))
    left = x + _BESIDE if "right" in side else x - _BESIDE - width
    top = y - _BESIDE - _LINE if "top" in side else y + _BESIDE
    return left, top, left + width, top + _LINE


def _cost(box: Box, lines: Sequence[tuple[Place, Place]], marks: Sequence[Place], taken: Sequence[Box]) -> float:
    left, top, right, bottom = box
    outside = left < 0 or top < 0 or right > _WIDTH or bottom > _HEIGHT
    on_marks = sum(left - _MARK < x < right + _MARK and top - _MARK < y < bottom + _MARK for x, y in marks)
    on_labels = sum(
        left - _GAP < other[2] and other[0] < right + _GAP and top < other[3] and other[1] < bottom for other in taken
    )
    crossed = sum(_within(box, start, end) for start, end in lines)
    return round(_OUTSIDE * outside + _ON_MARK * on_marks + _ON_LABEL * on_labels + crossed, 6)


def _within(box: Box, start: Place, end: Place) -> float:
    """How many pixels of a line lie in a box (Liang and Barsky, ACM Transactions on Graphics 1984)."""
    steps = (end[0] - start[0], end[1] - start[1])
    enters, leaves = 0.0, 1.0
    for at, step in enumerate(steps):
        low, high = box[at] - start[at], box[at + 2] - start[at]
        if step == 0:
            if low > 0 or high < 0:
                return 0.0
            continue
        first, last = sorted((low / step, high / step))
        enters, leaves = max(enters, first), min(leaves, last)
    return float(max(leaves - enters, 0.0) * (steps[0] ** 2 + steps[1] ** 2) ** 0.5)
