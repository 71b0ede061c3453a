"""The search space: a YAML file becomes a `Sweep`."""

from __future__ import annotations

from sweeps.space.space import Sweep

__all__ = ["Sweep"]
