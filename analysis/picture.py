"""A figure as a picture, which takes a browser."""

from __future__ import annotations

import logging
from typing import Any, Literal

import plotly.graph_objects as go

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


def why_not(error: Exception) -> str:
    """Why there is no picture, in one line."""
    return "kaleido is not installed (pip install 'robustray[png]')" if isinstance(error, ImportError) else line(error)
