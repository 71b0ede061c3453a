"""Which options act together: what a pair of them explains that neither explains without the other."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import words
from analysis.pareto import CONFIDENCE
from analysis.search.forest import Forest
from analysis.search.importance_figure import POOR, fit, target_name
from analysis.search.sample import FEWEST, Option, Sample
from analysis.tables import Cell, Head, Table

COLUMNS = ["target", "first", "second", "settings", "share", "share_low", "share_high"]
HEADING = "Which options act together: the share of the variance that neither of a pair explains without the other"
_OPTIONS = 5  # of each target, those with the largest shares by its forest: what acts with others has one
_PAIRS = 10  # that a table shows
_RESAMPLES = 1000


def interactions(of: Sample, forests: Mapping[str, Forest], importance: pd.DataFrame) -> pd.DataFrame:
    """Pairs of the most important options, for each target.

    With h(x) = f(x) - E f(x'_a) - E f(x'_b) + E f(x'_ab), where a prime exchanges the values of an option, or of both at once,
    with those of another setting, `share` is E h^2 over the target's variance: all that f holds of a and b together, also with
    further options. Of independent options it is the superset importance of the pair (Liu and Owen, JASA 2006), the part by
    which both total Sobol' indices exceed what they would be if f were a sum of what holds a and what holds b: 0 for a + b, 1/7
    for a b of options uniform in [0, 1].

    The forest's h is held to what settings say that its trees have not seen: E [(y - f + h)^2 - (y - f)^2], by how much the
    squared error would grow without it, so that what a forest makes up counts against it. Permutations come in two halves, and
    the square is a product of both, for the noise of few of them would be taken for an interaction.

    Args:
        of: the settings. forests: of each target, as `importance` gives them. importance: its table.

    Returns:
        A row per target and pair of options that vary among the `settings` that have both; `share_low`, `share_high` its 95 %
        interval by a bootstrap over settings, with the forest as it is; all cut to 0 to 1, as
        shares are. Targets whose forests know nothing have none.
    """
    rows = []
    for target, forest in forests.items():
        if not fit(importance, target) >= POOR:
            continue
        shares = importance[importance["target"] == target].set_index("option")["permuted"].dropna()
        first = shares.sort_values(ascending=False, kind="stable").index[:_OPTIONS].tolist()
        known = {option.column: option for option in of.options}
        for a, b in combinations(first, 2):
            both = known[a].active & known[b].active
            y = of.y[target].to_numpy(dtype=float)[both]
            if both.sum() >= FEWEST and y.var() > 0 and all(_varies(of, known[each], both) for each in (a, b)):
                grown = forest.together(known[a].places, known[b].places, both)
                rows.append([target, a, b, int(both.sum()), *_share(grown, y)])
    return pd.DataFrame(rows, columns=COLUMNS)


def _varies(of: Sample, option: Option, rows: NDArray[np.bool_]) -> bool:
    return bool(np.ptp(of.x[rows][:, list(option.places)], axis=0).any())


def _share(grown: NDArray[np.float64], y: NDArray[np.float64]) -> list[float]:
    drawn = np.random.default_rng(0).integers(len(y), size=(_RESAMPLES, len(y)))
    variances = y[drawn].var(axis=1)
    shares = grown[drawn].mean(axis=1)[variances > 0] / variances[variances > 0]
    tail = (1 - CONFIDENCE) / 2
    found = [grown.mean() / y.var(), *np.quantile(shares, [tail, 1 - tail])]
    return [float(each) for each in np.clip(found, 0.0, 1.0)]


def table(pairs: pd.DataFrame) -> Table:
    """A row for each pair, the strongest first, a column for each target."""
    if pairs.empty:
        return Table([])
    targets = list(dict.fromkeys(pairs["target"]))
    found: dict[tuple[str, ...], dict[str, dict[Any, Any]]] = {}
    for row in pairs.to_dict(
        "records"
    ):  # a pair has its options in the order of their importance, which differs by target
        found.setdefault(tuple(sorted([row["first"], row["second"]])), {})[row["target"]] = row
    strongest = sorted(found, key=lambda pair: -max(row["share"] for row in found[pair].values()))
    heads = [
        Head("options"),
        *(Head(target_name(each), "% of variance, 95 % interval", numeric=True) for each in targets),
    ]
    rows = [
        [
            Cell(" \N{MULTIPLICATION SIGN} ".join(words.option_name(each) for each in pair), mark="option"),
            *(_cell(found[pair].get(target)) for target in targets),
        ]
        for pair in strongest[:_PAIRS]
    ]
    return Table(heads, rows)


def said(pairs: pd.DataFrame) -> str:
    """Whether any pair is more than noise, in a sentence: where its interval ends above 0 also as a table rounds it."""
    if pairs.empty:
        return "No two options could be looked at together: that takes a forest which knows something, and settings with both."
    sure = pairs[pairs["share_low"].map(_more)]
    if sure.empty:
        return "No pair of options explains more than its options do on their own, as far as these settings can tell."
    of, all_of = (len({frozenset(pair) for pair in each[["first", "second"]].to_numpy()}) for each in (sure, pairs))
    verb = "explains" if of == 1 else "explain"
    targets = [target_name(target) for target in dict.fromkeys(sure["target"])]
    of_what = " or ".join(filter(None, [", ".join(targets[:-1]), targets[-1]]))
    return f"{of} of {words.count(all_of, 'pair')} looked at {verb} more than nothing of {of_what} together."


def _more(low: float) -> bool:
    """Whether the lower end of a share is above 0 as it is printed, in whole percent."""
    return round(100 * low) > 0


def _cell(row: Mapping[Any, Any] | None) -> Cell:
    if row is None:
        return Cell("\N{EM DASH}", sort="")
    value, low, high = (100 * row[f"share{end}"] for end in ("", "_low", "_high"))
    told = [f"{each:.0f}" for each in (value, low, high)]
    return Cell(told[0], remark=f"{told[1]} to {told[2]}", sort=value, mark="strong" if _more(row["share_low"]) else "")
