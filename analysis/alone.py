"""Pages with figures and little else: one file that needs nothing from outside and runs no code but its own."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis import assets
from analysis.palette import ThemeName

Themes = Mapping[ThemeName, go.Figure]
"""A figure in the light theme, and in the dark one where it has one; without, it keeps its white paper."""


def page(title: str, figure: go.Figure, *, described: str = "") -> str:
    """The page of one figure.

    Args:
        title: plain text; also the page's heading.
        figure: its texts are escaped already.
        described: what is to be seen, for who cannot see it; the title where empty.
    """
    return render(
        title, Markup("<h1>{}</h1>{}").format(title, place("figure", described or title)), {"figure": {"light": figure}}
    )


def place(name: str, described: str) -> Markup:
    """Where a figure goes in the body of a page."""
    return Markup('<figure><div id="{}" role="group" aria-label="{}"></div></figure>').format(name, described)


def render(title: str, body: Markup, figures: Mapping[str, Themes]) -> str:
    """A page of this body, with figures where it has a `place` for them.

    Args:
        title: plain text.
        body: what stands in `main`.
        figures: by the names of their places.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    drawn = {
        name: {theme: assets.plain(figure) for theme, figure in themes.items()} for name, themes in figures.items()
    }
    return environment.from_string(assets.read("alone.html")).render(
        title=title,
        body=body,
        figures=assets.data(drawn),
        style=assets.asset(assets.read("alone.css")),
        scripts=[assets.asset(get_plotlyjs()), assets.asset(assets.read("alone.js"))],
    )
