"""Derived points against the trained frontier, image by image: a table and a figure, from sweeps that differ in their seed.

    python benchmarks/derived_figure.py docs/findings/NAME results/NAME [results/OTHER ...]
    python benchmarks/derived_figure.py docs/findings/NAME --title 'its title' [--split validation]

writes NAME.csv and NAME.png, and says of each sweep what its points added on the selection set; without a sweep it draws
NAME.png from NAME.csv. A derived member is set against every trained one: the difference of their accuracies on the same
images of the split, with its 95 % interval by the paired bootstrap (`analysis.paired`). It lies beyond the trained frontier
where it is worse than no trained member in both, and
*beyond noise* where against each of them the interval of clean or of robust accuracy lies above 0. Trained trials that a
derived point dominated on the selection set are no members and were not tested.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from _bench import interval
from _look import LOOK as _LOOK
from _look import SYMBOLS, save, titled

import analysis
from analysis import comparison, derivation, paired
from analysis.pareto import wilson
from robustray.errors import UserError
from sweeps import record
from sweeps.record import Snapshot
from sweeps.standing import SELECTION, TEST

_KINDS = ("trained", "soup", "smoothing", "nonlinear")


def table(models: comparison.Paired, snapshot: Snapshot) -> pd.DataFrame:
    """A row for every trial that was judged in full, the most accurate on clean images first.

    `clean`, `robust` and their 95 % Wilson intervals. A derived one has also its differences to the trained member that is
    hardest to beat (`against`), `clean_over` and `robust_over` with `_low` and `_high`, and `beyond`: whether for each
    trained member one of the two intervals lies above 0.
    """
    accuracy = models.verdicts.mean(axis=-1)
    images = models.verdicts.shape[-1]
    means = paired.resample(models.verdicts)
    derived = [snapshot.trials[number].origin == "derived" for number in models.trials]
    trained = [place for place, made in enumerate(derived) if not made]
    rows = []
    for place, number in enumerate(models.trials):
        trial = snapshot.trials[number]
        row = {"trial": number, "made": trial.params.get("derived", "trained"), "images": images}
        row |= {"options": ", ".join(f"{key} {value}" for key, value in trial.params.items() if key != "derived")}
        row |= {"parents": " ".join(map(str, trial.parents)) if derived[place] else ""}
        for which, name in enumerate(comparison.SHORT):
            low, high = wilson(accuracy[place, which] * images, images)
            row |= {name: accuracy[place, which], f"{name}_low": low, f"{name}_high": high}
        if derived[place] and trained:
            row |= _against(place, trained, models, means)
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["clean", "robust"], ascending=False)


def _against(
    place: int, trained: list[int], models: comparison.Paired, means: paired.Floats
) -> dict[str, float | int | bool]:
    """A derived point against the trained member that it is least better than, by the larger lower end of the two intervals."""
    found = []
    for other in trained:
        row: dict[str, float | int | bool] = {"against": models.trials[other]}
        for which, name in enumerate(comparison.SHORT):
            low, high = paired.interval(means[:, place, which] - means[:, other, which])
            over = models.verdicts[place, which].mean() - models.verdicts[other, which].mean()
            row |= {f"{name}_over": float(over), f"{name}_over_low": low, f"{name}_over_high": high}
        found.append(row)
    ends = [max(row[f"{name}_over_low"] for name in comparison.SHORT) for row in found]
    hardest = int(np.argmin(ends))
    return found[hardest] | {"beyond": ends[hardest] > 0}


def figure(rows: pd.DataFrame, title: str, split: str = TEST) -> go.Figure:
    """Clean against robust accuracy in %, a colour for each maker; of one sweep alone with intervals.

    Trained members of a sweep are joined by a line; each sweep has a shape of its own.
    """
    drawn, alone = go.Figure(), rows["sweep"].nunique() == 1
    for kind, colour in zip(_KINDS, _LOOK.categories, strict=False):
        ordered = rows[rows.made == kind].sort_values(["clean", "robust"], ascending=[True, False])
        for at, (sweep, part) in enumerate(ordered.groupby("sweep")):
            bars = {
                axis: {
                    "type": "data",
                    "symmetric": False,
                    "array": 100 * (part[f"{name}_high"] - part[name]),
                    "arrayminus": 100 * (part[name] - part[f"{name}_low"]),
                    "width": 0,
                    "thickness": 0.8,
                }
                for axis, name in (("error_x", "clean"), ("error_y", "robust"))
            }
            drawn.add_scatter(
                x=100 * part.clean, y=100 * part.robust, name=kind, legendgroup=kind, showlegend=at == 0,
                mode="markers+lines" if kind == "trained" else "markers", **(bars if alone else {}),
                marker={"color": colour, "size": 10, "symbol": SYMBOLS[int(str(sweep)) % len(SYMBOLS)]},
                line={"color": colour, "width": 1, "dash": "dot"},
            )  # fmt: skip
    ends = {name: 100 * np.array([rows[name].min(), rows[name].max()]) for name in comparison.SHORT}
    if alone:
        ends = {name: 100 * np.array([rows[f"{name}_low"].min(), rows[f"{name}_high"].max()]) for name in ends}
    room = {name: [low - 0.06 * (high - low), high + 0.06 * (high - low)] for name, (low, high) in ends.items()}
    drawn.update_xaxes(title=f"clean accuracy on {split}, %", range=room["clean"])
    drawn.update_yaxes(title=f"robust accuracy on {split}, %", range=room["robust"])
    drawn.update_layout(title=titled(title), margin={"l": 60, "r": 20, "t": 50, "b": 50})
    return drawn


def read(folder: Path, split: str) -> tuple[pd.DataFrame, derivation.Added]:
    """The table of a finished sweep, and what its points added on the selection set.

    Raises:
        UserError: nothing was judged in full on the split yet.
    """
    snapshot = record.read(folder)
    models = comparison.read(folder, snapshot, split)
    if models is None:
        raise UserError(f"{folder}: nothing was judged in full on {split} yet; run its sweep to its end")
    chosen = comparison.read(folder, snapshot, SELECTION)
    return table(models, snapshot), derivation.added(analysis.load(folder), snapshot.objectives, chosen)


def _said(number: int, rows: pd.DataFrame, added: derivation.Added) -> str:
    made = int((rows.made != "trained").sum())
    beyond = int(rows["beyond"].fillna(False).astype(bool).sum()) if "beyond" in rows else 0
    between = "" if added.low is None else f" ({added.low:.4f} to {added.high:.4f} over images)"
    most = "" if added.exact else ", at most"
    return (
        f"sweep {number}: {len(rows)} members, {made} derived, {beyond} beyond every trained one; hypervolume on "
        f"validation {added.trained:.4f} + {added.gain:.4f}{between}{most}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="where to write, without an ending")
    parser.add_argument(
        "folders", type=Path, nargs="*", help="of finished sweeps with derived points; none: draws the CSV"
    )
    parser.add_argument(
        "--split",
        choices=(TEST, SELECTION),
        default=TEST,
        help="test: members; the set they were chosen on: all judged",
    )
    parser.add_argument("--title", default="95 % intervals over images", help="of the figure")
    options = parser.parse_args()
    if not options.folders:
        save(
            figure(pd.read_csv(options.out.with_suffix(".csv")), options.title, options.split),
            options.out.with_suffix(".png"), 600, 400,
        )  # fmt: skip
        return
    tables, gains = [], []
    for number, folder in enumerate(options.folders):
        rows, added = read(folder, options.split)
        tables.append(rows.assign(sweep=number))
        gains.append(added.gain)
        print(_said(number, rows, added))
    whole = pd.concat(tables)
    if len(gains) > 1:
        low, high = interval(gains)
        print(
            f"hypervolume added over {len(gains)} sweeps: {np.mean(gains):.4f} ({low:.4f} to {high:.4f}, Student's t)"
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    whole.to_csv(options.out.with_suffix(".csv"), index=False, float_format="%.4f")
    save(figure(whole, options.title, options.split), options.out.with_suffix(".png"), 600, 400)
    columns = ["sweep", "trial", "made", "clean", "robust", *(["against", "beyond"] if "beyond" in whole else [])]
    print(whole[columns].to_string(index=False))


if __name__ == "__main__":
    main()
