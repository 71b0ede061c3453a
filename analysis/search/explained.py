"""All that is said of a search, in one place: for the page and for commands."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis import words
from analysis.search import audit, interactions, made_by
from analysis.search.importance import Importance, importance
from analysis.search.sample import FEWEST, sample
from sweeps.record import Snapshot


@dataclass(frozen=True)
class Explained:
    """What explains a search.

    Attributes:
        importance: of its options; None where `why_not` says why there is none.
        pairs: of options that act together, as `interactions.interactions` gives them.
        members: what made each, as `made_by.made_by` gives it.
        audited: its cheap numbers, as `audit.audit` gives them.
    """

    importance: Importance | None
    why_not: str
    pairs: pd.DataFrame
    members: pd.DataFrame
    audited: pd.DataFrame


def explain(df: pd.DataFrame, snapshot: Snapshot, *, one_list: bool = False) -> Explained:
    """Everything, always the same for the same record.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
        one_list: whether trials are tuned on the judge's images, as `Sheet.one_list` has it.
    """
    audited, found = audit.audit(snapshot, one_list=one_list), sample(df, snapshot.objectives)
    if not found.enough:
        n = len(found.settings)
        few = f"{words.count(n, 'setting')} with numbers {'is' if n == 1 else 'are'} too few; it takes {FEWEST}"
        return Explained(
            None, "no searched option varies" if n >= FEWEST else few, pd.DataFrame(), pd.DataFrame(), audited
        )
    of = importance(found, snapshot.objectives)
    pairs = interactions.interactions(found, of.forests, of.table)
    return Explained(of, "", pairs, made_by.made_by(found, of.forests, snapshot.objectives), audited)
