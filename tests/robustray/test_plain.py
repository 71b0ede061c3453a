"""Text of others on its way to a terminal, a page or a table: one line, and nothing in it is a command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import UserError, told_in_one_line
from robustray.plain import line, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1mdo\x1b[0m \x1b[38;5;12mthis\x1b[m", "do this"),
        ("\x9b31mred", "red"),
        ("\x1b]8;;http://x\x07the loss\x1b]8;;\x1b\\ is nan", "the loss is nan"),
        ("\x9d0;title\x9cbody", "body"),
        ("\x1bPq#0;2;0\x1b\\image", "image"),
        ("\x1b(Bletters\x1b7\x1bM", "letters"),
        ("a\nb\tc\x07d\x7fe\u202ef", "a b c d e f"),
        (os.fsdecode(b"r\xfcn"), "r\\xfcn"),
        ("eps 8/255, \N{GREEK SMALL LETTER EPSILON} and \N{MULTIPLICATION SIGN}", "eps 8/255, \u03b5 and \u00d7"),
    ],
)
def test_what_is_left_is_what_was_to_be_read(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(codec=None)))
def test_whatever_comes_can_be_printed_and_stays_as_it_is_from_then_on(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    shown.encode()
    assert plain(shown) == shown


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"])))
def test_readable_text_is_left_alone(text: str) -> None:
    assert plain(text) == text


def test_one_line_of_an_error() -> None:
    error = ValueError("\n \x1b[1m\nfirst\x1b[0m\nsecond")
    assert [line(error), line(error, 1), line(error, 9)] == ["first", "second", "second"]
    assert line(KeyError()) == line(ValueError("\x1b[1m\n")).replace("Value", "Key") == "KeyError"


def test_a_home_of_nobody_is_a_mistake_and_other_errors_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, told_in_one_line():
        Path("~nobody-of-that-name/data").expanduser()
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("error: a path begins with ~NAME, but no user of that name")
    with pytest.raises(RuntimeError, match="a bug"), told_in_one_line():
        raise RuntimeError("a bug")


def test_a_mistake_is_told_in_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left, told_in_one_line():
        raise UserError("\x1b[31mno\nsuch\x1b[0m file")
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: no such file\n"
