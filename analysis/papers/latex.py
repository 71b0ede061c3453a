"""Tables as a paper sets them: booktabs, values with their standard errors, what is best in bold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from analysis import words
from analysis.papers.estimates import best

_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$", "\N{GREEK SMALL LETTER BETA}": r"$\beta$", "\N{INFINITY}": r"$\infty$",
        "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$", "\N{SQUARE ROOT}": r"$\surd$", "\N{SUPERSCRIPT TWO}": r"$^2$",
        "\N{GREATER-THAN OR EQUAL TO}": r"$\ge$", "\N{LESS-THAN OR EQUAL TO}": r"$\le$", "\N{PLUS-MINUS SIGN}": r"$\pm$",
        "\N{DEGREE SIGN}": r"$^{\circ}$", "\N{EN DASH}": "--", "\N{EM DASH}": "---", "\N{MINUS SIGN}": "$-$",
        "\N{NARROW NO-BREAK SPACE}": r"\,", "\n": " ", "\r": " ",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: of the rows; KEY_se beside it, where there is one, is printed after it.
        head: as plain text. better: which way is bold; None: none is.
        percent: printed in percent. digits: after the point.
    """

    key: str
    head: str
    better: Literal["max", "min"] | None = None
    percent: bool = False
    digits: int = 1

    def printed(self, row: Mapping[Any, Any], *, bold: bool) -> str:
        """`83.5 ± 0.4` as LaTeX; a dash where nothing is known."""
        value = row[self.key]
        if isinstance(value, str):
            return escaped(value)
        if words.missing(value) or not math.isfinite(value):
            return "--"
        times, error = 100 if self.percent else 1, row.get(f"{self.key}_se", math.nan)
        main = self._figures(times * value)
        main = rf"\textbf{{{main}}}" if bold else main
        return main if words.missing(error) else rf"{main} $\pm$ {self._figures(times * error)}"

    def _figures(self, number: float) -> str:
        text = f"{number:.{self.digits}f}"
        return f"$-${text[1:]}" if text.startswith("-") else text


@dataclass(frozen=True)
class Sheet:
    """A table: rows, what each column prints, and what stands above it."""

    rows: pd.DataFrame
    columns: Sequence[Column]
    caption: str


def escaped(text: str) -> str:
    """Any text, so that LaTeX sets what it says: nothing in it is a command."""
    return "".join(each for each in text.translate(_SPECIAL) if each.isprintable())


def latex(sheet: Sheet, label: str) -> str:
    """The table as an environment of its own; it takes `\\usepackage{booktabs}`.

    Args:
        label: for `\\ref`, after `tab:`.
    """
    marks = {
        column.key: best(sheet.rows, column.key, column.better) if column.better else [False] * len(sheet.rows)
        for column in sheet.columns
    }
    lines = [
        " & ".join(column.printed(row, bold=marks[column.key][at]) for column in sheet.columns) + r" \\"
        for at, row in enumerate(sheet.rows.to_dict("records"))
    ]
    kinds = "".join("r" if pd.api.types.is_numeric_dtype(sheet.rows[column.key]) else "l" for column in sheet.columns)
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{escaped(sheet.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            " & ".join(escaped(column.head) for column in sheet.columns) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )
