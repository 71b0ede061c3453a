"""Figures as pictures."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go


def png(figure: go.Figure, **size: float) -> bytes:
    """The figure as a PNG, drawn by kaleido in a headless Chromium.

    Args:
        size: `width` and `height` in pixels, and `scale`.

    Raises:
        Exception: whatever kaleido or the browser came to grief on; mostly that there is no browser.
    """
    import kaleido

    for name in ("kaleido", "choreographer"):  # they tell of their every step
        logging.getLogger(name).setLevel(logging.ERROR)
    drawn: Any = kaleido.calc_fig_sync(figure, opts={"format": "png", **size}, kopts={"mathjax": False})
    return bytes(drawn)
