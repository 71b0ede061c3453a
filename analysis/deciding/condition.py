"""A condition on the rows of a table, as a line of text: columns, numbers, comparisons, `and`, `or`, `not`. Runs no code."""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.collect import OPTION
from robustray.errors import UserError, nearest
from robustray.measures.metrics import is_share

Series = Any  # of pandas, of any of its nullable dtypes
_LONGEST = 2000  # characters; what is longer is no condition that a person wrote
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|`([^`]+)`")
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_SUMS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
HELP = "columns, numbers, 'text', < <= > >= == != in, + - * /, and, or, not, ( )"


@dataclass(frozen=True)
class Met:
    """Which rows meet a condition.

    Attributes:
        rows: [n] True where it holds; False also where it cannot be told.
        unknown: [n] where it cannot be told, for a value that decides is missing.
        columns: that the condition names, in order.
    """

    rows: pd.Series[bool]
    unknown: pd.Series[bool]
    columns: tuple[str, ...]


def met(text: str, df: pd.DataFrame, *, flag: str = "--where") -> Met:
    """Which rows of a table meet a condition.

    The grammar is a part of Python's, read by Python's own parser and evaluated here, node by node, by a list of what is
    allowed; nothing is called or looked up but columns:

        test_clean_accuracy >= 0.9 and not (option.model.width > 8)
        judged_clean_accuracy - judged_robust_accuracy < 0.4
        0.1 <= defense.trades.beta < 5 or option.defense in ('mart', 'natural')

    A column is written by its name; the `option.` of an option may be left out; a name with other characters stands
    in backticks. Missing values are unknown by Kleene's logic: `unknown or True` is true, `not unknown` unknown.

    Args:
        text: the condition.
        df: the table.
        flag: what messages call the condition.

    Raises:
        UserError: the text is no condition, names a column the table does not have, or compares what cannot be compared.
    """
    if len(text) > _LONGEST:
        raise UserError(f"{flag}: {len(text)} characters are no condition; at most {_LONGEST}")
    quoted: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        placeholder = f"_quoted_{len(quoted)}"
        quoted[placeholder] = found[1]
        return placeholder

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `1is 2` and its like: refused below
            tree = ast.parse(_QUOTED.sub(named, text.strip()), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise UserError(f"{flag} {text!r}: {_why_not(text)}; it is made of {HELP}") from None
    reader = _Reader(df, flag, text, quoted)
    try:
        found = reader.truth(tree.body)
    except RecursionError:
        raise UserError(f"{flag}: is too deep to be read") from None
    return Met(found.fillna(False).astype(bool), found.isna(), tuple(dict.fromkeys(reader.columns)))


def _why_not(text: str) -> str:
    if not text.strip():
        return "is empty"
    if re.search(r"(?<![<>=!])=(?!=)", text):
        return "equality is written =="
    if "&&" in text or "||" in text:
        return "write `and` and `or`"
    if "%" in text:
        return "shares are fractions: 0.9, not 90 %"
    return "is no condition"


class _Reader:
    """Evaluates one condition on one table."""

    def __init__(self, df: pd.DataFrame, flag: str, text: str, quoted: Mapping[str, str]) -> None:
        self.df, self.flag, self.text, self.quoted = df, flag, text, quoted
        self.columns: list[str] = []

    def truth(self, node: ast.expr) -> Series:
        """[n] nullable booleans."""
        match node:
            case ast.BoolOp(op, values):
                result, *others = (self.truth(value) for value in values)
                for other in others:
                    result = result & other if isinstance(op, ast.And) else result | other
                return result
            case ast.UnaryOp(ast.Not(), operand):
                return ~self.truth(operand)
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                result = self._all(True)
                for at, way in enumerate(ops):
                    result = result & self._compared(sides[at], way, sides[at + 1])
                return result
            case ast.Name() | ast.Attribute():
                column = self._column(node)
                if pd.api.types.is_bool_dtype(self.df[column].dtype):
                    return self.df[column].astype("boolean")
                raise self._wrong(f"{column} is no yes or no, compare it with something")
            case ast.Constant(bool() as value):
                return self._all(value)
        raise self._wrong(f"{self._said(node)} is no condition")

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Series:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List) or not right.elts:
                raise self._wrong("`in` takes a list: option.defense in ('trades', 'mart')")
            found = self._all(False)
            for each in right.elts:
                found = found | self._compared(left, ast.Eq(), each)
            return found if isinstance(op, ast.In) else ~found
        if type(op) not in _COMPARISONS:
            raise self._wrong("`is` is not known here, equality is written ==")
        a, b = self._value(left), self._value(right)
        for share, limit in ((left, right), (right, left)):
            self._look_at_percent(share, limit)
        texts = [_is_text(side) for side in (a, b)]
        if texts[0] != texts[1]:
            if isinstance(op, ast.Eq | ast.NotEq):
                return self._whether(a, b, equal=isinstance(op, ast.Eq))
            raise self._wrong(f"{self._said(left)} and {self._said(right)} have no order: one is a text, one a number")
        if texts[0] and isinstance(op, _ORDERED):
            raise self._wrong("texts have no order here, only == != in")
        if texts[0]:
            return self._whether(a, b, equal=isinstance(op, ast.Eq))
        return self._series(_COMPARISONS[type(op)](a, b)).astype("boolean")

    def _whether(self, a: Any, b: Any, *, equal: bool) -> Series:
        """Whether texts, or a text and a number, are the same: by their values, where both are there."""
        one, other = (side if isinstance(side, pd.Series) else self._all(side, dtype="object") for side in (a, b))
        same = [
            pd.NA
            if (pd.api.types.is_scalar(x) and pd.isna(x)) or (pd.api.types.is_scalar(y) and pd.isna(y))
            else bool(x == y)
            for x, y in zip(one, other, strict=True)
        ]
        found = pd.Series(same, index=self.df.index, dtype="boolean")
        return found if equal else ~found

    def _value(self, node: ast.expr) -> Any:
        """A number, a text, or a column of them."""
        match node:
            case ast.Constant(str() as value):
                return value
            case ast.Constant(bool() | int() | float() as value):
                try:
                    return value if isinstance(value, bool) else float(value)
                except OverflowError:
                    raise self._wrong("a number is too large") from None
            case ast.UnaryOp(ast.USub(), operand):
                return -self._number(operand)
            case ast.BinOp(left, op, right) if type(op) in _SUMS:
                return _SUMS[type(op)](self._number(left), self._number(right))
            case ast.Name() | ast.Attribute():
                column = self.df[self._column(node)]
                return column if _is_text(column) else column.astype("Float64")
        raise self._wrong(f"{self._said(node)} is no column, number or text")

    def _number(self, node: ast.expr) -> Any:
        value = self._value(node)
        if _is_text(value):
            raise self._wrong(f"{self._said(node)} is a text, and sums are of numbers")
        return (
            pd.Series(float(value), index=self.df.index, dtype="Float64") if isinstance(value, int | float) else value
        )

    def _column(self, node: ast.expr) -> str:
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if not isinstance(at, ast.Name):
            raise self._wrong(f"{self._said(node)} is no column")
        parts.append(self.quoted.get(at.id, at.id))
        name = ".".join(reversed(parts))
        for column in (name, f"{OPTION}{name}"):
            if column in self.df:
                self.columns.append(column)
                return column
        near = nearest(name, map(str, self.df.columns))
        hint = " (a text goes in quotes)" if "." not in name else ""
        raise self._wrong(f"there is no column {name!r}{hint}; {near}")

    def _look_at_percent(self, share: ast.expr, limit: ast.expr) -> None:
        """An accuracy compared with 90 is one of 90 %: no row would meet it, or all would, and nobody would know why."""
        if not (isinstance(share, ast.Name | ast.Attribute) and isinstance(limit, ast.Constant)):
            return
        column, value = self._column(share), limit.value
        self.columns.pop()
        if is_accuracy(column) and isinstance(value, int | float) and value > 1:
            raise self._wrong(f"{column} is a fraction: {value / 100:g} for {value:g} %")

    def _all(self, value: Any, dtype: str = "boolean") -> Series:
        return pd.Series([value] * len(self.df), index=self.df.index, dtype=dtype)

    def _series(self, value: Any) -> Series:
        return value if isinstance(value, pd.Series) else self._all(bool(value))

    def _said(self, node: ast.expr) -> str:
        said = ast.unparse(node)
        for placeholder, name in self.quoted.items():
            said = said.replace(placeholder, f"`{name}`")
        return said if len(said) <= 60 else f"{said[:59]}\N{HORIZONTAL ELLIPSIS}"

    def _wrong(self, why: str) -> UserError:
        return UserError(f"{self.flag} {self.text!r}: {why}")


def is_accuracy(column: str) -> bool:
    """Whether a column of `analysis.load` holds fractions of images, under a split's name or its own."""
    name = column.removeprefix("judged_").removeprefix("test_").removeprefix("train_")
    name = name.removesuffix("_low").removesuffix("_high")
    try:
        return is_share(name)
    except KeyError:
        return False


def _is_text(value: Any) -> bool:
    if not isinstance(value, pd.Series):
        return isinstance(value, str)
    return not (pd.api.types.is_numeric_dtype(value.dtype) or pd.api.types.is_bool_dtype(value.dtype))
