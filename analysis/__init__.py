"""Read a running or finished sweep: tables, frontiers, figures, report.

Knows records and verdicts, never ray or torch. The names below load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from analysis.collect import load
    from analysis.comparison import compare
    from analysis.curves import hypervolume_curve, training_curves
    from analysis.deciding.choosing import Wanted, choose
    from analysis.figures import frontier_figure
    from analysis.pareto import dominates, frontier, hypervolume, wilson

__all__ = [
    "Wanted",
    "choose",
    "compare",
    "dominates",
    "frontier",
    "frontier_figure",
    "hypervolume",
    "hypervolume_curve",
    "load",
    "training_curves",
    "wilson",
]

__getattr__ = lazy(
    __name__,
    {
        "load": "collect",
        "compare": "comparison",
        "frontier_figure": "figures",
        **dict.fromkeys(("hypervolume_curve", "training_curves"), "curves"),
        **dict.fromkeys(("Wanted", "choose"), "deciding.choosing"),
        **dict.fromkeys(("dominates", "frontier", "hypervolume", "wilson"), "pareto"),
        **dict.fromkeys(
            (
                "collect",
                "comparison",
                "curve",
                "curves",
                "derivation",
                "device_time",
                "figures",
                "fooling",
                "judgements",
                "page",
                "paired",
                "palette",
                "pareto",
                "points",
                "report",
                "standing",
                "summary",
                "words",
            ),
            "",
        ),
    },
)
