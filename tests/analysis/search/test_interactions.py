"""Which options act together: closed forms of superset importance, branches, and what is shown."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from analysis.search.importance import importance
from analysis.search.interactions import interactions, said, table
from analysis.search.sample import MEMBER, Sample, encoded

ONE = {"clean_accuracy": "max"}
A, B, C = (f"option.{name}" for name in "abc")
Floats = NDArray[np.float64]


def _found(raw: pd.DataFrame, y: Floats) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs and importance of one target."""
    options, x = encoded(raw)
    values = pd.DataFrame({"clean_accuracy": y, MEMBER: np.clip(y, 0, 1)})
    of = Sample(np.arange(len(raw)), np.zeros(len(raw), dtype=bool), options, raw, x, values)
    whole = importance(of, ONE)
    return interactions(of, {"clean_accuracy": whole.forests["clean_accuracy"]}, whole.table), whole.table


def _share(pairs: pd.DataFrame, a: str, b: str) -> tuple[float, float, float]:
    row = next(row for row in pairs.to_dict("records") if {row["first"], row["second"]} == {a, b})
    return row["share"], row["share_low"], row["share_high"]


def _sum(a: Floats, b: Floats) -> Floats:
    return a + b


def _product(a: Floats, b: Floats) -> Floats:
    return a * b


@pytest.mark.parametrize(("f", "exact"), [(_sum, 0.0), (_product, 1 / 7)])
def test_shares_are_those_of_the_closed_form(f: Callable[[Floats, Floats], Floats], exact: float) -> None:
    """Of a b, uniform: variance 7/144, of which (a - 1/2)(b - 1/2) has 1/144. Of a + b nothing is left together."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame(rng.random((150, 3)), columns=[A, B, C])
    pairs, _ = _found(raw, f(raw[A].to_numpy(), raw[B].to_numpy()))
    share, low, high = _share(pairs, A, B)
    assert share == pytest.approx(exact, abs=0.035)
    assert low <= share <= high
    assert (low > 0) == (exact > 0)
    for other in (A, B):
        assert _share(pairs, other, C)[0] == pytest.approx(0, abs=0.01)
    assert ("No pair" in said(pairs)) == (exact == 0)


def test_an_interaction_without_main_effects_is_found() -> None:
    """(a - 1/2)(b - 1/2) is all interaction; trees learn it slowly, and what they have learnt is nearly all of it."""
    rng = np.random.default_rng(0)
    raw = pd.DataFrame(rng.random((300, 3)), columns=[A, B, C])
    pairs, _ = _found(raw, (raw[A].to_numpy() - 0.5) * (raw[B].to_numpy() - 0.5))
    assert _share(pairs, A, B)[0] > 0.7
    shown = table(pairs)
    assert shown.rows[0][0].text == "a \N{MULTIPLICATION SIGN} b"
    assert shown.rows[0][1].mark == "strong"


def test_noise_that_a_forest_has_learnt_counts_against_it() -> None:
    rng = np.random.default_rng(1)
    raw = pd.DataFrame(rng.random((120, 3)), columns=[A, B, C])
    pairs, _ = _found(raw, raw[A].to_numpy() + raw[B].to_numpy() + 0.3 * rng.normal(size=120))
    assert (pairs["share"] < 0.02).all()
    assert (pairs["share_low"] <= 0).all()


def test_a_branch_is_looked_at_from_within_and_never_with_its_own_choice() -> None:
    rng = np.random.default_rng(2)
    taken = rng.random(160) < 0.5
    k, other = rng.random(160), rng.random(160)
    raw = pd.DataFrame(
        {"option.defense": np.where(taken, "p", "q"), "option.defense.p.k": np.where(taken, k, np.nan), A: other}
    )
    pairs, _ = _found(raw, np.where(taken, 4 * (k - 0.5) * (other - 0.5), 0) + taken)
    assert {"option.defense", "option.defense.p.k"} not in [set(pair) for pair in pairs[["first", "second"]].to_numpy()]
    row = next(row for row in pairs.to_dict("records") if {row["first"], row["second"]} == {"option.defense.p.k", A})
    assert row["settings"] == taken.sum()
    assert row["share_low"] > 0.2


def test_where_the_forest_knows_nothing_nothing_is_said() -> None:
    rng = np.random.default_rng(3)
    raw = pd.DataFrame(rng.random((40, 2)), columns=[A, B])
    pairs, _ = _found(raw, rng.random(40))
    assert pairs.empty
    assert not table(pairs).rows
    assert said(pairs).startswith("No two options could be looked at together")


def test_a_pair_counts_once_however_many_objectives_it_is_looked_at_for() -> None:
    """And one whose interval begins below half a percent is printed as beginning at 0: it is neither bold nor counted."""
    row = {"first": A, "second": B, "settings": 24, "share": 0.02, "share_low": 0.004, "share_high": 0.03}
    pairs = pd.DataFrame(
        [row | {"target": "clean_accuracy"}, row | {"target": "robust_accuracy", "first": B, "second": A}]
    )
    assert said(pairs).startswith("No pair of options explains more")
    assert [cell.mark for cell in table(pairs).rows[0]][1:] == ["", ""]
    pairs.loc[1, "share_low"] = 0.006
    assert said(pairs) == "1 of 1 pair looked at explains more than nothing of robust accuracy together."
    assert [cell.mark for cell in table(pairs).rows[0]][1:] == ["", "strong"]
    assert table(pairs).rows[0][2].remark == "1 to 3"
    pairs = pd.concat([pairs, pairs.assign(second=C, first=B, share_low=0.1)])
    assert (
        said(pairs) == "2 of 2 pairs looked at explain more than nothing of robust accuracy or clean accuracy together."
    )
