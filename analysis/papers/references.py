"""Published numbers, as labelled references beside one's own: never in one series with them, and hollow in figures.

`references.csv` has clean and AutoAttack accuracy of whole models, with where each was read; `stutz2021.csv` the flatness of
the models of Stutz et al. (tables of their supplement, arXiv:2104.04448; one run each, the first 1,000 test images of CIFAR-10,
linf, eps 8/255).
"""

from __future__ import annotations

from importlib.resources import files

import pandas as pd


def accuracies(paper: str, conditions: str) -> pd.DataFrame:
    """Published models of a paper under the same conditions, none where there are none: columns `entry`, `clean`, `robust`
    (fractions), `source`.

    Args:
        conditions: `cifar10:linf:0.03137`: data, norm, eps to five figures.
    """
    known = _read("references.csv")
    return known[(known["paper"] == paper) & (known["conditions"] == conditions)].reset_index(drop=True)


def flatness() -> pd.DataFrame:
    """The models of Stutz et al.: `model`, `robust_loss` (PGD, test), `flatness` (average case), `flatness_worst`."""
    return _read("stutz2021.csv")


def _read(name: str) -> pd.DataFrame:
    with files("analysis.papers").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file)
