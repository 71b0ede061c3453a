"""docs/findings.md and its figures, from the trials of the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from _claims import ANGLE, ANGLES, BETAS, EPS, LSE_BETAS, RADII, RATES, Verdict, settings
from _look import LOOK as _LOOK
from _look import SYMBOLS, save

_COLUMNS = {"clean": "clean", "robust": "robust (APGD-CE, APGD-T)", "spatial": f"under rotations up to {ANGLE}°"}
_COLOURS = dict(zip(_COLUMNS, _LOOK.categories, strict=False))

_BY_HAND = "\n<!-- what follows was written by hand, of other programs -->\n"
"""Where the part of the page begins that is kept as it is."""

Curve = tuple[str, Sequence[float], Sequence[str], str, str]  # its name, places, settings, column, colour


def publish(docs: Path, runs: pd.DataFrame, verdicts: Sequence[Verdict]) -> None:
    """Writes findings.md up to what was written by hand, findings/claims.csv and a PNG for each group of claims."""
    folder = docs / "findings"
    claims = pd.DataFrame(
        {
            "claim": v.claim.name, "positive": v.positive, "negative": v.negative, "seeds": len(v.values),
            "median": pd.Series(v.values).median(), "least": min(v.values), "most": max(v.values),
            "p": v.p, "p_against": v.p_against, "verdict": v.says,
        }
        for v in verdicts
    )  # fmt: skip
    claims.to_csv(folder / "claims.csv", index=False, float_format="%.6g")
    draw(docs, runs)
    page = docs / "findings.md"
    before = page.read_text(encoding="utf-8") if page.exists() else ""
    page.write_text(_page(runs, verdicts) + "".join(before.partition(_BY_HAND)[1:]), encoding="utf-8")


def draw(docs: Path, runs: pd.DataFrame) -> None:
    """Writes the PNGs alone."""
    for name, figure in _figures(runs).items():
        legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
        margin = {"l": 60, "r": 45, "t": 40, "b": 50}
        save(figure, docs / "findings" / f"{name}.png", 620, 360, legend=legend, margin=margin)


def _page(runs: pd.DataFrame, verdicts: Sequence[Verdict]) -> str:
    seeds = runs["seed"].nunique()
    rows = [
        f"| {v.claim.says} ({v.claim.paper}) | {v.claim.positive} | {pd.Series(v.values).median():+.4g} "
        f"({min(v.values):+.4g} to {max(v.values):+.4g}) | {v.positive} of {len(v.values)} | {v.p:.2g} | **{v.says}** |"
        for v in verdicts
    ]
    return _TEMPLATE.format(seeds=seeds, trials=len(runs), table="\n".join(rows), means=_means(runs), eps=EPS)


def _means(runs: pd.DataFrame) -> str:
    columns = ["clean", "robust", "spatial", "train_robust", "pgd_robust"]
    names = list(settings())
    table = 100 * runs.groupby("setting")[columns].mean().loc[names]
    spread = 100 * runs.groupby("setting")[columns].std().loc[names]
    lines = ["| setting | clean | robust | spatial | PGD on train | PGD on test |", "|---|---|---|---|---|---|"]
    for name, means, deviations in zip(table.index, table.to_numpy(), spread.to_numpy(), strict=True):
        cells = " | ".join(f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in zip(means, deviations, strict=True))
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _figures(runs: pd.DataFrame) -> dict[str, go.Figure]:
    accuracy = [(column, words, _COLOURS[column]) for column, words in _COLUMNS.items()]
    names = {"turned": f"turned {{}} eps {EPS:g}", "eps": f"turned {ANGLE} eps {{:g}}"}
    by_beta = [f"trades {beta:g}" for beta in BETAS]
    figures = {
        "beta": _curves(
            runs, "beta (TRADES)", [(words, BETAS, by_beta, column, c) for column, words, c in accuracy[:2]], log=True
        ),
        "dropout": _curves(
            runs,
            "dropout (TRADES 3, width 16, 60 epochs)",
            [
                (words, RATES, [f"dropout {rate:g}" for rate in RATES], column, colour)
                for (column, words, colour) in (
                    ("train_robust", "PGD, training images", _LOOK.categories[0]),
                    ("pgd_robust", "PGD, test images", _LOOK.categories[1]),
                    ("robust", "APGD, test images", _LOOK.categories[2]),
                )
            ],
        ),
    }
    figures["score"] = _plane(
        runs,
        "clean",
        "robust",
        {"KL": (by_beta, BETAS), "squared l2": ([f"lse {b:g}" for b in LSE_BETAS], LSE_BETAS)},
        "beta",
    )
    figures["spatial"] = _plane(
        runs,
        "spatial",
        "robust",
        {
            f"larger rotations, eps {EPS:g}": ([names["turned"].format(angle) for angle in ANGLES], ANGLES),
            f"larger eps, {ANGLE}°": ([names["eps"].format(eps) for eps in RADII], RADII),
            "CuSP": (["cusp"], ["CuSP"]),
        },
        "",
    )
    return figures


def _curves(runs: pd.DataFrame, along: str, curves: Iterable[Curve], *, log: bool = False) -> go.Figure:
    """Means over seeds with every seed as a faint line."""
    figure = go.Figure()
    for (name, places, names, column, colour), symbol in zip(curves, SYMBOLS, strict=False):
        table = 100 * runs[runs.setting.isin(names)].pivot(index="seed", columns="setting", values=column)[list(names)]
        for _, row in table.iterrows():
            figure.add_scatter(
                x=list(places),
                y=row,
                mode="lines",
                line={"color": colour, "width": 0.7},
                opacity=0.35,
                showlegend=False,
            )
        line = {"color": colour, "width": 2.5}
        figure.add_scatter(
            x=list(places),
            y=table.mean(),
            mode="lines+markers",
            name=name,
            line=line,
            marker={"size": 8, "symbol": symbol},
        )
    figure.update_xaxes(title=along)
    figure.update_yaxes(title="accuracy, %")
    if log:
        figure.update_xaxes(type="log", tickvals=[place for _, places, *_ in [next(iter(curves))] for place in places])
    return figure


def _plane(
    runs: pd.DataFrame, x: str, y: str, curves: dict[str, tuple[Sequence[str], Sequence[Any]]], label: str
) -> go.Figure:
    """Curves in the plane of two accuracies: means over seeds, labelled, on all seeds as faint points."""
    figure = go.Figure()
    places = ("top right", "bottom left", "bottom right")  # a point on two curves has two labels
    looks = zip(_LOOK.categories, SYMBOLS, places, strict=False)
    for (name, (names, labels)), (colour, symbol, place) in zip(curves.items(), looks, strict=False):
        part = runs[runs.setting.isin(names)]
        faint = {"color": colour, "size": 4}
        figure.add_scatter(
            x=100 * part[x], y=100 * part[y], mode="markers", showlegend=False, opacity=0.3, marker=faint
        )
        means = 100 * part.groupby("setting")[[x, y]].mean().loc[list(names)]
        text = [
            "" if isinstance(each, str) else f"{label} {each:g}".strip() for each in labels
        ]  # a name is the legend's
        figure.add_scatter(
            x=means[x], y=means[y], mode="lines+markers+text", name=name, text=text, textposition=place,
            cliponaxis=False,
            textfont={"size": 11, "color": colour}, line={"color": colour, "width": 2}, marker={"size": 9, "symbol": symbol},
        )  # fmt: skip
    figure.update_xaxes(title=f"{_COLUMNS[x]}, %")
    figure.update_yaxes(title=f"{_COLUMNS[y]}, %")
    return figure


_TEMPLATE = """# Findings

What the papers behind the defenses claim, tested at a size where anybody can repeat it:

    python benchmarks/findings.py

{trials} trials, {seeds} seeds of each setting, on scikit-learn's 8x8 digits (900 training images, 497 test images), linf eps
{eps}, pixels in [0, 1]. Claims, settings, directions and tests are in `benchmarks/_claims.py`, which was committed before the
first of these trials ran. Each claim is one number per seed, positive where the claim holds, and a one-sided sign test over
seeds; Holm's correction holds the chance of any false verdict on this page at 5 %. *Not resolved at this size* is a result: it
says nothing against the claim on larger data.

robust: correct as it is and under APGD-CE and APGD-T of AutoAttack's authors (their standard settings), all test images.
spatial: correct under rotations drawn uniformly within the given angle, ten per image, black corners.

| claim (paper) | positive where it holds | median (range) | seeds for | p | verdict |
|---|---|---|---|---|---|
{table}

Numbers: [claims.csv](findings/claims.csv), every trial: [runs.csv](findings/runs.csv). What they mean is
[discussed](findings/discussion.md) apart: this page is written by the program.

## Beta

![clean and robust accuracy over beta](findings/beta.png)

## Dropout

![robust accuracy on training and test images over dropout](findings/dropout.png)

## Rotations against eps, and CuSP

![robust over spatial accuracy](findings/spatial.png)

Points on one curve are labelled with the largest angle in degrees, on the other with eps.

## Squared l2 against KL

![the frontiers of two divergences](findings/score.png)

## Means over seeds, in %, with standard deviations

{means}

What this does not say: seeds vary weights, order and attacks, but images and splits are the same throughout; one network, one
schedule and one learning rate serve all settings; a divergence's published learning rate or schedule may serve it better.
"""
