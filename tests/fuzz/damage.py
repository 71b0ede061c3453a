"""Bytes that were valid once, made wrong in the ways that disks, editors, kills and people make them wrong."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

TOKENS = (
    b"[" * 900,
    b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\r\n", b"\t", b"{", b"}", b"[", b"]", b":", b",", b'"', b"'", b"#",
    b"- ", b"&a ", b"*a", b"<<: *a", b"!!python/object/apply:os.system [echo]", b"!x ", b"? ", b"---\n", b"null",
    b"true", b"~",
    b"-1", b"0", b"1e400", b"-1e400", b".nan", b".inf", b"NaN", b"Infinity", b"9" * 5000, b"1" + b"0" * 30, b"1e999999999",
    b"1/0", b"0x" + b"f" * 400, b"1:30:00", b"2026-01-01", b"../../../../tmp/climbed", b"/etc/passwd", b"\x1b[31m", b"\\ud800",
    b"\xe2\x80\xae", b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"- " * 3000, b"x: " * 200, b"a" * 100_000,
    b"&a [*a, *a]", b"".join(b"b%d: &b%d [*b%d, *b%d]\n" % (n + 1, n + 1, n, n) for n in range(40)),
)  # fmt: skip
"""What readers stumble over: of other encodings, of other lengths, of nothing at all, and names that climb."""
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?")
Change = Callable[[bytes, random.Random], bytes]


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randint(0, len(data))


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _slice(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = _place(data, chance)
    return begin, min(len(data), begin + chance.choice((1, 4, 16, 256, 4096)))


def _without(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    return data[:begin] + data[end:]


def _twice(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    return data[:end] + data[begin:end] * chance.choice((1, 2, 50)) + data[end:]


def _moved(data: bytes, chance: random.Random) -> bytes:
    begin, end = _slice(data, chance)
    rest = data[:begin] + data[end:]
    to = _place(rest, chance)
    return rest[:to] + data[begin:end] + rest[to:]


def _inserted(data: bytes, chance: random.Random) -> bytes:
    to = _place(data, chance)
    return data[:to] + chance.choice(TOKENS) + data[to:]


def _number(data: bytes, chance: random.Random) -> bytes:
    """One number becomes something else: syntax stays, meaning does not."""
    found = list(_NUMBER.finditer(data))
    if not found:
        return _inserted(data, chance)
    at = chance.choice(found)
    return data[: at.start()] + chance.choice(TOKENS) + data[at.end() :]


def _lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines[: chance.randint(0, len(lines))])


def _noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 30, 3000)))


CHANGES: tuple[Change, ...] = (_cut, _flip, _without, _twice, _moved, _inserted, _number, _number, _lines, _noise)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """One to three changes, one after the other; at most a megabyte."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        data = chance.choice(CHANGES)(data, chance)
    return data[: 2**20]
