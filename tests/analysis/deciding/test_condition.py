"""Conditions: against Python's own answer where all is known, Kleene's where it is not, and no code at all."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.deciding.condition import HELP, is_accuracy, met
from robustray.errors import UserError

TABLE = pd.DataFrame(
    {
        "trial": [0, 1, 2, 3],
        "test_clean_accuracy": [0.95, 0.90, float("nan"), 0.85],
        "option.defense": pd.Series(["trades", "mart", "trades", None], dtype="object"),
        "option.model.width": pd.Series([4, 8, None, 16], dtype="Int64"),
        "option.boundaries.0": [1.0, 2.0, 3.0, 4.0],
        "member": [True, True, False, False],
    }
)


@pytest.mark.parametrize(
    ("text", "trials"),
    [
        ("test_clean_accuracy >= 0.9", [0, 1]),
        ("not test_clean_accuracy >= 0.9", [3]),
        ("test_clean_accuracy >= 0.9 or trial == 2", [0, 1, 2]),
        ("test_clean_accuracy != 0.9", [0, 3]),
        ("0.86 < test_clean_accuracy < 0.94", [1]),
        ("test_clean_accuracy - 0.05 >= 0.85 and member", [0, 1]),
        ("option.defense == 'trades'", [0, 2]),
        ("'mart' == defense", [1]),
        ("defense != 'trades'", [1]),
        ("defense in ('mart', 'natural')", [1]),
        ("defense not in ['mart']", [0, 2]),
        ("model.width > 4", [1, 3]),
        ("model.width in (4, 16)", [0, 3]),
        ("-model.width < -8", [3]),
        ("`boundaries.0` / 2 >= 1.5", [2, 3]),
        ("`option.boundaries.0` * 2 == 2", [0]),
        ("member", [0, 1]),
        ("not member and True", [2, 3]),
        ("defense == 4", []),
        ("test_clean_accuracy / 0 > 1", [0, 1, 3]),
    ],
)
def test_what_it_lets_through(text: str, trials: list[int]) -> None:
    found = met(text, TABLE)
    assert TABLE.loc[found.rows, "trial"].tolist() == trials
    assert not (found.rows & found.unknown).any()


def test_unknown_is_neither_yes_nor_no_and_columns_are_told() -> None:
    found = met("test_clean_accuracy > 0 and model.width > 0", TABLE)
    assert found.unknown.tolist() == [False, False, True, False]
    assert found.columns == ("test_clean_accuracy", "option.model.width")
    assert not met("test_clean_accuracy > 0 or trial >= 0", TABLE).unknown.any()


MISTAKES = [
    ("", "is empty"),
    ("test_clean_accuracy = 0.9", "equality is written =="),
    ("member && member", "write `and` and `or`"),
    ("test_clean_accuracy >= 90 %", "shares are fractions: 0.9, not 90 %"),
    ("test_clean_accuracy >= 90", "is a fraction: 0.9 for 90 %"),
    ("95 < test_clean_accuracy", "is a fraction: 0.95 for 95 %"),
    ("test_clean > 0.9", "did you mean 'test_clean_accuracy'?"),
    ("defense == trades", "there is no column 'trades' (a text goes in quotes)"),
    ("defense > 'mart'", "texts have no order here"),
    ("defense > 3", "have no order: one is a text, one a number"),
    ("defense + 1 > 3", "is a text, and sums are of numbers"),
    ("test_clean_accuracy", "is no yes or no"),
    ("model.width in 4", "`in` takes a list"),
    ("member is True", "equality is written =="),
    ("trial > 1j", "is no column, number or text"),
    ("trial > 1" + "0" * 400, "too large"),
    ("x" * 3000, "characters are no condition"),
    ("(" * 500 + "1" + ")" * 500, ""),
    ("not " * 400 + "member", ""),
    ("trial > 1; trial", "is no condition"),
    ("trial > 0\x00", "is no condition"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_mistakes_say_what_to_write(text: str, said: str) -> None:
    if not said:  # deep, and read all the same where this Python can
        with pytest.raises(UserError):
            met(text + " > 'a'", TABLE)
        return
    with pytest.raises(UserError) as error:
        met(text, TABLE)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "(lambda: True)()", "[x for x in (1,)]", "trial.__class__ == 1", "f'{trial}' == ''",
        "(trial := 1) > 0", "trial[0] > 0", "1 if member else 0", "trial ** 9 ** 9 > 0", "{1: 2} == 1", "trial @ trial > 1",
    ],
)  # fmt: skip
def test_nothing_else_of_python_is_run(text: str) -> None:
    with pytest.raises(UserError):
        met(text, TABLE)


_NUMBERS = st.one_of(st.sampled_from(["a", "b"]), st.integers(-3, 3).map(str))
_SUMS = st.recursive(
    _NUMBERS, lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({' '.join(t)})")
)
_COMPARED = st.tuples(_SUMS, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), _SUMS).map(" ".join)
_CONDITIONS = st.recursive(
    _COMPARED,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=6,
)


@settings(max_examples=20)
@given(text=_CONDITIONS, rows=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=4))
def test_where_all_is_known_it_is_pythons_answer(text: str, rows: list[tuple[int, int]]) -> None:
    df = pd.DataFrame(rows, columns=["a", "b"])
    expected = [bool(eval(text, {}, {"a": a, "b": b})) for a, b in rows]
    assert met(text, df).rows.tolist() == expected


@settings(max_examples=20)
@given(text=st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    found: Any = None
    try:
        found = met(text, TABLE)
    except UserError as error:
        assert HELP in str(error) or str(error)  # noqa: PT017 - either way is fine, a traceback is not
    assert found is None or len(found.rows) == len(TABLE)


def test_which_columns_are_accuracies() -> None:
    assert all(map(is_accuracy, ("clean_accuracy", "judged_robust_accuracy", "test_clean_accuracy_low")))
    assert not any(map(is_accuracy, ("trial", "cost_passes", "option.model.width", "gap_clean")))
