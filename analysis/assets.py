"""Scripts, style sheets and data that a page holds in itself, and the hashes by which its security policy knows them."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup


@dataclass(frozen=True)
class Asset:
    """A script or style sheet that is part of a page, and the SHA-256 its policy knows it by, in base64."""

    text: Markup
    digest: str


def asset(text: str) -> Asset:
    """One of ours: nothing that a sweep brought along may be in it."""
    return Asset(Markup(text), base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())  # noqa: S704 - ours


def read(name: str) -> str:
    """A file of this package."""
    return resources.files("analysis").joinpath(name).read_text(encoding="utf-8")


def data(value: Any) -> Markup:
    """Data for the scripts, which no string in it can end early."""
    text = json.dumps(value, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - nothing in it is markup any more


def plain(figure: go.Figure) -> Any:
    """A figure as plain data."""
    return json.loads(figure.to_json())
