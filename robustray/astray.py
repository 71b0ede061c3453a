"""Names of this project that a user's folder has too: whoever starts there may find his in place of ours."""

from __future__ import annotations

import importlib.util
from pathlib import Path

OURS = ("robustray", "sweeps", "analysis")
HOME = Path(__file__).resolve().parents[1]
"""The folder that all of them lie in."""


def told(package: str) -> str | None:
    """That a package of ours would be imported from elsewhere, and what to do; None where it would not, or is not ours."""
    if package not in OURS:
        return None
    spec = importlib.util.find_spec(package)
    places = [Path(place).resolve() for place in (spec.submodule_search_locations or ()) if place] if spec else []
    if HOME / package in places[:1]:
        return None
    where = f"is {places[0]}" if places else f"is {spec.origin}" if spec and spec.origin else "is not found"
    return f"{package} {where}, not the one in {HOME}; rename that one, or start somewhere else"


def in_the_way_of_workers(folder: Path) -> str | None:
    """That processes which look into a folder first, as workers of Ray do, would find a user's package there; or None.

    They would fail to start, again and again, and nobody would hear why.
    """
    for package in OURS[:2]:  # what workers import
        place = folder / package
        if (place / "__init__.py").is_file() and place.resolve() != HOME / package:
            others = "rename it, start somewhere else, or --backend local"
            return f"Ray's workers would take {place} for the package {package} of this project: {others}"
    return None
