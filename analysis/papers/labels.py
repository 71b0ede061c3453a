"""What models are called in a paper's table: by the options that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import collect, words

DEFENSES: Mapping[str, str] = {
    "natural": "natural", "adversarial": "AT", "trades": "TRADES", "rst": "RST", "tulip": "GR", "llr": "LLR",
    "mart": "MART", "score": "SCORE", "score_pgd": "SCORE-PGD", "self_supervised": "self-supervised", "awp": "AWP",
    "cusp": "CuSP", "entropy_sgd": "Entropy-SGD", "ema": "EMA",
}  # fmt: skip
"""Parts by the names that papers have for them."""
DIVERGENCES: Mapping[str, str] = {
    "kl": "KL", "lse": "squared l2", "js": "JS", "js_sqrt": "√JS", "kl_sqrt": "√KL", "rkl_sqrt": "√reverse KL",
    "l1_square": "squared l1", "l2": "l2", "lp": "lp", "linf": "l∞",
}  # fmt: skip
_MOST = 3
"""Options in a label: with more of them a trial's number says more."""


def labels(df: pd.DataFrame) -> list[str]:
    """`TRADES, beta 6`, `AT`: the searched options of each trial that differ between trials; of a derived point how it was
    made; `trial 7` where nothing differs, or more than three options do.

    Args:
        df: trials as `analysis.load` gives them.
    """
    columns = [name for name in collect.options(df) if df[name].map(words.value).nunique() > 1]
    found = []
    for row in df.to_dict("records"):
        if not words.missing(row["derived"]):
            found.append(str(row["derived"]))
            continue
        parts = [_part(name, row[name]) for name in columns if not words.missing(row[name])]
        trial = f"trial {row['trial']}"
        found.append(", ".join(parts) if 0 < len(parts) <= _MOST else f"{parts[0]}, {trial}" if parts else trial)
    return found


def _part(column: str, value: Any) -> str:
    """`TRADES` for a branch that was taken, else `beta 6`."""
    if isinstance(value, str):
        return DEFENSES.get(value, value.replace("_", " "))
    return f"{words.parted(column)[1].replace('_', ' ')} {words.value(value)}"
