"""Published models to compare with: a leaderboard and a benchmark of fast adversarial training, as tables in the package.

Where they come from, and what their columns mean, stands in README.md beside them.
"""

from __future__ import annotations

from analysis.published.architectures import architecture_class
from analysis.published.tables import DATA, frontier, table

__all__ = ["DATA", "architecture_class", "frontier", "table"]
