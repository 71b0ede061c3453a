"""All exhibits, by name."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.papers import (
    bai_alpha,
    bai_gradients,
    bai_radii,
    kamath_angles,
    kamath_curves,
    pang_divergences,
    stutz_early_stopping,
    stutz_flatness,
    stutz_hessian,
    stutz_landscape,
    yang_separation,
    yang_tables,
)
from analysis.papers.exhibit import Exhibit

EXHIBITS: Mapping[str, Exhibit] = {
    each.EXHIBIT.name: each.EXHIBIT
    for each in (
        yang_tables, yang_separation, pang_divergences, kamath_curves, kamath_angles, bai_alpha, bai_radii, bai_gradients,
        stutz_flatness, stutz_landscape, stutz_hessian, stutz_early_stopping,
    )
}  # fmt: skip
"""In the order that they are listed in."""
