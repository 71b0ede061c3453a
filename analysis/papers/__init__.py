"""Tables and figures of the papers, drawn from sweeps and measures of one's own: a file for each."""

from __future__ import annotations
