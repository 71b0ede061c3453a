"""What follows from losses along lines and in a plane of weight space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustray.measures import intervals
from robustray.measures.base import Result


def of_lines(losses: NDArray[np.float64], places: NDArray[np.float64]) -> Result:
    """The mean rise at the ends of lines; losses [lines, points], places [points] from -1 to 1."""
    middle = len(places) // 2
    ends = losses[:, [0, -1]] - losses[:, [middle]]
    rises, (low, high) = ends.mean(1), intervals.mean(ends.mean(1))
    bends = losses[:, middle - 1] + losses[:, middle + 1] - 2 * losses[:, middle]
    values = {
        "loss": float(losses[0, middle]),
        "curvature": float(bends.mean() / places[middle + 1] ** 2),
        "largest_rise": float(ends.max()),
    }
    curve = [
        {"s": float(s), "mean": float(at.mean()), "least": float(at.min()), "most": float(at.max())}
        for s, at in zip(places, losses.T, strict=True)
    ]
    lines = [
        {"line": line, "s": float(s), "loss": float(loss)}
        for line, row in enumerate(losses)
        for s, loss in zip(places, row, strict=True)
    ]
    over = "directions, Student's t" if low is not None else ""
    return Result(float(rises.mean()), low, high, over, values, tables={"curve": curve, "lines": lines})


def of_plane(losses: NDArray[np.float64], places: NDArray[np.float64]) -> Result:
    """The mean rise at the edge of a plane; losses [points, points], t first, places [points] from -1 to 1."""
    middle, step = len(places) // 2, places[len(places) // 2 + 1]
    centre, edge = losses[middle, middle], np.ones(losses.shape, bool)
    edge[1:-1, 1:-1] = False
    sides = losses[middle, [middle - 1, middle + 1]].sum() + losses[[middle - 1, middle + 1], middle].sum()
    values = {
        "loss": float(centre),
        "curvature": float((sides - 4 * centre) / (2 * step**2)),
        "largest_rise": float((losses - centre).max()),
    }
    grid = [
        {"s": float(s), "t": float(t), "loss": float(losses[row, column])}
        for row, t in enumerate(places)
        for column, s in enumerate(places)
    ]
    return Result(float(losses[edge].mean() - centre), values=values, tables={"grid": grid})
