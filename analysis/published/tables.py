"""The published tables, in one form: accuracies as fractions, data sets and threats by our names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import pandas as pd

from analysis import pareto
from analysis.published.architectures import architecture_class
from robustray.errors import UserError, nearest

Source = Literal["robustbench", "fastat"]
FILES: Mapping[Source, str] = {"robustbench": "robustbench_2025-03-31.csv", "fastat": "fastat_2026.csv"}
OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
COLUMNS = (
    "source", "dataset", "threat", "eps", "entry", "architecture", "architecture_class", "clean_accuracy",
    "robust_accuracy", "autoattack", "additional_data", "flags", "venue", "forward_passes", "seed", "seconds", "gpu_gb",
)  # fmt: skip
_FASTAT = {"cifar10": "ResNet-18", "cifar100": "ResNet-18", "tiny_imagenet": "PreActResNet-18"}
"""The network of each data set in FastAT, all against linf, eps 8/255."""
DATA = ("cifar10", "cifar100", "imagenet", "tiny_imagenet")
THREATS = ("linf", "l2")


def table(
    data: str,
    threat: str,
    *,
    architecture: str | None = None,
    source: Source | None = None,
    additional: bool | None = None,
) -> pd.DataFrame:
    """Published models of a data set and a threat, the most robust first.

    Args:
        data: cifar10, cifar100, imagenet or tiny_imagenet.
        threat: linf or l2; eps as each entry has it, 8/255 (imagenet 4/255) and 0.5.
        architecture: a class as `architecture_class` gives it, resnet18 say; None: all.
        source: robustbench or fastat; None: both.
        additional: only models trained with additional data, or only those without; None: all. Generated images count as
            none, as the leaderboard has it.

    Returns:
        A row per model with `COLUMNS`. `clean_accuracy`, `robust_accuracy` and `autoattack` are fractions; robust is the best
        known: that of an evaluation by others where there is one (`external`), else AutoAttack's. `flags` is `unreliable`
        where the leaderboard says so; seed, seconds of training and `gpu_gb` are known of FastAT's runs alone.

    Raises:
        UserError: there is no such data set, threat, class or source among the tables, or together they leave nothing.
    """
    sources: list[Source] = list(FILES) if source is None else [source]
    if source is not None and source not in FILES:
        raise UserError(f"source: there is no table {source!r}; {nearest(source, FILES)}")
    _known("data", data, DATA)
    _known("threat", threat, THREATS)
    found = pd.concat([_read(each) for each in sources])
    found = found[(found["dataset"] == data) & (found["threat"] == threat)]
    if found.empty:
        raise UserError(f"published: {' and '.join(sources)} have no model of {data} against {threat}")
    if architecture is not None:
        _known("architecture", architecture, found["architecture_class"])
        found = found[found["architecture_class"] == architecture]
    if additional is not None:
        found = found[found["additional_data"] == additional]
    order = ["robust_accuracy", "clean_accuracy", "entry"]
    return found.sort_values(order, ascending=[False, False, True]).reset_index(drop=True)


def frontier(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of a `table` that no other one dominates in clean and robust accuracy; unreliable ones take no part."""
    return pareto.frontier(found, OBJECTIVES)


def _known(what: str, word: str, known: Iterable[Any]) -> None:
    if word not in set(known):
        raise UserError(f"{what}: nothing is published of {word!r}; {nearest(word, set(known))}")


@cache
def _read(source: Source) -> pd.DataFrame:
    with files("analysis.published").joinpath(FILES[source]).open(encoding="utf-8") as file:
        raw = pd.read_csv(file)
    rows = _robustbench(raw) if source == "robustbench" else _fastat(raw)
    rows["architecture_class"] = rows["architecture"].map(architecture_class)
    return rows.assign(source=source)[list(COLUMNS)]


def _robustbench(raw: pd.DataFrame) -> pd.DataFrame:
    return raw.assign(
        threat=raw["threat"].str.lower(),
        clean_accuracy=raw["clean"] / 100,
        robust_accuracy=raw["external"].fillna(raw["autoattack"]) / 100,
        autoattack=raw["autoattack"] / 100,
        flags=["unreliable" if value is True else "" for value in raw["unreliable"]],
        venue=raw["venue"].fillna(""),
        seed=pd.array([None] * len(raw), dtype="Int64"),
        seconds=float("nan"),
        gpu_gb=float("nan"),
    )


def _fastat(raw: pd.DataFrame) -> pd.DataFrame:
    data = raw["data"].str.replace("-", "_")
    return raw.assign(
        dataset=data,
        seed=raw["seed"].astype("Int64"),
        threat="linf",
        eps="8/255",
        entry=raw["method"] + ", seed " + raw["seed"].astype(str),
        architecture=data.map(_FASTAT),
        clean_accuracy=raw["clean"] / 100,
        robust_accuracy=raw["autoattack"] / 100,
        autoattack=raw["autoattack"] / 100,
        additional_data=False,
        flags="",
        venue="FastAT Benchmark, 2026",
        forward_passes=1,
    )
