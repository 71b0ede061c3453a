"""A figure as a picture, which takes a browser."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, get_args

import plotly.graph_objects as go

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.plain import line

Format = Literal["png", "svg", "pdf"]
_PATIENCE = 60  # seconds a browser may take for one picture


def png(figure: go.Figure, width: int, height: int) -> bytes:
    """The figure as a PNG of twice so many pixels; see `drawn`."""
    return drawn(figure, width, height, "png")


def drawn(figure: go.Figure, width: int, height: int, kind: Format) -> bytes:
    """The figure as a PNG of twice so many pixels, an SVG or a PDF, drawn by kaleido in a headless Chromium.

    Kaleido starts the browser without its sandbox, so this works as root and in containers; MathJax is off because it
    would be fetched from the network.

    Raises:
        Exception: whatever kaleido or the browser came to grief on.
    """
    import kaleido

    for name in ("kaleido", "choreographer"):  # they tell of their every step
        logging.getLogger(name).setLevel(logging.ERROR)
    opts = {"format": kind, "width": width, "height": height, "scale": 2 if kind == "png" else 1}
    content: Any = kaleido.calc_fig_sync(figure, opts=opts, kopts={"mathjax": False, "timeout": _PATIENCE})
    return content.encode() if isinstance(content, str) else bytes(content)


def kind_of(out: Path) -> Format:
    """What a file is to hold, by the end of its name.

    Raises:
        UserError: it is none of them.
    """
    for kind in get_args(Format):
        if out.suffix.lower() == f".{kind}":
            return kind  # type: ignore[no-any-return]
    raise UserError(f"--out {out}: must end in .png, .svg or .pdf")


def save(figure: go.Figure, out: Path, width: int, height: int) -> None:
    """Writes the figure as PNG, SVG or PDF, by the name of the file.

    Raises:
        UserError: the name says none of them, or no browser drew it.
    """
    kind = kind_of(out)
    try:
        content = drawn(figure, width, height, kind)
    except Exception as error:  # a browser can fail in any way
        raise UserError(f"{out} was not drawn: {why_not(error)}") from None
    write_whole(out, content)


def why_not(error: Exception) -> str:
    """Why there is no picture, in one line."""
    return "kaleido is not installed (pip install 'robustray[png]')" if isinstance(error, ImportError) else line(error)
