"""How good a table of learning curves is as a benchmark of searches: frontier, noise of seeds, and what rungs say of the end.

    python benchmarks/table_quality.py benchmarks/tables/digits_constant.parquet

`members`: settings whose mean over seeds, after the whole training, no other is at least as good as everywhere and better
somewhere. `beyond noise`: of them, from the cleanest on, those that are apart from the last one counted by more than two
standard deviations of a single seed in some accuracy; the deviation is the root mean square over members. `tau`: Kendall's,
over settings, of one seed at a rung to the mean of the other seeds at the end; the mean over seeds, clean/robust, nan where
all settings are alike; `good`: among settings in the upper half of robust accuracy at the end. A training that broke off
counts as the worst.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from robustray.errors import UserError
from sweeps.search.table_arrays import Array, Split, Weights
from sweeps.search.tables import Table


def members(means: Array) -> list[int]:
    """Places of the non-dominated rows of means [S, M], all to be large, from the largest first column on."""
    found = [
        place
        for place, own in enumerate(means)
        if not ((means >= own).all(axis=1) & (means > own).any(axis=1)).any() and (own > 0).any()
    ]
    return sorted(found, key=lambda place: (-means[place, 0], place))


def beyond_noise(means: Array, order: Sequence[int], apart: Array) -> int:
    """How many members, each more than `apart` [M] from the last one counted in some column."""
    counted: list[int] = []
    for place in order:
        if not counted or (np.abs(means[place] - means[counted[-1]]) > apart).any():
            counted.append(place)
    return len(counted)


def tau(at_rung: Array, at_end: Array) -> tuple[float, ...]:
    """Kendall's tau of [S, K, M] at a rung, to the mean of the other seeds at the end; means over K, for each M."""
    seeds = at_rung.shape[1]
    found = np.empty((seeds, at_rung.shape[2]))
    for seed in range(seeds):
        others = at_end[:, [each for each in range(seeds) if each != seed] or [seed]].mean(axis=1)
        for metric in range(at_rung.shape[2]):
            found[seed, metric] = kendalltau(at_rung[:, seed, metric], others[:, metric]).statistic
    return tuple(found.mean(axis=0).tolist())


def lines(table: Table) -> list[str]:
    """The quality of a table, as Markdown."""
    there: list[Weights] = [
        each for each in ("raw", "averaged") if f"validation_{each}_clean_accuracy" in table.accuracies
    ]
    broken = ~table.complete.all(axis=1)
    took = table.seconds[:, :, -1]
    least, usual, most = np.nanquantile(took, (0, 0.5, 1))
    load = table.about.get("load")
    found = [
        f"## {table.path.name}",
        "",
        f"{len(table.settings)} settings, {len(table.seeds)} seeds, epochs {', '.join(map(str, table.epochs))}; "
        f"{np.mean(broken):.0%} of settings broke off with some seed. A whole training takes {usual:.2f} s "
        f"(median; {least:.2f} to {most:.2f}){f', at a load of {load}' if load else ''}.",
        "",
    ]
    for split in ("validation", "test"):
        found += [_frontier(table, split, weights) for weights in there]
    names = [f"{weights}{kind}" for weights in there for kind in ("", ", good")]
    found += ["", f"| epoch | {' | '.join(names)} |", f"|---{'|---' * len(names)}|"]
    curves = {weights: np.nan_to_num(table.values(weights=weights)) for weights in there}
    end = curves[there[-1]][:, :, -1]
    robust = end[:, :, 1].mean(axis=1)
    good = robust >= np.median(robust)
    for place, epoch in enumerate(table.epochs):
        cells = [
            "/".join(f"{each:.2f}" for each in tau(curves[weights][chosen, :, place], end[chosen]))
            for weights in there
            for chosen in (np.ones_like(good), good)
        ]
        if not all(np.isnan(table.seconds[:, :, place][table.complete])):
            found.append(f"| {epoch} | {' | '.join(cells)} |")
    return found


def _frontier(table: Table, split: Split, weights: Weights) -> str:
    if f"{split}_{weights}_robust_accuracy" not in table.accuracies:
        return f"- {split}, {weights}: not measured"
    end = np.nan_to_num(table.values(split=split, weights=weights)[:, :, -1])
    means = end.mean(axis=1)
    order = members(means)
    spread = np.sqrt((end[order].var(axis=1, ddof=1)).mean(axis=0)) if end.shape[1] > 1 else np.full(2, np.nan)
    count = beyond_noise(means, order, 2 * np.nan_to_num(spread))
    shown = ", ".join(f"{clean:.3f}/{robust:.3f}" for clean, robust in means[order])
    usual = "/".join(f"{each:.3f}" for each in spread)
    return f"- {split}, {weights}: {len(order)} members, {count} beyond noise; seed sd of members {usual}: {shown}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    try:
        for path in options.tables:
            print("\n".join(lines(Table.read(path))), end="\n\n")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
