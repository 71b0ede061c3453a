"""Text of other people's code and files as plain lines: nothing that a terminal, a page or a table takes for a command."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and moves
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # titles, links, strings to the device
    r"|\x1b[ -/]*[0-~]"  # the short ones
)
"""What a terminal takes as a command, in seven bits or in eight."""
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
_LONG = 8
"""Characters of a value that may be a secret: shorter ones are switches, and parts of other words."""
_BEGINS = re.compile(r"\s+`?[A-Z]")
"""How a sentence goes on after a full stop, if it was the end of one."""
_BYTES = range(0xDC80, 0xDD00)
"""Where Python keeps the bytes of names that are no UTF-8."""


def plain(text: str) -> str:
    """One line without control characters and escape codes: names and causes come from files and other people's code.

    A byte that is no UTF-8 is shown as `\\xfc`.
    """
    return "".join(map(_shown, _ESCAPES.sub("", text)))


def command() -> str:
    """How this process was called, as a shell takes it; bytes that are no UTF-8 as `plain` shows them: no YAML can be read that
    holds them.
    """
    return plain(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]))


def discreet(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Text without the values of the environment's variables that by their names are secrets: an exception's message may hold
    an address with a key in it.
    """
    for name, value in environment.items():
        if len(value) >= _LONG and _SECRET.search(name) and value in text:
            text = text.replace(value, f"[{name}]")
    return text


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return f"\\x{ord(character) - 0xDC00:02x}" if ord(character) in _BYTES else " "


def line(error: BaseException, at: int = 0) -> str:
    """One plain line of an error's message, the last one where it has fewer; its type where it says nothing."""
    lines = [text for each in str(error).splitlines() if (text := plain(each).strip())] or [type(error).__name__]
    return lines[min(at, len(lines) - 1)]


def first_sentence(text: str) -> str:
    """A text up to the first full stop that ends a sentence: outside brackets, and with a capital letter behind it."""
    deep = 0
    for at, character in enumerate(text):
        deep = max(0, deep + (character == "(") - (character == ")"))
        if character == "." and not deep and _BEGINS.match(text, at + 1):
            return text[: at + 1]
    return text
