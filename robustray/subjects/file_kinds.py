"""What lies where weights should: pointers, pages, archives, halves of files. Told by their first bytes and their contents."""

from __future__ import annotations

import zipfile
from pathlib import Path

HEAD = 512
"""Bytes of a file that are looked at."""
_AGAIN = "download it again"
_PAGE = f"is a page of HTML, not weights: {_AGAIN}, and look at it in a browser"
_UNPACK = "is compressed: unpack it, and name the file of weights inside"
_HEADS = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the file itself: git lfs pull fetches it"),
    (b"<!doctype html", _PAGE),
    (b"<html", _PAGE),
    (b"<!--", _PAGE),
    (b"<?xml", f"is XML, not weights: {_AGAIN}"),
    (
        b"\x89hdf\r\n",
        "is HDF5, as Keras writes weights: load it in a function of your own, and name that as file.py:function",
    ),
    (b"\x93numpy", "is an array of numpy: load it in a function of your own, and name that as file.py:function"),
    (b"\x1f\x8b", _UNPACK),
    (b"bzh", _UNPACK),
    (b"\xfd7zxz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", _UNPACK),
)
"""How files begin that are no weights, in small letters, behind blanks and a byte order mark."""
_ZIP = b"PK\x03\x04"
_SHOWN = 40


def no_weights(path: Path, head: bytes) -> str | None:
    """What a file is that holds no weights, with what to do; None where it may hold some.

    Args:
        head: its first `HEAD` bytes.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if (told := next((what for begins, what in _HEADS if start.startswith(begins)), None)) is not None:
        return told
    if not head:
        return "is empty"
    if not head.strip(b"\0"):
        return f"begins with {len(head)} bytes of zero, as a download does that was cut off: {_AGAIN}"
    if head.startswith((b"PK\x05\x06", _ZIP)):
        return _archive(path)
    text = head.decode(errors="replace").rstrip("\N{REPLACEMENT CHARACTER}")
    if text and all(character.isprintable() or character.isspace() for character in text):
        shown = " ".join(text.split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} ..."
        return f"is text, not weights (it begins {shown!r}): {_AGAIN}"
    return None


def safetensors(head: bytes) -> bool:
    """Whether a file is one of safetensors, whatever its name: the length of a header, then the header, which is JSON."""
    return len(head) > 8 and head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 10**8


def _archive(path: Path) -> str | None:
    """The same of a zip archive, which is how torch writes its files: one folder with data.pkl in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return f"is cut off: its end is missing; {_AGAIN}, or copy it again"
    if any(name.endswith("/constants.pkl") for name in names):
        return (
            "is TorchScript, which holds code; name a function that loads it with torch.jit.load, as package.module:function "
            "or file.py:function"
        )
    if any(name.endswith("/archive_format") for name in names):
        return "is an exported program; name the folder that `robustray export` wrote, or a function that makes the network"
    if any(name.endswith("/data.pkl") for name in names):
        return None
    if not names:
        return "is an empty archive"
    listed = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"is an archive of {listed}: unpack it, and name the file of weights inside"
