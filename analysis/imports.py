"""What a search learnt from other sweeps, apart from its own trials: as a frame for a file, and as a table of the page."""

from __future__ import annotations

import pandas as pd

from analysis import axes, words
from analysis.collect import OPTION
from analysis.tables import Cell, Head, Table
from robustray.measures.metrics import METRICS
from sweeps.record import Snapshot
from sweeps.record.imported import imported

_KNOWN = {"judged": "in full", "bound": "a bound", "cheap": words.CHEAP}


def frame(snapshot: Snapshot) -> pd.DataFrame:
    """A row for each setting that came in.

    Columns: `source` (the folder), `trial` there, `space` and `weights` (hashes), `known` (judged, bound or cheap: what its
    numbers come from), `option.<path>`, and each metric.
    """
    rows = [
        {
            "source": each.source,
            "trial": each.trial,
            "space": each.space,
            "weights": each.weights,
            "known": each.known,
            **{f"{OPTION}{name}": value for name, value in each.params.items()},
            **each.values,
        }
        for each in imported(snapshot.settings)
    ]
    return pd.DataFrame(rows)


def table(snapshot: Snapshot) -> Table:
    """The same for readers: where from, the objectives, how they are known, the options."""
    found = imported(snapshot.settings)
    named = list(dict.fromkeys(name for each in found for name in each.params))
    heads = [
        Head("imported from"),
        Head("trial", "there", numeric=True),
        *(Head(METRICS[name].short, axes.unit(name), numeric=True) for name in snapshot.objectives),
        Head("known by"),
        *(Head(last, way) for name in named for way, last in [words.parted(f"{OPTION}{name}")]),
    ]
    rows = [
        [
            Cell(each.source),
            Cell(str(each.trial), mark="trial"),
            *(
                Cell(axes.printed(name, each.values[name]) or "", sort=each.values[name])
                for name in snapshot.objectives
            ),
            Cell(_KNOWN[each.known]),
            *(Cell(words.value(each.params.get(name)), mark="option") for name in named),
        ]
        for each in found
    ]
    return Table(heads, rows)
